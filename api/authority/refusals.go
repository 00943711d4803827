package authority

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// What refusals may cost, however many there are.
const (
	// refusalEvents is how many events a replica writes of them in a second, and
	// refusalBurst how many at once after it was quiet.
	refusalEvents = 10
	refusalBurst  = 100
	// refusalsKept is how many that differ are kept apart until they are written.
	refusalsKept = 1000
	// refusalPause is how long one may wait for others like it.
	refusalPause = time.Second
	// refusalClosing bounds what is written at the end.
	refusalClosing = 2 * time.Second
	// refusalWarning is how often an operator is told that none can be written.
	refusalWarning = time.Minute
)

// refused is what makes refusals alike.
type refused struct {
	what, client      string
	grant             events.GrantID
	user              string
	reason            rules.Reason
	parameter, detail string
}

// A tally is how often alike requests were refused since the last event of
// them, and when, in Unix seconds.
type tally struct {
	count       int64
	first, last int64
	latest      Attempt
	// sending is an event of earlier ones that may not be stored yet. It is sent
	// again as it is: by its id the log knows it.
	sending *events.Event
}

// refusals counts what is refused and writes it to the log in the background,
// at a rate of its own. What is not written yet is lost with the process, if it
// does not end in order.
type refusals struct {
	event  func(refused, tally) events.Event
	append func(context.Context, events.Event) error
	logger *slog.Logger
	warn   rate.Sometimes
	rate   *rate.Limiter
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	tallies map[refused]*tally
	// order has every key of tallies once, but for the one that is being
	// written; the front is next.
	order []refused
}

func newRefusals(event func(refused, tally) events.Event, write func(context.Context, events.Event) error, logger *slog.Logger) *refusals {
	return &refusals{
		event: event, append: write, logger: logger,
		warn: rate.Sometimes{Interval: refusalWarning}, rate: rate.NewLimiter(refusalEvents, refusalBurst),
		tallies: map[refused]*tally{},
	}
}

// start writes until close, whatever becomes of ctx.
func (r *refusals) start(ctx context.Context) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	r.done.Go(func() {
		pause := time.NewTicker(refusalPause)
		defer pause.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-pause.C:
				r.flush(ctx, r.rate.Allow)
			}
		}
	})
}

// close writes what is left, for as long as it may.
func (r *refusals) close() {
	r.stop()
	r.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), refusalClosing)
	defer cancel()
	for range 2 { // an event whose outcome was open, and what came since
		r.flush(ctx, func() bool { return true })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tallies) > 0 {
		r.logger.Error("refusals are missing in the log", "kinds", len(r.tallies))
	}
}

// add counts one. Once there are too many that differ, the others are only told
// apart by what was asked for and why it was refused.
func (r *refusals) add(k refused, latest Attempt, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tallies[k]
	if t == nil && len(r.tallies) >= refusalsKept {
		k = refused{what: k.what, reason: k.reason}
		t = r.tallies[k]
	}
	if t == nil {
		t = &tally{}
		r.tallies[k] = t
		r.order = append(r.order, k)
	}
	if t.count == 0 {
		t.first = now
	}
	t.count++
	t.last, t.latest = now, latest
}

// flush writes one event of each kind that there is, while it may.
func (r *refusals) flush(ctx context.Context, may func() bool) {
	for range r.waiting() {
		if ctx.Err() != nil || !may() {
			return
		}
		k, e := r.next()
		err := r.append(ctx, e)
		r.settle(k, err)
		if err != nil && ctx.Err() == nil {
			r.warn.Do(func() { r.logger.Warn("refusals wait for the log", "error", err) })
		}
	}
}

// RefusalsWaiting is how many kinds of refusals are not in the log yet.
func (a *Authority) RefusalsWaiting() int { return a.refusals.waiting() }

func (r *refusals) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.order)
}

// next takes the front of the order and makes its event, unless there is one
// that may not be stored.
func (r *refusals) next() (refused, events.Event) {
	k, counted := r.take()
	if counted.sending != nil {
		return k, *counted.sending
	}
	e := r.event(k, counted) // it is sealed, which must not hold up who counts
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tallies[k].sending = &e
	return k, e
}

func (r *refusals) take() (refused, tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.order[0]
	r.order = r.order[1:]
	t := r.tallies[k]
	counted := *t
	if counted.sending == nil {
		*t = tally{}
	}
	return k, counted
}

// settle forgets what is stored. What is not, or came meanwhile, goes to the
// end of the order, so that one partition does not hold up the others.
func (r *refusals) settle(k refused, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tallies[k]
	if err == nil {
		t.sending = nil
	}
	if t.sending == nil && t.count == 0 {
		delete(r.tallies, k)
		return
	}
	r.order = append(r.order, k)
}
