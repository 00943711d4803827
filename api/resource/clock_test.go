package resource

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/chancery-authority/chancery/api/endings"
)

// TestSteppedClock has the wall clock put forward while a feed is read. What is
// proved after that is young, but by the moment that the request was sent at it looks
// as old as the step is wide, so a feed that goes on would prove nothing any more.
func TestSteppedClock(t *testing.T) {
	t.Parallel()
	for step, want := range map[time.Duration]bool{0: true, time.Hour: false, -time.Hour: false} {
		f := newFeed(nil, Config{}, func(endings.Digest) {})
		sent := stepped(t, time.Now(), step)
		err := f.mark([]byte(fmt.Sprintf(`{"as_of_ms":-1,"time":%d,"partitions":[0]}`, time.Now().Unix())), sent)
		if (err == nil) != want || (since(f.knownAsOf(nil)) < time.Minute) != want {
			t.Errorf("stepped by %v: %v, as of %v ago", step, err, since(f.knownAsOf(nil)))
		}
	}
}

// stepped is a moment as it was read before the wall clock was put forward since.
// The seconds of a time's wall clock are in its first word, above 30 bits.
func stepped(t *testing.T, at time.Time, by time.Duration) time.Time {
	t.Helper()
	old := at
	seconds := uint64(int64(by / time.Second))
	*(*uint64)(unsafe.Pointer(&old)) -= seconds << 30
	if old.Sub(at) != 0 || at.Round(0).Sub(old.Round(0)) != by {
		t.Fatal("a time is laid out in another way")
	}
	return old
}
