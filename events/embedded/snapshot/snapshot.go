// Package snapshot writes streams in the form in which a NATS server takes one
// back with its sequences and times (since nats-server 2.15).
package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
)

// A State says what follows. Sequences between that have no message are kept free.
type State struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	First    uint64 `json:"first_seq"`
	Last     uint64 `json:"last_seq"`
}

// A Message is one of a stream.
type Message struct {
	Seq     uint64
	Stored  time.Time
	Subject string
	Header  map[string][]string
	Data    []byte
}

// Size is about what the message takes in a store.
func (m Message) Size() uint64 { return uint64(len(m.Subject) + len(m.Data) + len(m.header()) + 30) }

// Same reports whether two messages are the same.
func (m Message) Same(as Message) bool {
	return m.Seq == as.Seq && m.Subject == as.Subject && m.Stored.Equal(as.Stored) &&
		bytes.Equal(m.header(), as.header()) && bytes.Equal(m.Data, as.Data)
}

// A Writer writes one stream. Close says that it is whole.
type Writer struct {
	packed *s2.Writer
	to     *archive.Writer
}

// NewWriter begins with the state.
func NewWriter(to io.Writer, s State) (*Writer, error) {
	packed := s2.NewWriter(to, s2.WriterConcurrency(1))
	w := &Writer{packed: packed, to: archive.NewWriter(packed)}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write state of a stream: %w", err)
	}
	return w, w.entry(archive.Header{Name: "state.json", Timestamp: time.Now().UnixNano(), PayloadSize: int64(len(text))}, nil, text)
}

// Write writes the next message, in the order of their sequences.
func (w *Writer) Write(m Message) error {
	header := m.header()
	return w.entry(archive.Header{
		Name: m.Subject, Timestamp: m.Stored.UnixNano(), Sequence: m.Seq,
		HeaderSize: int64(len(header)), PayloadSize: int64(len(m.Data)),
	}, header, m.Data)
}

func (w *Writer) entry(h archive.Header, header, data []byte) error {
	err := w.to.WriteHeader(&h)
	for _, part := range [][]byte{header, data} {
		if err == nil {
			_, err = w.to.Write(part)
		}
	}
	if err != nil {
		return fmt.Errorf("write message %d: %w", h.Sequence, err)
	}
	return nil
}

// Close writes the mark of the end.
func (w *Writer) Close() error {
	return errors.Join(w.entry(archive.Header{}, nil, nil), w.to.Close(), w.packed.Close())
}

// header is that of NATS, empty where there is none.
func (m Message) header() []byte {
	if len(m.Header) == 0 {
		return nil
	}
	b := []byte("NATS/1.0\r\n")
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, value := range m.Header[name] {
			b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}
