package archive

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"

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

// Verify reads a segment to its end and holds every line against the checkpoint
// in its header, in constant memory. An error that is a *Fault says what is
// wrong, and with which sequence; any other one that the segment cannot be
// read, or that it is signed by no known key.
func Verify(from io.Reader, known note.Verifiers) (Verified, error) {
	r, err := NewReader(from)
	if err != nil {
		return Verified{}, err
	}
	return verify(r, known, nil)
}

// verify is Verify of what follows a header. Each line that was found good as
// far as it can be told from itself is shown to each.
func verify(r *Reader, known note.Verifiers, each func(*Line) error) (v Verified, err error) {
	v.Header = r.Header
	if v.Checkpoint, err = r.Header.open(known); err != nil {
		return v, fmt.Errorf("segment of %s at %d: %w", r.Header.Stream, r.Header.First, err)
	}
	left, right, err := r.Header.ranges(v.Checkpoint.Size)
	if err != nil {
		return v, fmt.Errorf("segment of %s at %d: %w", r.Header.Stream, r.Header.First, err)
	}
	v.left = left
	stated, made, fault, err := readLeaves(r, each)
	if err != nil {
		return v, err
	}
	if fault != nil && stated.To <= leaf(r.Header.Last) {
		return v, fault // it ends there
	}
	switch {
	case proves(v, left, stated, right):
		v.Messages = stated
		if fault != nil {
			return v, fault
		}
		return v, nil
	case proves(v, left, made, right):
		// The messages are what was signed, and the leaves beside them are not.
		return v, fault
	}
	// Leaves were changed, too, so the messages cannot be told apart.
	reason := "these are not the messages that the checkpoint covers"
	if fault != nil {
		reason += fmt.Sprintf(", and %d is not even the one of its leaf", fault.Seq)
	}
	return v, &Fault{Stream: r.Header.Stream, Seq: r.Header.First, To: r.Header.Last, Reason: reason}
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

// readLeaves reads all lines. It gives the ranges of the leaves as they are
// stated and as the messages make them, and the first fault that can be seen
// without a checkpoint. At a sequence out of order it ends.
func readLeaves(r *Reader, each func(*Line) error) (stated, made tree.Range, fault *Fault, err error) {
	first, last := r.Header.First, r.Header.Last
	stated, made = tree.EmptyRange(leaf(first)), tree.EmptyRange(leaf(first))
	for want := first; ; want++ {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			if want <= last && fault == nil {
				fault = &Fault{Stream: r.Header.Stream, Seq: want, Reason: "it is missing, and all after it"}
			}
			return stated, made, fault, nil
		}
		if errors.Is(err, ErrDamaged) {
			// What else there is cannot be read in order.
			return stated, made, orElse(fault, r.Header.Stream, want, err.Error()), nil
		}
		if err != nil {
			return stated, made, fault, err
		}
		if l.Seq != want || l.Seq > last {
			return stated, made, orElse(fault, r.Header.Stream, want, outOfOrder(l.Seq, want, last)), nil
		}
		hash := l.Hash()
		if hash != l.Leaf {
			fault = orElse(fault, r.Header.Stream, want, "it is not the message that was signed")
		}
		stated.Append(l.Leaf)
		made.Append(hash)
		if each != nil && fault == nil {
			if err := each(l); err != nil {
				return stated, made, fault, err
			}
		}
	}
}

// orElse is the fault that was found before, or this one.
func orElse(before *Fault, stream string, seq uint64, reason string) *Fault {
	if before != nil {
		return before
	}
	return &Fault{Stream: stream, Seq: seq, Reason: reason}
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
