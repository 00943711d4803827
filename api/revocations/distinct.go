package revocations

import (
	"container/heap"
	"hash/maphash"
	"math"
)

// keepDistinct is how many hashes a distinct keeps: what it is off by beyond
// that is 1/sqrt(n), 0.4 %.
const keepDistinct = 1 << 16

// A distinct counts different texts in bounded memory: up to keepDistinct of
// them exactly, and more by how close together the smallest of their hashes are
// (k minimum values; Bar-Yossef et al. 2002). It is not safe for concurrent use.
type distinct struct {
	seed maphash.Seed
	has  map[uint64]struct{}
	// largest has the hashes of has, the largest first.
	largest hashes
	// over says that some were let go.
	over bool
}

func newDistinct() *distinct { return &distinct{seed: maphash.MakeSeed(), has: map[uint64]struct{}{}} }

// add counts a text that was not there before.
func (d *distinct) add(text string) {
	h := maphash.String(d.seed, text)
	if _, ok := d.has[h]; ok {
		return
	}
	if len(d.largest) == keepDistinct {
		d.over = true
		if h > d.largest[0] {
			return
		}
		delete(d.has, d.largest[0])
		heap.Pop(&d.largest)
	}
	d.has[h] = struct{}{}
	heap.Push(&d.largest, h)
}

// contains reports whether a text was counted and not let go.
func (d *distinct) contains(text string) bool {
	_, ok := d.has[maphash.String(d.seed, text)]
	return ok
}

// count is how many there were, about as many if over.
func (d *distinct) count() int64 {
	if !d.over {
		return int64(len(d.has))
	}
	return int64(float64(keepDistinct-1) / (float64(d.largest[0]) / math.MaxUint64))
}

// hashes is a heap with the largest on top.
type hashes []uint64

func (h hashes) Len() int           { return len(h) }
func (h hashes) Less(i, j int) bool { return h[i] > h[j] }
func (h hashes) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is described at heap.Interface.
func (h *hashes) Push(x any) {
	n, _ := x.(uint64) // nothing else is pushed
	*h = append(*h, n)
}

// Pop is described at heap.Interface.
func (h *hashes) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
