package bench

import (
	"errors"
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
	fields[13], fields[14], fields[21], fields[23] = "120", "30", "77", "1000"
	u, err := parseStat([]byte(strings.Join(fields, " ") + "\n"))
	if want := (usage{cpu: 1500 * time.Millisecond, rss: 1000 * int64(os.Getpagesize()), started: 77}); err != nil || u != want {
		t.Errorf("got %+v, %v", u, err)
	}
	fields[2] = "Z"
	if _, err := parseStat([]byte(strings.Join(fields, " "))); !errors.Is(err, errEnded) {
		t.Errorf("a process that has ended: %v", err)
	}
	fields[2], fields[13] = "S", "x"
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
	if _, err := usageOf(1 << 30); !errors.Is(err, errEnded) {
		t.Errorf("a process that is not there: %v", err)
	}
}

// TestObserved tells a process from another that has its number now.
func TestObserved(t *testing.T) {
	all, err := observe(map[string]int{"b": os.Getpid(), "a": os.Getpid()})
	if err != nil || len(all) != 2 || all[0].name != "a" {
		t.Fatalf("%+v, %v", all, err)
	}
	if u, err := all[0].usage(); err != nil || u.ended || u.rss == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	all[1].started--
	for _, p := range []observed{all[1], {pid: 1 << 30}} {
		if u, err := p.usage(); err != nil || !u.ended {
			t.Errorf("%+v, %v", u, err)
		}
	}
	m := &measurement{
		recorder: newRecorder(), processes: all, known: true,
		before: []usage{{cpu: 1}, {cpu: 5}}, used: []usage{{cpu: 2}, {ended: true}},
	}
	if r := m.result(0); len(r.Processes) != 1 || r.Processes[0].Name != "a" || len(r.ProcessesEnded) != 1 || r.ProcessesEnded[0] != "b" {
		t.Errorf("%+v", r)
	}
}
