package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/events/durable"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// suffix is that of a segment's file.
const suffix = ".ndjson.zst"

// maxWindow bounds what a file makes its reader hold, in bytes: four times what
// is written.
const maxWindow = 32 << 20

// maxBatch is how many entries are read at once.
const maxBatch = 500

// A Dir is a directory of segments, one below it for each stream, in which a
// file is named after the first and the last sequence of what it holds:
//
//	MAIN_EVENTS_0/00000000000000000001-00000000000000016384.ndjson.zst
//
// A file appears whole, and is never changed. It is safe for concurrent use, by
// several processes too.
type Dir struct {
	path string

	mu sync.Mutex
	// recent is the segment that was last looked into for one message.
	recent  Segment
	entries []eventlog.Entry
}

var _ eventlog.Archive = (*Dir)(nil)

// Open gives a directory, which need not be there yet.
func Open(path string) *Dir { return &Dir{path: path} }

// A Segment is a file of an archive.
type Segment struct {
	Stream      string
	First, Last uint64
	// Path is where it is.
	Path string
}

// Streams are those that the archive has anything of, sorted.
func (d *Dir) Streams() ([]string, error) {
	found, err := os.ReadDir(d.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list archive: %w", err)
	}
	var streams []string
	for _, f := range found {
		if f.IsDir() && ValidStream(f.Name()) {
			streams = append(streams, f.Name())
		}
	}
	return streams, nil
}

// Segments are those of a stream, by their first sequences.
func (d *Dir) Segments(stream string) ([]Segment, error) {
	found, err := os.ReadDir(filepath.Join(d.path, stream))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list archive of %s: %w", stream, err)
	}
	var segments []Segment
	for _, f := range found {
		if s, ok := d.segment(stream, f.Name()); ok {
			segments = append(segments, s)
		}
	}
	slices.SortFunc(segments, func(a, b Segment) int { return strings.Compare(a.Path, b.Path) })
	return segments, nil
}

// segment reads the name of a file.
func (d *Dir) segment(stream, name string) (Segment, bool) {
	text, ok := strings.CutSuffix(name, suffix)
	first, last, both := strings.Cut(text, "-")
	s := Segment{Stream: stream, Path: filepath.Join(d.path, stream, name)}
	var err, err2 error
	s.First, err = strconv.ParseUint(first, 10, 63)
	s.Last, err2 = strconv.ParseUint(last, 10, 63)
	return s, ok && both && errors.Join(err, err2) == nil && name == fileName(s.First, s.Last)
}

func fileName(first, last uint64) string { return fmt.Sprintf("%020d-%020d%s", first, last, suffix) }

// Write writes a segment, which fill fills, and reads it back from the disk: it
// must be what a known key has signed. Only then it is there. A segment that is
// there is left alone.
func (d *Dir) Write(h Header, known note.Verifiers, fill func(*Writer) error) error {
	path := filepath.Join(d.path, h.Stream, fileName(h.First, h.Last))
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	err := durable.Write(path, func(f *os.File) error { return compress(f, h, fill) }, func(written string) error {
		_, err := Segment{Path: written}.Verify(Expected{Known: known})
		return err
	})
	if err != nil {
		return err
	}
	return d.dropShorter(h)
}

// dropShorter deletes what a segment takes the place of: the end of an export that
// has gone on since.
func (d *Dir) dropShorter(h Header) error {
	segments, err := d.Segments(h.Stream)
	if err != nil {
		return err
	}
	for _, s := range segments {
		if s.First == h.First && s.Last < h.Last {
			if err := os.Remove(s.Path); err != nil {
				return fmt.Errorf("drop a shorter segment: %w", err)
			}
		}
	}
	return nil
}

func compress(to io.Writer, h Header, fill func(*Writer) error) error {
	z, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	w, err := NewWriter(z, h)
	if err == nil {
		err = fill(w)
	}
	if err == nil {
		err = w.Close()
	}
	return errors.Join(err, z.Close())
}

// Copy is Write of a segment that is read from elsewhere.
func (d *Dir) Copy(from io.Reader, known note.Verifiers) error {
	r, err := NewReader(from)
	if err != nil {
		return err
	}
	return d.Write(r.Header, known, func(w *Writer) error {
		for {
			l, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = w.Write(*l)
			}
			if err != nil {
				return err
			}
		}
	})
}

// Verify is Verify of the file.
func (s Segment) Verify(want Expected) (v Verified, err error) {
	err = s.open(func(from io.Reader) error {
		v, err = Verify(from, want, nil)
		return err
	})
	return v, err
}

// open decompresses the file.
func (s Segment) open(read func(io.Reader) error) error {
	f, err := os.Open(s.Path)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	defer z.Close()
	return read(z)
}

// lines opens the file for its lines.
func (s Segment) lines(read func(*Reader) error) error {
	return s.open(func(from io.Reader) error {
		r, err := NewReader(from)
		if err != nil {
			return err
		}
		return read(r)
	})
}

// Read implements eventlog.Archive. Every message is held against the leaf that
// is beside it, which is no proof, but shows damage.
func (d *Dir) Read(ctx context.Context, stream string, from, to uint64, each func([]eventlog.Entry) error) error {
	if from == to {
		return d.readOne(ctx, stream, from, each)
	}
	segments, err := d.Segments(stream)
	if err != nil {
		return err
	}
	next := from
	for _, s := range segments {
		if s.Last < next || s.First > next || next > to {
			continue
		}
		end := min(s.Last, to)
		if err := s.entries(ctx, next, end, each); err != nil {
			return fmt.Errorf("read archive of %s: %w", stream, err)
		}
		next = end + 1
	}
	if next <= to {
		return fmt.Errorf("read archive of %s: %w: sequence %d", stream, eventlog.ErrNotArchived, next)
	}
	return nil
}

// entries reads some of a segment's messages.
func (s Segment) entries(ctx context.Context, from, to uint64, each func([]eventlog.Entry) error) error {
	return s.lines(func(r *Reader) error {
		return r.entries(s.First, from, to, func(batch []eventlog.Entry) error { return errors.Join(ctx.Err(), each(batch)) })
	})
}

// Entries reads the messages of a segment, each held against its leaf.
func Entries(from io.Reader, each func([]eventlog.Entry) error) error {
	r, err := NewReader(from)
	if err != nil {
		return err
	}
	return r.entries(r.Header.First, r.Header.First, r.Header.Last, each)
}

// entries reads lines from the sequence first on, and hands over those of a part.
func (r *Reader) entries(first, from, to uint64, each func([]eventlog.Entry) error) error {
	var batch []eventlog.Entry
	for want := first; want <= to; want++ {
		l, err := r.Next()
		if err != nil {
			return fmt.Errorf("sequence %d: %w", want, err)
		}
		if l.Seq != want || l.Hash() != l.Leaf {
			return fmt.Errorf("%w: sequence %d is not what it was", ErrDamaged, want)
		}
		if want < from {
			continue
		}
		if batch = append(batch, l.Entry()); len(batch) == maxBatch || want == to {
			if err := each(batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	return nil
}

// readOne reads one message, and keeps its segment: who looks at one event of
// the past looks at others of its time.
func (d *Dir) readOne(ctx context.Context, stream string, seq uint64, each func([]eventlog.Entry) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recent.Stream != stream || seq < d.recent.First || seq > d.recent.Last {
		if err := d.recall(ctx, stream, seq); err != nil {
			return err
		}
	}
	return each(d.entries[seq-d.recent.First:][:1])
}

func (d *Dir) recall(ctx context.Context, stream string, seq uint64) error {
	segments, err := d.Segments(stream)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(segments, func(s Segment) bool { return s.First <= seq && seq <= s.Last })
	if i < 0 {
		return fmt.Errorf("read archive of %s: %w: sequence %d", stream, eventlog.ErrNotArchived, seq)
	}
	d.recent, d.entries = Segment{}, nil
	var entries []eventlog.Entry
	err = segments[i].entries(ctx, segments[i].First, segments[i].Last, func(batch []eventlog.Entry) error {
		entries = append(entries, batch...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read archive of %s: %w", stream, err)
	}
	d.recent, d.entries = segments[i], entries
	return nil
}
