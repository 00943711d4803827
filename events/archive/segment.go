// Package archive keeps closed ranges of streams outside of the log's engine, as
// files that prove themselves: compressed NDJSON whose first line is a signed
// checkpoint of the stream's Merkle tree and what it takes to hold the lines
// against it.
//
// The one thing to know: nothing here is trusted because of where it is. Who has
// the public key of the checkpoints can verify an archive, or an export, which is
// the same, without the authority.
package archive

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events/tree"
)

// SegmentSize is how many messages a sealed segment has. It is a power of two,
// and segments begin at multiples of it, so each is one subtree.
const SegmentSize = 1 << 14

// MaxLine bounds one line, in bytes: a message is below 1 MiB, and base64 of it
// below twice that.
const MaxLine = 4 << 20

// ErrDamaged is returned for a segment that cannot be read as one.
var ErrDamaged = errors.New("segment is damaged")

// ValidStream reports whether a stream may have that name, so that it can be the
// name of a file.
func ValidStream(name string) bool { return streamName.MatchString(name) }

var streamName = regexp.MustCompile(`^[A-Z0-9_-]+$`)

// format is that of headers and lines.
const format = "chancery-log-1"

// A Header is the first line of a segment: which messages follow, and how they
// are proved. The tree of the checkpoint is made of the leaves before First, by
// the hashes of Left, of the lines' own, and of those behind Last, by the hashes
// of Right (tree.Subtrees).
type Header struct {
	Format     string      `json:"format"`
	Stream     string      `json:"stream"`
	First      uint64      `json:"first"`
	Last       uint64      `json:"last"`
	Checkpoint string      `json:"checkpoint"`
	Left       []tlog.Hash `json:"left"`
	Right      []tlog.Hash `json:"right"`
}

// NewHeader is that of the sequences first to last of a stream, by a checkpoint
// that covers them and whoever has the hashes of its tree.
func NewHeader(r tlog.HashReader, signed []byte, first, last uint64) (Header, error) {
	c, err := tree.Unverified(signed)
	if err != nil {
		return Header{}, err
	}
	if first < 1 || last < first || last > c.Size {
		return Header{}, fmt.Errorf("sequences %d to %d are not covered by a checkpoint of %d", first, last, c.Size)
	}
	h := Header{Format: format, Stream: c.Stream(), First: first, Last: last, Checkpoint: string(signed)}
	left, err := tree.ReadRange(r, 0, tree.Index(first))
	if err != nil {
		return Header{}, err
	}
	right, err := tree.ReadRange(r, tree.Index(last)+1, tree.Index(c.Size)+1)
	h.Left, h.Right = left.Hashes(), right.Hashes()
	return h, err
}

// ranges are what is around the lines.
func (h Header) ranges(size uint64) (left, right tree.Range, err error) {
	if left, err = tree.NewRange(0, tree.Index(h.First), h.Left); err != nil {
		return left, right, err
	}
	right, err = tree.NewRange(tree.Index(h.Last)+1, tree.Index(size)+1, h.Right)
	return left, right, err
}

func (h Header) check() error {
	if h.Format != format || h.First < 1 || h.Last < h.First || h.Last > 1<<62 {
		return fmt.Errorf("%w: no header of %s", ErrDamaged, format)
	}
	if !ValidStream(h.Stream) {
		return fmt.Errorf("%w: no name of a stream", ErrDamaged)
	}
	return nil
}

// open reads the checkpoint and makes sure that it is of the stream and covers
// the lines.
func (h Header) open(known note.Verifiers) (tree.Checkpoint, error) {
	c, err := tree.Open([]byte(h.Checkpoint), known)
	if err != nil {
		return c, err
	}
	if c.Stream() != h.Stream || c.Size < h.Last {
		return c, fmt.Errorf("%w: it is of %s up to %d", tree.ErrCheckpoint, c.Stream(), c.Size)
	}
	return c, nil
}

// A Writer writes a segment.
type Writer struct {
	to   *bufio.Writer
	next uint64
	last uint64
	line []byte
}

// NewWriter writes the header of a segment.
func NewWriter(to io.Writer, h Header) (*Writer, error) {
	w := &Writer{to: bufio.NewWriterSize(to, 64<<10), next: h.First, last: h.Last}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("write header: %w", err)
	}
	_, err = w.to.Write(append(text, '\n'))
	return w, err
}

// Write writes the next line.
func (w *Writer) Write(l Line) error {
	if l.Seq != w.next || l.Seq > w.last {
		return fmt.Errorf("sequence %d does not follow %d in a segment that ends at %d", l.Seq, w.next-1, w.last)
	}
	w.next++
	w.line = l.Append(w.line[:0])
	_, err := w.to.Write(w.line)
	return err
}

// Flush writes what is left in memory.
func (w *Writer) Flush() error { return w.to.Flush() }

// Close flushes, and fails if lines are missing.
func (w *Writer) Close() error {
	if err := w.to.Flush(); err != nil {
		return err
	}
	if w.next != w.last+1 {
		return fmt.Errorf("the segment ends at %d and not %d", w.next-1, w.last)
	}
	return nil
}

// A Reader reads the lines of a segment as they are, in whatever order. To find
// out what they are worth is Verify's.
type Reader struct {
	Header Header

	lines *bufio.Scanner
	line  Line
}

// NewReader reads the header of a segment.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{lines: bufio.NewScanner(from)}
	r.lines.Buffer(make([]byte, 64<<10), MaxLine)
	if !r.lines.Scan() {
		return nil, damaged(r.lines.Err(), "no header")
	}
	d := json.NewDecoder(bytes.NewReader(r.lines.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(&r.Header); err != nil {
		return nil, damaged(nil, "no header")
	}
	return r, r.Header.check()
}

// Next is the next line, good until the call after it. At the end it is io.EOF.
func (r *Reader) Next() (*Line, error) {
	if !r.lines.Scan() {
		if err := r.lines.Err(); err != nil {
			return nil, damaged(err, "cannot be read further")
		}
		return nil, io.EOF
	}
	if err := r.line.Parse(r.lines.Bytes()); err != nil {
		return nil, damaged(err, "")
	}
	return &r.line, nil
}

// damaged is ErrDamaged, with what is known of it.
func damaged(err error, what string) error {
	if err == nil {
		return fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	if what == "" {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, what, err)
}
