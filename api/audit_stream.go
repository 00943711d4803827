package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/projector"
)

const (
	// eventWriteTimeout is how long a client may take to read some events before
	// it is given up.
	eventWriteTimeout = 30 * time.Second
	// followPause is between two looks for what was stored meanwhile.
	followPause = 250 * time.Millisecond
	// followBeat is how long a follower that is told nothing waits for a sign of
	// life.
	followBeat = 15 * time.Second
)

// auditColumns are those of CSV, in this order for ever: new ones come last.
var auditColumns = []string{
	"time", "stream", "seq", "type", "outcome", "reason", "count", "actor", "request",
	"client", "user", "grant", "session", "jti", "kid", "origin", "exp", "parent",
}

// An auditWriter writes rows in one of the formats.
type auditWriter interface {
	// write writes rows, or a sign of life where there are none and the format has
	// one. The cursor goes on behind the last of them.
	write(rows []auditView, cursor string) error
	// fail says that what follows is missing.
	fail(oauthError) error
}

// streamEvents tells all that the trail has and, where it is followed, goes on
// for as long as the client listens. It holds no more than a page.
func (s *Server) streamEvents(ctx context.Context, c echo.Context, q auditQuery, t *projector.Trail) error {
	// What can be refused is refused before the status is out.
	rows, more, err := t.Page(ctx, projector.MaxAuditPage, auditPatience)
	if err != nil {
		return err
	}
	// The listener's write timeout is for answers that end.
	deadline := http.NewResponseController(c.Response()).SetWriteDeadline
	w := newAuditWriter(c, q.format)
	for {
		if err := deadline(time.Now().Add(eventWriteTimeout)); err != nil {
			return fmt.Errorf("move the write deadline: %w", err)
		}
		if writeErr := s.writePage(ctx, q, t, rows, w); writeErr != nil {
			err = writeErr
		}
		if err != nil {
			return s.cutShort(ctx, c, w, err)
		}
		c.Response().Flush()
		if !more && !q.follow {
			return nil
		}
		if !more {
			select {
			case <-ctx.Done(): // the client has gone
				return nil
			case <-time.After(followPause):
				t.Join(ctx, s.auditStreams(q))
				t.Again()
			}
		}
		rows, more, err = t.Page(ctx, projector.MaxAuditPage, auditPatience)
	}
}

func (s *Server) writePage(ctx context.Context, q auditQuery, t *projector.Trail, rows []projector.Traced, w auditWriter) error {
	if len(rows) == 0 {
		return w.write(nil, "")
	}
	views, err := s.views(ctx, q, rows)
	if err != nil {
		return err
	}
	cursor := ""
	if q.format == formatSSE {
		if cursor, err = s.sealCursor(q.auditFilter, t.Places()); err != nil {
			return err
		}
	}
	return w.write(views, cursor)
}

// cutShort says that the answer is not whole: its status is out.
func (s *Server) cutShort(ctx context.Context, c echo.Context, w auditWriter, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the client has gone, or the process is stopping
	}
	s.log(c).Error("events were cut short", "error", err)
	return w.fail(oauthError{Error: codeServerError, Description: "the log could not be read further", RequestID: requestID(c)})
}

func newAuditWriter(c echo.Context, format string) auditWriter {
	start := func(contentType string) http.ResponseWriter {
		c.Response().Header().Set(echo.HeaderContentType, contentType)
		c.Response().WriteHeader(http.StatusOK)
		return c.Response()
	}
	switch format {
	case formatCSV:
		c.Response().Header().Set(echo.HeaderContentDisposition, `attachment; filename="events.csv"`)
		w := csv.NewWriter(start("text/csv; charset=utf-8"))
		_ = w.Write(auditColumns) // the next Flush tells
		return &csvWriter{w}
	case formatSSE:
		return &sseWriter{to: start("text/event-stream")}
	}
	return &ndjsonWriter{json.NewEncoder(start("application/x-ndjson"))}
}

// ndjsonWriter writes a line of JSON for each event. A last line that is no
// event says that there should be more.
type ndjsonWriter struct{ to *json.Encoder }

func (w *ndjsonWriter) write(rows []auditView, _ string) error {
	for _, row := range rows {
		if err := w.to.Encode(row); err != nil {
			return err
		}
	}
	return nil
}

func (w *ndjsonWriter) fail(e oauthError) error { return w.to.Encode(e) }

// csvWriter writes RFC 4180.
type csvWriter struct{ to *csv.Writer }

func (w *csvWriter) write(rows []auditView, _ string) error {
	for _, row := range rows {
		a := row.Audit
		_ = w.to.Write([]string{ // Flush tells
			a.Time.Format(time.RFC3339Nano), row.Stream, strconv.FormatUint(a.Seq, 10), a.Type, a.Outcome, a.Reason, orEmpty(a.Count), a.Actor,
			a.Request, a.Client, a.User, a.Grant, a.Session, a.JTI, a.KID, a.Origin, orEmpty(a.Expires), a.Parent,
		})
	}
	w.to.Flush()
	return w.to.Error()
}

func orEmpty(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// fail cuts the connection: a table has no place to say that it is not whole.
func (w *csvWriter) fail(oauthError) error { panic(http.ErrAbortHandler) }

// sseWriter writes server-sent events, whose last id is a cursor: who comes back
// with it goes on behind it.
type sseWriter struct {
	to http.ResponseWriter
	// last is when something was written.
	last time.Time
}

func (w *sseWriter) write(rows []auditView, cursor string) error {
	if len(rows) == 0 && time.Since(w.last) < followBeat {
		return nil
	}
	w.last = time.Now()
	if len(rows) == 0 {
		_, err := w.to.Write([]byte(":\n\n")) // a comment
		return err
	}
	for i, row := range rows {
		text, err := json.Marshal(row)
		if err != nil {
			return err
		}
		id := ""
		if i == len(rows)-1 {
			id = "id: " + cursor + "\n"
		}
		if _, err := w.to.Write(slices.Concat([]byte(id+"data: "), text, []byte("\n\n"))); err != nil {
			return err
		}
	}
	return nil
}

// fail ends the stream, and who follows comes back.
func (w *sseWriter) fail(oauthError) error { return nil }
