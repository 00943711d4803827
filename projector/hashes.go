package projector

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events/tree"
)

// HashReader reads hashes of a stream's tree for package tlog. What the tree does
// not reach yet is ErrUnavailable.
func HashReader(ctx context.Context, r Reader, stream string) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found, err := r.Hashes(ctx, stream, indexes)
		if err == nil && len(found.Hashes) != len(indexes) {
			err = fmt.Errorf("%w: the tree of %s is at %d", ErrUnavailable, stream, found.Position)
		}
		return found.Hashes, err
	})
}

// Leaves are those of sequences first to last, no more than MaxHashes.
func Leaves(ctx context.Context, r Reader, stream string, first, last uint64) ([]tlog.Hash, error) {
	var indexes []int64
	for seq := first; seq <= last; seq++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, tree.Index(seq)))
	}
	return HashReader(ctx, r, stream).ReadHashes(indexes)
}
