package archive

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

// A Line is one message, with the leaf that it was in the tree when it was
// folded. As text it is a line of JSON whose members come in one order:
//
//	{"seq":1,"stored":"2026-11-25T21:00:00Z","leaf":"…","subject":"…","headers":{…},"data":{…}}
//
// Data is the message's own, unless that is not JSON on one line: then "base64"
// is in its place. A message has exactly one such line.
type Line struct {
	Seq     uint64
	Stored  time.Time
	Leaf    tlog.Hash
	Subject string
	Headers events.Header
	Data    []byte

	// canonical is used again for every line.
	canonical []byte
}

// NewLine is the line of an entry, whose header and data it shares: nothing may be
// parsed into it.
func NewLine(e eventlog.Entry, leaf tlog.Hash) Line {
	return Line{Seq: e.Seq, Stored: e.Stored, Leaf: leaf, Subject: e.Message.Subject, Headers: e.Message.Header, Data: e.Message.Data}
}

// Entry is the message as the log had it.
func (l *Line) Entry() eventlog.Entry {
	m := events.Message{Subject: l.Subject, Header: slices.Clone(l.Headers), Data: bytes.Clone(l.Data)}
	return eventlog.Entry{Seq: l.Seq, Stored: l.Stored, Message: m}
}

// Hash is the leaf that the message makes now.
func (l *Line) Hash() tlog.Hash {
	l.canonical = events.AppendCanonical(l.canonical[:0], l.Seq, l.Subject, l.Headers, l.Data)
	return tree.LeafOf(l.canonical, l.Stored)
}

// Append appends the line's text, with its end.
func (l *Line) Append(b []byte) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, l.Seq, 10)
	b = append(b, `,"stored":"`...)
	b = l.Stored.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","leaf":"`...)
	b = base64.StdEncoding.AppendEncode(b, l.Leaf[:])
	b = append(b, `","subject":`...)
	b = appendText(b, l.Subject)
	b = append(b, `,"headers":{`...)
	for i, h := range l.Headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, h[0])
		b = append(b, ':')
		b = appendText(b, h[1])
	}
	if bytes.IndexByte(l.Data, '\n') < 0 && json.Valid(l.Data) {
		b = append(b, `},"data":`...)
		b = append(b, l.Data...)
	} else {
		b = append(b, `},"base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, l.Data)
		b = append(b, '"')
	}
	return append(b, "}\n"...)
}

// appendText appends a JSON string. What it cannot hold, a header or a subject
// of ours never has.
func appendText(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // of a string there is none
		return b
	}
	return append(b, text...)
}

var errLine = errors.New("not a line of the log")

// Parse reads a line without its end. What it holds is good until the next call.
// Written by hand, because nothing else would read a line of a known form in the
// time that it takes to hash it.
func (l *Line) Parse(text []byte) error {
	s := scanner{rest: text}
	s.want(`{"seq":`)
	l.Seq = s.number()
	s.want(`,"stored":`)
	stored := s.text()
	s.want(`,"leaf":`)
	leaf := s.text()
	s.want(`,"subject":`)
	l.Subject = s.text()
	s.want(`,"headers":{`)
	l.Headers = s.members(l.Headers[:0])
	switch {
	case s.has(`,"data":`) && bytes.HasSuffix(s.rest, []byte("}")):
		l.Data, s.rest = s.rest[:len(s.rest)-1], nil
	case s.has(`,"base64":`):
		data, err := base64.StdEncoding.Strict().DecodeString(s.text())
		l.Data, s.bad = data, s.bad || err != nil
		s.want(`}`)
	default:
		s.bad = true
	}
	var err error
	if l.Stored, err = time.Parse(time.RFC3339Nano, stored); err != nil || s.bad || len(s.rest) > 0 {
		return errLine
	}
	if l.Leaf, err = tlog.ParseHash(leaf); err != nil {
		return fmt.Errorf("%w: bad leaf", errLine)
	}
	return nil
}

// A scanner reads what must come next. Once something else came it is bad, and
// stays so.
type scanner struct {
	rest []byte
	bad  bool
}

func (s *scanner) has(text string) bool {
	rest, ok := bytes.CutPrefix(s.rest, []byte(text))
	if ok {
		s.rest = rest
	}
	return ok
}

func (s *scanner) want(text string) {
	if !s.has(text) {
		s.bad = true
	}
}

func (s *scanner) number() uint64 {
	n := 0
	for n < len(s.rest) && '0' <= s.rest[n] && s.rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(string(s.rest[:n]), 10, 63)
	s.bad = s.bad || err != nil
	s.rest = s.rest[n:]
	return v
}

// text reads a JSON string.
func (s *scanner) text() string { return s.textLike("") }

// textLike is text. Where it is the same as before, as most of a header is from
// line to line, that one is given again.
func (s *scanner) textLike(before string) string {
	if s.bad || len(s.rest) == 0 || s.rest[0] != '"' {
		s.bad = true
		return ""
	}
	end, escaped := 1, false
	for ; end < len(s.rest) && s.rest[end] != '"'; end++ {
		if s.rest[end] == '\\' {
			escaped = true
			end++
		}
	}
	if end >= len(s.rest) {
		s.bad = true
		return ""
	}
	quoted := s.rest[:end+1]
	s.rest = s.rest[end+1:]
	if !utf8.Valid(quoted) { // it would be written otherwise than it was read
		s.bad = true
		return ""
	}
	if !escaped {
		if inner := quoted[1:end]; string(inner) != before {
			return string(inner)
		}
		return before
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		s.bad = true
	}
	return text
}

// members reads an object of strings whose start was read, in the order of
// their names.
func (s *scanner) members(into events.Header) events.Header {
	for !s.bad && !s.has(`}`) {
		if len(into) > 0 {
			s.want(`,`)
		}
		var before [2]string
		if n := len(into); n < cap(into) {
			before = into[:n+1][n]
		}
		name := s.textLike(before[0])
		s.want(`:`)
		if len(into) > 0 && name <= into[len(into)-1][0] {
			s.bad = true
		}
		into = append(into, [2]string{name, s.textLike(before[1])})
	}
	return into
}
