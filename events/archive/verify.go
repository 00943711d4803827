package archive

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events/tree"
)

// A Fault is the first sequence at which what was read is not what was signed.
type Fault struct {
	Stream string
	// Seq is the first bad one. Where it cannot be told which of some it is, it is
	// the first of them and To the last, else To is 0.
	Seq, To uint64
	Reason  string
}

// Error names the stream and the sequence.
func (f *Fault) Error() string {
	if f.To > f.Seq {
		return fmt.Sprintf("%s sequence %d to %d: %s", f.Stream, f.Seq, f.To, f.Reason)
	}
	return fmt.Sprintf("%s sequence %d: %s", f.Stream, f.Seq, f.Reason)
}

// A Verified segment is what its checkpoint says.
type Verified struct {
	Header     Header
	Checkpoint tree.Checkpoint
	// Messages is the range of the lines, and left what the header has of those
	// before.
	Messages, left tree.Range
}

// Report is what was verified.
func (v Verified) Report() Report {
	h := v.Header
	return Report{Stream: h.Stream, First: h.First, Last: h.Last, Messages: h.Last - h.First + 1, Checkpoint: v.Checkpoint}
}

// Expected is what messages are held against, beside the checkpoint that is with
// them.
type Expected struct {
	// Known are the keys that sign checkpoints.
	Known note.Verifiers
	// Checkpoints are those that somebody has kept elsewhere. What they cover must
	// be there, and be it.
	Checkpoints []tree.Checkpoint
	// Whole asks for everything that the newest checkpoint in a directory covers,
	// as an export has it. The archive of a running authority ends before.
	Whole bool
}

// kept are the roots that somebody has kept of a stream at a size.
func (w Expected) kept(stream string, size uint64) (roots []tlog.Hash) {
	for _, c := range w.Checkpoints {
		if c.Size == size && c.Stream() == stream {
			roots = append(roots, c.Root)
		}
	}
	return roots
}

// Verify reads a segment to its end and holds every line against the checkpoint
// in its header, in constant memory. An error that is a *Fault says what is
// wrong, and with which sequence; any other one that the segment cannot be
// read, or that it is signed by no known key. Progress, if not nil, is told of
// each sequence.
func Verify(from io.Reader, want Expected, progress func(seq uint64)) (v Verified, err error) {
	r, err := NewReader(from)
	if err != nil {
		return v, err
	}
	v.Header = r.Header
	if v.Checkpoint, err = r.Header.open(want.Known); err != nil {
		return v, fmt.Errorf("segment of %s at %d: %w", r.Header.Stream, r.Header.First, err)
	}
	left, right, err := r.Header.ranges(v.Checkpoint.Size)
	if err != nil {
		return v, fmt.Errorf("segment of %s at %d: %w", r.Header.Stream, r.Header.First, err)
	}
	l := newLeaves(r.Header, left, want)
	if err := l.read(r, progress); err != nil {
		return v, err
	}
	return v, l.judge(&v, right)
}

// judge holds the leaves against the checkpoint.
func (l *leaves) judge(v *Verified, right tree.Range) error {
	if l.stated.To <= tree.Index(l.header.Last) { // it ends there
		return l.fault
	}
	v.left = l.left
	switch {
	case proves(*v, l.left, l.stated, right):
		v.Messages = l.stated
		for _, fault := range []*Fault{l.fault, l.other} {
			if fault != nil {
				return fault
			}
		}
		return nil
	case l.fault != nil && proves(*v, l.left, l.made, right):
		// The messages are what was signed, and the leaves beside them are not.
		return l.fault
	}
	// Leaves were changed, too, so the messages cannot be told apart.
	reason := "these are not the messages that the checkpoint covers"
	if l.fault != nil {
		reason += fmt.Sprintf(", and %d is not even the one of its leaf", l.fault.Seq)
	}
	return &Fault{Stream: l.header.Stream, Seq: l.header.First, To: l.header.Last, Reason: reason}
}

// proves reports whether the ranges make the tree of the checkpoint.
func proves(v Verified, left, middle, right tree.Range) bool {
	whole := tree.EmptyRange(0)
	if errors.Join(whole.Join(left), whole.Join(middle), whole.Join(right)) != nil {
		return false
	}
	root, err := whole.Root()
	return err == nil && root == v.Checkpoint.Root
}

// leaves are those of a segment as it is read.
type leaves struct {
	header Header
	want   Expected
	left   tree.Range
	// stated are those that are beside the messages, and made those that the
	// messages make. Until they differ, which is fault, there is one range.
	stated, made tree.Range
	// fault is the first one that can be seen without a checkpoint, and other says
	// that somebody has kept a checkpoint of another log.
	fault, other *Fault
}

func newLeaves(h Header, left tree.Range, want Expected) *leaves {
	return &leaves{header: h, want: want, left: left, stated: tree.EmptyRange(tree.Index(h.First))}
}

// read reads all lines, or as far as they are in order.
func (l *leaves) read(r *Reader, progress func(seq uint64)) error {
	for want := l.header.First; ; want++ {
		line, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			if want <= l.header.Last {
				l.found(want, "it is missing, and all after it")
			}
			return nil
		case errors.Is(err, ErrDamaged): // what else there is cannot be read in order
			l.found(want, err.Error())
			return nil
		case err != nil:
			return err
		case line.Seq != want || line.Seq > l.header.Last:
			l.found(want, outOfOrder(line.Seq, want, l.header.Last))
			return nil
		}
		if err := l.add(line); err != nil {
			return err
		}
		if progress != nil {
			progress(want)
		}
	}
}

// found notes the first fault.
func (l *leaves) found(seq uint64, reason string) {
	if l.fault == nil {
		l.fault = &Fault{Stream: l.header.Stream, Seq: seq, Reason: reason}
		l.made = l.stated.Clone()
	}
}

// add adds the next line.
func (l *leaves) add(line *Line) error {
	hash := line.Hash()
	if hash != line.Leaf {
		l.found(line.Seq, "it is not the message that was signed")
	}
	l.stated.Append(line.Leaf)
	if l.fault != nil {
		l.made.Append(hash)
	}
	kept := l.want.kept(l.header.Stream, line.Seq)
	if len(kept) == 0 {
		return nil
	}
	whole := l.left.Clone()
	if err := whole.Join(l.stated); err != nil {
		return err
	}
	root, err := whole.Root()
	if err != nil || slices.ContainsFunc(kept, func(k tlog.Hash) bool { return k != root }) {
		l.other = &Fault{Stream: l.header.Stream, Seq: 1, To: line.Seq, Reason: "another log was signed before"}
	}
	return nil
}

func outOfOrder(got, want, last uint64) string {
	switch {
	case want > last:
		return fmt.Sprintf("%d comes after the last one", got)
	case got < want:
		return fmt.Sprintf("%d comes in its place, again", got)
	}
	return fmt.Sprintf("it is missing, %d comes in its place", got)
}
