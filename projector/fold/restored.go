package fold

import (
	"slices"
	"strconv"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// A Restoration is an accepted loss of one stream: what ended with it.
type Restoration struct {
	// Seq is the event's, in the stream it was read from, and At its log's time.
	Seq uint64
	At  time.Time
	// Size is the last sequence of the stream that is of before.
	Size uint64
	// Keep are the clients whose grants go on.
	Keep []string
}

// Restored is what r, a log.restored, says of a stream; ok is false if it does not
// name that.
func Restored(r events.Recorded, stream string) (x Restoration, ok bool, err error) {
	f, ok := r.Fact.(events.LogRestored)
	if !ok {
		return x, false, poison(r, "no loss that was accepted")
	}
	of, ok := f.Of(stream)
	return Restoration{Seq: r.Seq, At: r.Stored, Size: of.Size, Keep: f.Keep}, ok, nil
}

// PartitionRestored is Restored of an event on the revocation subject of a partition,
// which must name that partition's stream.
func PartitionRestored(r events.Recorded) (Restoration, error) {
	p, err := strconv.ParseUint(r.Subject.ID(), 10, 8)
	if err != nil {
		return Restoration{}, poison(r, "not on the subject of a partition")
	}
	x, ok, err := Restored(r, r.Subject.Realm().PartitionStream(events.Partition(p)))
	if err == nil && !ok {
		err = poison(r, "it does not name its own stream")
	}
	return x, err
}

// After adds the loss to those of the same stream that were accepted before, in a new
// list. What the stream has lost of what they ended it numbers again, and that is of
// after them.
func (x Restoration) After(before []Restoration) []Restoration {
	all := append(slices.Clone(before), x)
	for i := range all {
		all[i].Size = min(all[i].Size, x.Size)
	}
	return all
}

// Grant is the grant as it is after the loss.
func (x Restoration) Grant(g Grant) Grant {
	if g.Exists() && !g.Revoked() && g.OpenedSeq <= x.Size && !slices.Contains(x.Keep, g.Client) {
		g.RevokedReason, g.RevokedAt = events.ReasonLogRestored, x.At
	}
	return g
}

// Ends reports whether a session, or an access token's issuance, at a sequence of
// the stream is of before.
func (x Restoration) Ends(seq uint64) bool { return seq <= x.Size }

// EndsIssuedAt is the same of an access token that says when it was issued, in Unix
// seconds. Its event may be lost. Who appends the event makes sure that nothing is
// issued in the same second.
func (x Restoration) EndsIssuedAt(iat int64) bool { return iat <= x.At.Unix() }
