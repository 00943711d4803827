package eventlog

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// heartbeat is how often the server says where an idle consumer stands.
	heartbeat = 500 * time.Millisecond
	// silence is how long a consumer may say nothing at all.
	silence = 4 * heartbeat
	// createTimeout bounds the creation of a consumer, which a cluster without
	// a leader does not answer. The first try is given less, because its request
	// may be lost with a connection or a server; what it leaves behind, the server
	// drops by itself.
	firstCreateTimeout = 500 * time.Millisecond
	createTimeout      = 3 * time.Second
	// inactive is how long the server keeps a consumer nobody listens to.
	inactive = 5 * time.Second
)

// Headers of the server's control messages (ADR-9, ADR-15 of NATS).
const (
	headerStatus       = "Status"
	headerDescription  = "Description"
	headerLastConsumer = "Nats-Last-Consumer"
	headerStalled      = "Nats-Consumer-Stalled"
	statusControl      = "100"
)

// errNudged is of who knows better than the consumer.
var errNudged = fmt.Errorf("%w: what should have come has not", errInterrupted)

// consumer is an ordered consumer: ephemeral, in memory, without acks, pushed
// with flow control. Every delivery is numbered and every heartbeat says the
// last number, so a lost message is noticed even if none follows it. The
// ordered consumer of nats.go does not look at that number.
type consumer struct {
	nc  *nats.Conn
	sub *nats.Subscription
	// arrived passes messages on from nats.go, which queues them without a
	// limit of its own: flow control bounds them, and none may be dropped.
	arrived chan *nats.Msg
	closed  chan struct{}
	// delivered is the number of the last delivery.
	delivered uint64
	// handed is when something was handed over last. Pending is how many were still to
	// come when the last message was sent, and more says that it was more than a batch.
	handed  time.Time
	pending uint64
	more    bool
	// owed is where the server waits for a sign that what it has sent so far
	// was dealt with.
	owed string
}

// newConsumer starts where the reader is. A reader that has handed something
// over starts at that very entry again, see join.
func (r *reader) newConsumer(ctx context.Context) (*consumer, error) {
	c := &consumer{
		nc:      r.log.nc,
		arrived: make(chan *nats.Msg, maxBatch),
		closed:  make(chan struct{}),
	}
	r.patience = min(max(2*r.patience, firstCreateTimeout), createTimeout)
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	err := c.listen()
	if err == nil {
		_, err = r.st.js.CreatePushConsumer(ctx, r.consumerConfig(c.sub.Subject))
	}
	if err != nil {
		c.close()
		return nil, interruption(err)
	}
	r.patience = 0
	return c, nil
}

func (c *consumer) listen() (err error) {
	c.sub, err = c.nc.Subscribe(c.nc.NewInbox(), func(m *nats.Msg) {
		select {
		case c.arrived <- m:
		case <-c.closed:
		}
	})
	if err != nil {
		return err
	}
	return c.sub.SetPendingLimits(-1, -1)
}

func (r *reader) consumerConfig(inbox string) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		DeliverSubject:    inbox,
		DeliverPolicy:     jetstream.DeliverAllPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		MaxDeliver:        1,
		FlowControl:       true,
		IdleHeartbeat:     heartbeat,
		InactiveThreshold: inactive,
		MemoryStorage:     true,
		Replicas:          1,
		FilterSubjects:    r.from.Subjects,
	}
	switch start := max(r.last, r.from.Seq); {
	case start > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, start
	case !r.from.Time.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.from.Time
	}
	return c
}

// interruption marks what a new consumer can get over.
func interruption(err error) error {
	if err != nil && mayPass(err) {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	return err
}

// close stops listening, upon which the server drops the consumer.
func (c *consumer) close() {
	close(c.closed)
	if c.sub != nil {
		_ = c.sub.Unsubscribe() // the connection may be gone
	}
}

// fetch waits for a message, then takes what else has arrived, up to a number
// of entries or the next point at which the server waits. Entries are good
// also when an error comes with them.
func (c *consumer) fetch(ctx context.Context, most int, from From) (entries []Entry, err error) {
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	var m *nats.Msg
	select {
	case m = <-c.arrived:
	case <-from.Nudge:
		return nil, errNudged
	case <-quiet.C:
		return nil, fmt.Errorf("%w: nothing heard for %v", errInterrupted, silence)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := c.linger(ctx, from); err != nil {
		return nil, err
	}
	c.more = true
	for m != nil {
		if err := c.take(m, &entries); err != nil {
			return entries, err
		}
		if len(entries) == most || c.owed != "" {
			return entries, nil
		}
		m = c.poll()
	}
	c.more = c.pending > maxBatch
	return entries, nil
}

// linger waits until the last hand-over is as long ago as the reader likes.
func (c *consumer) linger(ctx context.Context, from From) error {
	left := from.Linger - time.Since(c.handed)
	if c.more || left <= 0 {
		return nil
	}
	gathered := time.NewTimer(left)
	defer gathered.Stop()
	select {
	case <-gathered.C:
		return nil
	case <-from.Nudge:
		return errNudged
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll is what has arrived already, or nil.
func (c *consumer) poll() *nats.Msg {
	select {
	case m := <-c.arrived:
		return m
	default:
		return nil
	}
}

// take deals with one message from the server.
func (c *consumer) take(m *nats.Msg, entries *[]Entry) error {
	if status := m.Header.Get(headerStatus); status != "" {
		return c.control(status, m)
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	if meta.Sequence.Consumer != c.delivered+1 {
		return fmt.Errorf("%w: delivery %d came after %d", errInterrupted, meta.Sequence.Consumer, c.delivered)
	}
	c.delivered++
	c.pending = meta.NumPending
	*entries = append(*entries, Entry{
		Seq:     meta.Sequence.Stream,
		Stored:  meta.Timestamp,
		Message: newMessage(m.Subject, m.Header, m.Data),
	})
	return nil
}

// control deals with heartbeats and flow control.
func (c *consumer) control(status string, m *nats.Msg) error {
	if status != statusControl {
		return fmt.Errorf("%w: status %s %s", errInterrupted, status, m.Header.Get(headerDescription))
	}
	if m.Reply != "" {
		c.owed = m.Reply
		return nil
	}
	c.owed = m.Header.Get(headerStalled)
	last, err := strconv.ParseUint(m.Header.Get(headerLastConsumer), 10, 64)
	if err != nil || last != c.delivered {
		return fmt.Errorf("%w: %d messages were delivered and %d arrived", errInterrupted, last, c.delivered)
	}
	return nil
}

// release lets the server send more, once what it has sent is dealt with.
func (c *consumer) release() error {
	if c.owed == "" {
		return nil
	}
	reply := c.owed
	c.owed = ""
	if err := c.nc.Publish(reply, nil); err != nil {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	return nil
}
