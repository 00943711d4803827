package endings

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Names of the events of a feed. Ended has entries, Fresh a mark and, as id, where
// to go on.
const (
	Ended = "ended"
	Fresh = "fresh"
)

// maxEvent bounds one event, in bytes. A server sends far smaller ones.
const maxEvent = 1 << 20

// ErrTooLarge is returned for an event that is larger than any the authority
// sends.
var ErrTooLarge = errors.New("server-sent event too large")

// WriteEvent writes one server-sent event (HTML, section 9.2) with a value as JSON.
// An empty id leaves the last one in force.
func WriteEvent(w io.Writer, name, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing a server-sent event: %w", err)
	}
	var b bytes.Buffer
	b.WriteString("event: " + name + "\n")
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data: ")
	b.Write(data)
	b.WriteString("\n\n")
	_, err = w.Write(b.Bytes())
	return err
}

// WriteRetry tells a reader how long to wait before it comes back.
func WriteRetry(w io.Writer, d time.Duration) error {
	_, err := fmt.Fprintf(w, "retry: %d\n\n", d.Milliseconds())
	return err
}

// An Event is what a Decoder has read.
type Event struct {
	// Name is "message" if none was sent.
	Name string
	Data []byte
}

// A Decoder reads server-sent events as HTML, section 9.2.6 has them.
type Decoder struct {
	lines *bufio.Scanner
	first bool

	// LastID is the id that was sent last, Retry how long to wait before coming
	// back; it is negative until it was told.
	LastID string
	Retry  time.Duration
}

// NewDecoder reads from r.
func NewDecoder(r io.Reader) *Decoder {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEvent)
	lines.Split(splitLines)
	return &Decoder{lines: lines, first: true, Retry: -1}
}

// Next is the next event. A last one that is not whole is left out. The error is
// io.EOF at the end, ErrTooLarge, or that of the reader.
func (d *Decoder) Next() (Event, error) {
	var e Event
	var id string
	hasID, hasData := false, false
	for d.lines.Scan() {
		line := d.lines.Bytes()
		if d.first {
			line, d.first = bytes.TrimPrefix(line, []byte("\ufeff")), false
		}
		if len(line) == 0 {
			if hasID {
				d.LastID = id
			}
			if hasData {
				e.Data = e.Data[:len(e.Data)-1] // the last line's end
				if e.Name == "" {
					e.Name = "message"
				}
				return e, nil
			}
			e, hasID = Event{}, false
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.Name = string(value)
		case "data":
			hasData = true
			if e.Data = append(append(e.Data, value...), '\n'); len(e.Data) > maxEvent {
				return Event{}, ErrTooLarge
			}
		case "id":
			if !bytes.ContainsRune(value, 0) {
				id, hasID = string(value), true
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				d.Retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
	switch err := d.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return Event{}, ErrTooLarge
	case err != nil:
		return Event{}, err
	}
	return Event{}, io.EOF
}

// splitLines ends a line at LF, CR LF or CR. What has no end is no line.
func splitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	i := bytes.IndexAny(data, "\r\n")
	switch {
	case i < 0 && atEOF:
		return len(data), nil, nil
	case i < 0:
		return 0, nil, nil
	case data[i] == '\n':
		return i + 1, data[:i], nil
	case i+1 < len(data) && data[i+1] == '\n':
		return i + 2, data[:i], nil
	case i+1 < len(data) || atEOF:
		return i + 1, data[:i], nil
	}
	return 0, nil, nil // CR, and whether LF follows is not known yet
}
