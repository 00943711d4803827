package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
)

const (
	// auditPatience is how long rows are looked for before a page ends.
	auditPatience = 3 * time.Second
	// readsAtOnce is how many events are read from the log at a time.
	readsAtOnce = 8
)

// auditView is one event as the audit tells it.
type auditView struct {
	projector.Traced
	// Event is all of it, where that was asked for.
	Event *eventView `json:"event,omitempty"`
}

// auditPage is some of what was found. Next goes on behind it, and is empty at
// the end.
type auditPage struct {
	Events []auditView `json:"events"`
	Next   string      `json:"next,omitempty"`
}

// eventView is one event as it is in the log.
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

func newEventView(stream string, r events.Recorded) *eventView {
	return &eventView{
		Stream: stream, Seq: r.Seq, Stored: r.Stored, ID: r.ID, Type: r.Fact.Type(), Subject: string(r.Subject),
		Time: r.Time, Source: r.Source, Meta: metaView(r.Meta), Data: r.Fact,
	}
}

// events answers a question about all events: with a page, with everything as
// lines, or with what is to come.
func (s *Server) events(c echo.Context) error {
	if refusal := checkQuery(c.Request()); refusal != nil {
		return asError(refusal)
	}
	q, refusal := parseAuditQuery(c.QueryParams())
	if refusal != nil {
		return asError(refusal)
	}
	if id := c.Request().Header.Get("Last-Event-ID"); id != "" && q.format == formatSSE {
		q.cursor = id
	}
	ctx := c.Request().Context()
	if q.format == formatJSON {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.parts.RequestTimeout)
		defer cancel()
	}
	trail, err := s.trail(ctx, q)
	if err != nil {
		return err
	}
	if q.format == formatJSON {
		return s.answerPage(ctx, c, q, trail)
	}
	return s.streamEvents(ctx, c, q, trail)
}

// trail is what answers q. It has everything that was acknowledged before, or
// fails.
func (s *Server) trail(ctx context.Context, q auditQuery) (*projector.Trail, error) {
	var places map[string]uint64
	if q.cursor != "" {
		var err error
		if places, err = s.openCursor(q.auditFilter, q.cursor); err != nil {
			return nil, asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "cursor", Cause: err.Error()})
		}
	}
	if err := s.parts.Log.FindPartitions(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", projector.ErrUnavailable, err)
	}
	streams, heads := s.auditStreams(q), map[string]uint64{}
	for _, stream := range streams {
		head, err := s.parts.Log.Head(ctx, stream)
		if err != nil {
			return nil, fmt.Errorf("%w: head of %s: %w", projector.ErrUnavailable, stream, err)
		}
		heads[stream] = head.Seq
	}
	if q.follow && places == nil && q.Since.IsZero() {
		places = heads
	}
	t := projector.NewTrail(s.parts.Reader, q.AuditQuery, streams, places, heads)
	if q.Address.IsValid() {
		t.Keep = func(row projector.Traced) bool {
			// An issuance of a grant is hashed with the grant, any other with the client.
			return s.addresses.Matches(row.Origin, row.Grant, q.Address) || s.addresses.Matches(row.Origin, row.Client, q.Address)
		}
	}
	return t, nil
}

// auditStreams are those of what is open that may have what is asked for.
func (s *Server) auditStreams(q auditQuery) []string {
	all := s.parts.Log.Streams()
	id, err := events.ParseGrantID(q.Grant)
	if err != nil {
		return all
	}
	own := s.parts.Log.Realm().PartitionStream(id.Partition())
	return slices.DeleteFunc(all, func(stream string) bool { return stream != own })
}

func (s *Server) answerPage(ctx context.Context, c echo.Context, q auditQuery, t *projector.Trail) error {
	rows, more, err := t.Page(ctx, q.limit, min(auditPatience, s.parts.RequestTimeout/2))
	if err != nil {
		return err
	}
	page := auditPage{}
	if page.Events, err = s.views(ctx, q, rows); err != nil {
		return err
	}
	if more {
		if page.Next, err = s.sealCursor(q.auditFilter, t.Places()); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusOK, page)
}

// views are rows as they are told, with their events if those are asked for.
func (s *Server) views(ctx context.Context, q auditQuery, rows []projector.Traced) ([]auditView, error) {
	views := make([]auditView, len(rows))
	for i, row := range rows {
		views[i].Traced = row
	}
	if !q.data {
		return views, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var reading sync.WaitGroup
	for first := range min(readsAtOnce, len(views)) {
		reading.Go(func() {
			for i := first; i < len(views) && ctx.Err() == nil; i += readsAtOnce {
				event, err := s.event(ctx, views[i].Stream, views[i].Seq)
				if err != nil {
					cancel(err)
					return
				}
				views[i].Event = event
			}
		})
	}
	reading.Wait()
	return views, context.Cause(ctx)
}

// showEvent answers with one event, whole, from the log.
func (s *Server) showEvent(c echo.Context) error {
	seq, err := strconv.ParseUint(c.Param("seq"), 10, 63)
	if err != nil {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "seq"})
	}
	stream, err := s.streamParam(c)
	if err != nil {
		return err
	}
	if seq == 0 {
		return asError(&rules.Refusal{Reason: rules.NotFound, Parameter: "event"})
	}
	event, err := s.event(c.Request().Context(), stream, seq)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, event)
}

// event reads one event from the log.
func (s *Server) event(ctx context.Context, stream string, seq uint64) (*eventView, error) {
	r, ok, err := s.parts.Log.At(ctx, stream, seq)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", projector.ErrUnavailable, err)
	}
	if !ok {
		return nil, asError(&rules.Refusal{Reason: rules.NotFound, Parameter: "event"})
	}
	return newEventView(stream, r), nil
}
