// Package tree is the Merkle tree over a stream, as of RFC 6962 §2.1: every
// message is a leaf, in the order of sequences, so that a signed root stands for
// all of them and a short proof shows that one is among them. It is pure.
//
// The one thing to know: leaves count from 0 and sequences from 1, and a tree of
// size n is that of sequences 1 to n.
package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events"
)

// Leaf is the hash of one message's leaf: of its canonical form
// (events.Canonical) and, in eight bytes, the log server's timestamp in Unix
// nanoseconds. Windows and expiries run from that timestamp, so a log in which it
// could be moved unseen would prove what happened and not when.
func Leaf(seq uint64, stored time.Time, m events.Message) tlog.Hash {
	return LeafOf(events.Canonical(seq, m), stored)
}

// LeafOf is Leaf of a canonical form, which it may write behind.
func LeafOf(canonical []byte, stored time.Time) tlog.Hash {
	return tlog.RecordHash(binary.BigEndian.AppendUint64(canonical, uint64(stored.UnixNano())))
}

// Index is that of a sequence's leaf.
func Index(seq uint64) int64 { return int64(seq) - 1 } //nolint:gosec // sequences are far below 2^63

// A Subtree is a whole subtree: the leaves from N<<Level up to (N+1)<<Level.
type Subtree struct {
	Level int
	N     int64
}

// Index is where tlog has the hash of the subtree.
func (s Subtree) Index() int64 { return tlog.StoredHashIndex(s.Level, s.N) }

// end is the first leaf behind the subtree.
func (s Subtree) end() int64 { return (s.N + 1) << s.Level }

// Subtrees are the fewest that the leaves from, up to and without to, are made
// of.
func Subtrees(from, to int64) []Subtree {
	var all []Subtree
	for from < to {
		s := Subtree{0, from}
		for s.N%2 == 0 {
			parent := Subtree{s.Level + 1, s.N / 2}
			if parent.end() > to {
				break
			}
			s = parent
		}
		all = append(all, s)
		from = s.end()
	}
	return all
}

// ErrNoRange is returned for ranges that are not what they should be: with a gap
// between them, of other leaves than they say, or not from the start.
var ErrNoRange = errors.New("no such range of leaves")

// A Range stands for the leaves From, up to and without To, by the hashes of its
// subtrees. It takes a few dozen of them at most, however long it is. The zero
// value is the empty range at the start.
type Range struct {
	From, To int64
	hashes   []tlog.Hash
	subtrees []Subtree
}

// NewRange is the range with the hashes of Subtrees(from, to).
func NewRange(from, to int64, hashes []tlog.Hash) (Range, error) {
	r := Range{From: from, To: to, hashes: hashes, subtrees: Subtrees(from, to)}
	if from < 0 || to < from || len(hashes) != len(r.subtrees) {
		return Range{}, fmt.Errorf("%w: %d to %d by %d hashes", ErrNoRange, from, to, len(hashes))
	}
	return r, nil
}

// EmptyRange is the one before leaf at.
func EmptyRange(at int64) Range { return Range{From: at, To: at} }

// ReadRange reads a range from whoever has the hashes of the tree.
func ReadRange(r tlog.HashReader, from, to int64) (Range, error) {
	if from >= to {
		return NewRange(from, to, nil)
	}
	var indexes []int64
	for _, s := range Subtrees(from, to) {
		indexes = append(indexes, s.Index())
	}
	hashes, err := r.ReadHashes(indexes)
	if err != nil {
		return Range{}, fmt.Errorf("read range: %w", err)
	}
	return NewRange(from, to, hashes)
}

// Hashes are those of Subtrees(From, To).
func (r Range) Hashes() []tlog.Hash { return r.hashes }

// Clone is a range of its own.
func (r Range) Clone() Range {
	r.hashes, r.subtrees = slices.Clone(r.hashes), slices.Clone(r.subtrees)
	return r
}

// Append adds the next leaf.
func (r *Range) Append(leaf tlog.Hash) { r.push(Subtree{0, r.To}, leaf) }

// Join adds the range that follows.
func (r *Range) Join(next Range) error {
	if next.From != r.To {
		return fmt.Errorf("%w: %d follows %d", ErrNoRange, next.From, r.To)
	}
	for i, s := range next.subtrees {
		r.push(s, next.hashes[i])
	}
	return nil
}

// push adds a subtree, and puts those together that are halves of a larger one.
func (r *Range) push(s Subtree, h tlog.Hash) {
	for n := len(r.subtrees); n > 0 && s.N%2 == 1 && r.subtrees[n-1] == (Subtree{s.Level, s.N - 1}); n-- {
		h = tlog.NodeHash(r.hashes[n-1], h)
		s = Subtree{s.Level + 1, s.N / 2}
		r.subtrees, r.hashes = r.subtrees[:n-1], r.hashes[:n-1]
	}
	r.subtrees, r.hashes = append(r.subtrees, s), append(r.hashes, h)
	r.To = s.end()
}

// Root is the root of the tree of size To. The range must be from the start.
func (r Range) Root() (tlog.Hash, error) {
	if r.From != 0 || r.To == 0 {
		return tlog.Hash{}, fmt.Errorf("%w: the root of %d to %d", ErrNoRange, r.From, r.To)
	}
	root := r.hashes[len(r.hashes)-1]
	for i := len(r.hashes) - 2; i >= 0; i-- {
		root = tlog.NodeHash(r.hashes[i], root)
	}
	return root, nil
}
