package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// eventView is one event as administrators see it.
type eventView struct {
	Stream  string      `json:"stream"`
	Seq     uint64      `json:"seq"`
	Stored  time.Time   `json:"stored"`
	ID      string      `json:"id"`
	Type    string      `json:"type"`
	Subject string      `json:"subject"`
	Time    time.Time   `json:"time"`
	Source  string      `json:"source"`
	Meta    metaView    `json:"meta"`
	Data    events.Fact `json:"data"`
}

type metaView struct {
	Request string `json:"request,omitempty"`
	Trace   string `json:"trace,omitempty"`
	Actor   string `json:"actor,omitempty"`
	Origin  string `json:"origin,omitempty"`
}

func newEventView(stream string, r events.Recorded) eventView {
	return eventView{
		Stream: stream, Seq: r.Seq, Stored: r.Stored, ID: r.ID, Type: r.Fact.Type(), Subject: string(r.Subject),
		Time: r.Time, Source: r.Source, Meta: metaView(r.Meta), Data: r.Fact,
	}
}

// eventsQuery is which events are asked for.
type eventsQuery struct {
	streams  []string
	from     uint64
	subjects []string
	follow   bool
	ticks    bool
}

// events tells the log as lines of JSON, each stream in its order, and all of
// them by the time they were stored. With follow it goes on for as long as the
// client listens.
func (s *Server) events(c echo.Context) error {
	q, refusal := s.eventsQuery(c)
	if refusal != nil {
		return asError(refusal)
	}
	// The listener's write timeout is for answers that end.
	deadline := http.NewResponseController(c.Response()).SetWriteDeadline
	if err := deadline(time.Now().Add(eventWriteTimeout)); err != nil {
		return fmt.Errorf("move the write deadline: %w", err)
	}
	c.Response().Header().Set(echo.HeaderContentType, "application/x-ndjson")
	c.Response().WriteHeader(http.StatusOK)
	w := &eventWriter{to: json.NewEncoder(c.Response()), flush: c.Response().Flush, deadline: deadline, ticks: q.ticks}
	if err := s.writeEvents(c.Request().Context(), q, w); err != nil && c.Request().Context().Err() == nil {
		// The status is out. A last line that is no event says what happened.
		s.parts.Logger.Error("events were cut short", "request", requestID(c), "error", err)
		return w.to.Encode(oauthError{Error: codeServerError, Description: "the log could not be read further", RequestID: requestID(c)})
	}
	return nil
}

func (s *Server) eventsQuery(c echo.Context) (eventsQuery, *rules.Refusal) {
	realm := s.parts.Log.Realm()
	q := eventsQuery{follow: c.QueryParam("follow") == "true", ticks: c.QueryParam("ticks") == "true"}
	if text := c.QueryParam("from"); text != "" {
		var err error
		if q.from, err = strconv.ParseUint(text, 10, 64); err != nil {
			return q, &rules.Refusal{Reason: rules.BadParameter, Parameter: "from"}
		}
	}
	if text := c.QueryParam("grant"); text != "" {
		id, err := events.ParseGrantID(text)
		if err != nil {
			return q, &rules.Refusal{Reason: rules.BadParameter, Parameter: "grant"}
		}
		q.streams = []string{realm.PartitionStream(id.Partition())}
		q.subjects = []string{string(realm.GrantSubject(id))}
		return q, nil
	}
	q.streams = []string{realm.RegistryStream()}
	for _, p := range s.parts.Log.Partitions() {
		q.streams = append(q.streams, realm.PartitionStream(p))
	}
	return q, nil
}

// eventWriteTimeout is how long a client may take to read some events before
// it is given up.
const eventWriteTimeout = 30 * time.Second

type eventWriter struct {
	to       *json.Encoder
	flush    func()
	deadline func(time.Time) error
	ticks    bool
	// unread counts the events since the deadline was moved.
	unread int
}

// ready moves the write deadline, before something is written after a pause
// and every so often.
func (w *eventWriter) ready() error {
	w.unread = 0
	return w.deadline(time.Now().Add(eventWriteTimeout))
}

func (w *eventWriter) write(stream string, e eventlog.Entry) error {
	if w.unread++; w.unread > 256 {
		if err := w.ready(); err != nil {
			return err
		}
	}
	r, err := e.Recorded()
	if err != nil {
		return fmt.Errorf("read event %d of %s: %w", e.Seq, stream, err)
	}
	if _, tick := r.Fact.(events.FeedTicked); tick && !w.ticks {
		return nil
	}
	return w.to.Encode(newEventView(stream, r))
}

// writeEvents merges the streams by the time their events were stored. What
// comes while it follows is told as it comes.
func (s *Server) writeEvents(ctx context.Context, q eventsQuery, w *eventWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	history := make([]*tape, len(q.streams))
	for i, stream := range q.streams {
		history[i] = s.play(ctx, stream, eventlog.From{Seq: q.from, Subjects: q.subjects})
	}
	for {
		next := earliest(history)
		if next == nil {
			break
		}
		if err := w.write(next.stream, next.take()); err != nil {
			return err
		}
	}
	w.flush()
	for _, t := range history {
		if t.err != nil {
			return t.err
		}
	}
	if !q.follow {
		return nil
	}
	return s.followEvents(ctx, q, history, w)
}

func (s *Server) followEvents(ctx context.Context, q eventsQuery, history []*tape, w *eventWriter) error {
	type line struct {
		stream  string
		entries []eventlog.Entry
	}
	lines := make(chan line)
	ended := make(chan error, len(history))
	for _, t := range history {
		from := eventlog.From{Seq: max(t.last+1, q.from), Subjects: q.subjects}
		go func() {
			ended <- s.parts.Log.Follow(ctx, t.stream, from, func(entries []eventlog.Entry) error {
				select {
				case lines <- line{t.stream, entries}:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
	}
	for {
		select {
		case err := <-ended:
			return err
		case l := <-lines:
			if err := w.ready(); err != nil {
				return err
			}
			for _, e := range l.entries {
				if err := w.write(l.stream, e); err != nil {
					return err
				}
			}
			w.flush()
		}
	}
}

// A tape plays one stream's history, a batch ahead of its reader.
type tape struct {
	stream  string
	batches chan []eventlog.Entry
	waiting []eventlog.Entry
	last    uint64
	// err is set before batches is closed.
	err error
}

func (s *Server) play(ctx context.Context, stream string, from eventlog.From) *tape {
	t := &tape{stream: stream, batches: make(chan []eventlog.Entry, 1)}
	go func() {
		defer close(t.batches)
		t.err = s.parts.Log.Replay(ctx, stream, from, func(entries []eventlog.Entry) error {
			select {
			case t.batches <- entries:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return t
}

// head is the next entry, if there is one.
func (t *tape) head() (eventlog.Entry, bool) {
	for len(t.waiting) == 0 {
		batch, open := <-t.batches
		if !open {
			return eventlog.Entry{}, false
		}
		t.waiting = batch
	}
	return t.waiting[0], true
}

func (t *tape) take() eventlog.Entry {
	e := t.waiting[0]
	t.waiting, t.last = t.waiting[1:], e.Seq
	return e
}

// earliest is the tape whose next entry was stored first, or nil at the end of
// all of them.
func earliest(tapes []*tape) *tape {
	var found *tape
	var at time.Time
	for _, t := range tapes {
		if e, ok := t.head(); ok && (found == nil || e.Stored.Before(at)) {
			found, at = t, e.Stored
		}
	}
	return found
}
