package archive

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/chancery-authority/chancery/events/tree"
)

// A Report is what was verified of a stream.
type Report struct {
	Stream      string
	First, Last uint64
	// Messages is how many were verified.
	Messages uint64
	// Checkpoint is the newest one that they were held against.
	Checkpoint tree.Checkpoint
}

// Verify verifies everything in the directory, as many segments at a time as
// there are processors, each in constant memory. It says what is good, and fails
// with the first *Fault. Progress, if not nil, is told of each segment.
func (d *Dir) Verify(ctx context.Context, want Expected, progress func(Verified)) ([]Report, error) {
	streams, err := d.Streams()
	if err != nil {
		return nil, err
	}
	if len(streams) == 0 {
		return nil, errors.New("verify archive: there is nothing in it")
	}
	var reports []Report
	for _, stream := range streams {
		r, err := d.verifyStream(ctx, stream, want, progress)
		if err != nil {
			return reports, err
		}
		reports = append(reports, r)
	}
	for _, c := range want.Checkpoints {
		if !slices.Contains(streams, c.Stream()) {
			return reports, &Fault{Stream: c.Stream(), Seq: 1, Reason: fmt.Sprintf("the whole stream is missing, of which a checkpoint covers %d", c.Size)}
		}
	}
	return reports, nil
}

func (d *Dir) verifyStream(ctx context.Context, stream string, want Expected, progress func(Verified)) (Report, error) {
	segments, err := d.Segments(stream)
	if err != nil {
		return Report{}, err
	}
	if len(segments) == 0 {
		return Report{}, fmt.Errorf("verify archive: there is nothing of %s", stream)
	}
	if want.Whole && segments[0].First > 1 {
		return Report{}, &Fault{Stream: stream, Seq: 1, To: segments[0].First - 1, Reason: "they are missing"}
	}
	verified, failed := verifyAll(ctx, segments, want, progress)
	c := chain{Report: Report{Stream: stream, First: segments[0].First}, want: want}
	for i, v := range verified {
		// Of segments that do not fit the first one counts, as of messages.
		if segments[i].First != c.next() {
			return c.Report, &Fault{Stream: stream, Seq: c.next(), To: segments[i].First - 1, Reason: "they are missing"}
		}
		if err := failed[i]; err != nil {
			if fault := (*Fault)(nil); !errors.As(err, &fault) { // which names what it is about
				err = fmt.Errorf("%s: %w", segments[i].Path, err)
			}
			return c.Report, err
		}
		if err := c.add(segments[i], v); err != nil {
			return c.Report, err
		}
	}
	return c.Report, c.end()
}

// verifyAll verifies segments, some at a time. What comes after a bad one may be
// left out.
func verifyAll(ctx context.Context, segments []Segment, want Expected, progress func(Verified)) (verified []Verified, failed []error) {
	verified, failed = make([]Verified, len(segments)), make([]error, len(segments))
	var mu sync.Mutex
	next, stop := 0, false
	take := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= len(segments) && !stop
	}
	done := func(i int, v Verified, err error) {
		mu.Lock()
		defer mu.Unlock()
		verified[i], failed[i] = v, err
		if stop = stop || err != nil; err == nil && progress != nil {
			progress(v)
		}
	}
	var working sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				v, err := segments[i].Verify(want)
				done(i, v, errors.Join(err, ctx.Err()))
			}
		})
	}
	working.Wait()
	return verified, failed
}

// A chain puts the verified segments of a stream together.
type chain struct {
	Report
	want Expected
	// messages are all so far. It is from the start if the first segment is.
	messages tree.Range
}

func (c *chain) next() uint64 {
	if c.Messages == 0 {
		return c.First
	}
	return c.Last + 1
}

// add adds the next segment. What its header has of the leaves before it must be
// what came before it.
func (c *chain) add(s Segment, v Verified) error {
	h := v.Header
	if h.Stream != s.Stream || h.First != s.First || h.Last != s.Last {
		return fmt.Errorf("segment %s: %w: it holds %s, %d to %d", s.Path, ErrDamaged, h.Stream, h.First, h.Last)
	}
	if c.Messages == 0 {
		c.messages = v.left
	}
	if !slices.Equal(c.messages.Hashes(), v.left.Hashes()) {
		return &Fault{Stream: s.Stream, Seq: c.First, To: s.First - 1, Reason: "the checkpoints of two segments are not of one log"}
	}
	if err := c.messages.Join(v.Messages); err != nil {
		return err
	}
	c.Messages += s.Last - s.First + 1
	c.Last = s.Last
	if v.Checkpoint.Size >= c.Checkpoint.Size {
		c.Checkpoint = v.Checkpoint
	}
	return nil
}

// end looks for what should follow.
func (c *chain) end() error {
	size := uint64(0)
	if c.want.Whole {
		size = c.Checkpoint.Size
	}
	for _, kept := range c.want.Checkpoints {
		if kept.Stream() != c.Stream {
			continue
		}
		if kept.Size < c.First {
			return fmt.Errorf("a checkpoint of %s up to %d cannot be compared: the first message here is %d", c.Stream, kept.Size, c.First)
		}
		size = max(size, kept.Size)
	}
	if c.Last < size {
		return &Fault{Stream: c.Stream, Seq: c.Last + 1, To: size, Reason: "they are missing, and a checkpoint covers them"}
	}
	return nil
}
