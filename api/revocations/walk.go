package revocations

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
)

// A walk goes over events that issued something, the oldest first, up to where the
// log ended when it began.
type walk struct {
	trail *projector.Trail
	heads map[string]uint64
}

// heads are where the streams end that have what is selected, and the registry.
func (r *Runner) heads(ctx context.Context, s Selection) (map[string]uint64, error) {
	realm := r.cfg.Log.Realm()
	streams := []string{realm.RegistryStream()}
	partitions, err := r.cfg.Authority.Everywhere(ctx)
	if err != nil {
		return nil, err
	}
	id, notOfGrant := events.ParseGrantID(s.Grant)
	for _, p := range partitions {
		if notOfGrant != nil || p == id.Partition() {
			streams = append(streams, realm.PartitionStream(p))
		}
	}
	heads := map[string]uint64{}
	for _, stream := range streams {
		head, err := r.cfg.Log.Head(ctx, stream)
		if err != nil {
			return nil, unavailable("read the head of "+stream, err)
		}
		heads[stream] = head.Seq
	}
	return heads, nil
}

// walk goes over what a query finds, of an address if that is valid, from
// positions on.
func (r *Runner) walk(q projector.AuditQuery, of netip.Addr, positions, heads map[string]uint64) *walk {
	heads = maps.Clone(heads)
	delete(heads, r.cfg.Log.Realm().RegistryStream()) // nothing is issued there
	w := &walk{projector.NewTrail(r.cfg.Reader, q, slices.Sorted(maps.Keys(heads)), positions, heads), heads}
	w.trail.Keep = func(row projector.Traced) bool {
		return row.Seq <= heads[row.Stream] && (!of.IsValid() ||
			// An issuance of a grant is hashed with the grant, any other with the client.
			r.cfg.Addresses.Matches(row.Origin, row.Grant, of) || r.cfg.Addresses.Matches(row.Origin, row.Client, of))
	}
	return w
}

// page gives the next rows. At the end more is false.
func (w *walk) page(ctx context.Context, limit int, patience time.Duration) (rows []projector.Traced, more bool, err error) {
	rows, more, err = w.trail.Page(ctx, limit, patience)
	if err != nil {
		return nil, true, fmt.Errorf("find what was issued: %w", err)
	}
	return rows, more && !w.reached(), nil
}

// reached reports whether everything up to the heads was looked at. A log that is
// written to has no end of its own.
func (w *walk) reached() bool {
	places := w.trail.Places()
	for stream, head := range w.heads {
		if places[stream] < head {
			return false
		}
	}
	return true
}
