package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	fields := make([]string, 52)
	for i := range fields {
		fields[i] = "0"
	}
	fields[0], fields[1], fields[2] = "7", "(a) b (c d)", "S"
	fields[13], fields[14], fields[23] = "120", "30", "1000"
	u, err := parseStat([]byte(strings.Join(fields, " ") + "\n"))
	if want := (usage{1500 * time.Millisecond, 1000 * int64(os.Getpagesize())}); err != nil || u != want {
		t.Errorf("got %+v, %v", u, err)
	}
	fields[13] = "x"
	for _, text := range []string{"", "7 (a) S 1 2 3", "7 a S", strings.Join(fields, " ")} {
		if _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// TestUsage is that of this process, which has the processor for a while.
func TestUsage(t *testing.T) {
	before, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		after, err := usageOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		own, err := ownUsage()
		if err != nil {
			t.Fatal(err)
		}
		if after.cpu >= before.cpu+100*time.Millisecond {
			if after.rss <= 0 || own.cpu < 100*time.Millisecond || own.rss <= 0 {
				t.Errorf("%+v, %+v", after, own)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v after %+v", after, before)
		}
	}
	if _, err := usageOf(1 << 30); err == nil {
		t.Error("a process that is not there uses something")
	}
}
