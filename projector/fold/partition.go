package fold

import (
	"time"

	"github.com/chancery-authority/chancery/events"
)

// A Partition is one that was added.
type Partition struct {
	Number  events.Partition `json:"number"`
	Seq     uint64           `json:"seq"`
	AddedAt time.Time        `json:"added_at"`
}

// Exists reports whether the partition was added.
func (p Partition) Exists() bool { return p.Seq != 0 }

// Apply folds the event of the partition's subject. There is only one.
func (p Partition) Apply(r events.Recorded) (Partition, error) {
	if p.Exists() {
		return p, poison(r, "added twice")
	}
	number, ok := events.ParsePartition(r.Subject.ID())
	if !ok || r.Subject != r.Subject.Realm().PartitionSubject(number) {
		return p, poison(r, "not the subject of a partition")
	}
	if _, ok := r.Fact.(events.PartitionAdded); !ok {
		return p, poison(r, "not a partition's event")
	}
	return Partition{Number: number, Seq: r.Seq, AddedAt: r.Stored}, nil
}
