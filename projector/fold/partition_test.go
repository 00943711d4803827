package fold_test

import (
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

func TestPartition(t *testing.T) {
	added := record(events.DefaultRealm.PartitionSubject(3), events.PartitionAdded{})[0]
	p, err := fold.Partition{}.Apply(added)
	if err != nil || p != (fold.Partition{Number: 3, Seq: added.Seq, AddedAt: added.Stored}) {
		t.Errorf("got %+v, %v", p, err)
	}
	_, err = p.Apply(added)
	wantPoison(t, err)
	for _, subject := range []events.Subject{"main.partition.03", "main.partition.256", "main.partition.x", "main.key.3"} {
		_, err := fold.Partition{}.Apply(record(subject, events.PartitionAdded{})[0])
		wantPoison(t, err)
	}
	_, err = fold.Partition{}.Apply(record(added.Subject, events.KeyActivated{})[0])
	wantPoison(t, err)
}
