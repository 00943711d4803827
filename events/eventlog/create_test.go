package eventlog_test

import (
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// TestConsumerRequestIsLost loses the request for a consumer with its connection, as
// when servers are restarted one after the other. Nobody answers it any more, so the
// next one must not wait for as long as a cluster may take to answer.
func TestConsumerRequestIsLost(t *testing.T) {
	t.Parallel()
	n := embeddedtest.Single(t)
	e := env{1, hostPort(n.URL()), nil}
	l, proxy := e.openProxied(t)
	seq := mustAppend(t, l, eventlog.Unit{Event: tick()})
	best := time.Minute
	for range 3 { // one of them is not held up by other tests
		proxy.StallRequests()
		f := follow(t, l, partition, eventlog.From{Seq: seq})
		embeddedtest.Eventually(t, "the request to be on its way", proxy.Holds)
		proxy.Drop()
		proxy.Heal()
		lost := time.Now()
		f.reaches(t, seq)
		best = min(best, time.Since(lost))
	}
	if best > 2*time.Second {
		t.Errorf("the next consumer came after %v", best)
	}
}
