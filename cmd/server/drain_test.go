package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// slow is a handler that says when it has begun and ends when it is let.
type slow struct {
	begun chan struct{}
	end   chan struct{}
}

func (s slow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.begun <- struct{}{}
	select {
	case <-s.end:
		_, _ = io.WriteString(w, "done")
	case <-r.Context().Done():
		_, _ = io.WriteString(w, "ended")
	}
}

// ask starts a request and returns where its answer will be.
func ask(t *testing.T, url string) <-chan string {
	t.Helper()
	answer := make(chan string, 1)
	go func() {
		_, body := get(t, url, noKey)
		answer <- body
	}()
	return answer
}

func TestDrainWaitsForRequests(t *testing.T) {
	h := slow{make(chan struct{}), make(chan struct{})}
	l, err := listen(t.Context(), "127.0.0.1:0", nil, h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = l.serve() }()
	answer := ask(t, l.url())
	<-h.begun
	drained := make(chan error)
	go func() { drained <- l.drain(t.Context(), time.Minute) }()
	close(h.end)
	if got := <-answer; got != "done" {
		t.Errorf("the request in progress got %q", got)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if got := <-ask(t, l.url()); !strings.Contains(got, "refused") {
		t.Errorf("a request after the drain got %q", got)
	}
}

// TestLinger tells clients to come by other connections, while it still answers: a
// request that comes by an idle connection just when that is closed is lost.
func TestLinger(t *testing.T) {
	h := slow{make(chan struct{}, 2), make(chan struct{})}
	close(h.end)
	l, err := listen(t.Context(), "127.0.0.1:0", nil, h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = l.serve() }()
	closes := func() bool {
		resp, err := http.Get(l.url())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		<-h.begun
		return resp.Close
	}
	if closes() {
		t.Error("a connection was closed before")
	}
	ctx, cancel := context.WithCancel(t.Context())
	lingered := make(chan struct{})
	go func() {
		defer close(lingered)
		l.linger(ctx, time.Hour)
	}()
	embeddedtest.Eventually(t, "connections to be closed", closes)
	cancel()
	<-lingered
	if err := l.drain(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
}

func TestDrainEndsStreams(t *testing.T) {
	h := slow{make(chan struct{}), nil}
	l, err := listen(t.Context(), "127.0.0.1:0", nil, h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = l.serve() }()
	late := make(chan struct{})
	l.late = func() { close(late) }
	answer := ask(t, l.url())
	<-h.begun
	if err := l.drain(t.Context(), time.Millisecond); err != nil {
		t.Error(err)
	}
	if got := <-answer; got != "ended" {
		t.Errorf("the stream got %q", got)
	}
	<-late // or the test takes too long
}

func TestCloseRunsInReverse(t *testing.T) {
	s := New(Config{})
	var order []string
	for _, what := range []string{"first", "second", "third"} {
		s.onClose(what, func(context.Context) error {
			order = append(order, what)
			return errors.New("boom")
		})
	}
	err := s.Close()
	if got := strings.Join(order, " "); got != "third second first" {
		t.Errorf("closed %s", got)
	}
	if err == nil || strings.Count(err.Error(), "boom") != 3 {
		t.Errorf("got %v, want all three", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		s.onClose("its base", func(context.Context) error {
			t.Error("the base of what hangs was closed")
			return nil
		})
		hung := make(chan struct{})
		defer close(hung)
		s.onClose("a hung one", func(context.Context) error {
			<-hung
			return nil
		})
		began := time.Now()
		err := s.Close()
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("took %s", took)
		}
		if err == nil || !strings.Contains(err.Error(), "its base") || !strings.Contains(err.Error(), "a hung one") {
			t.Errorf("got %v", err)
		}
	})
}

func TestHealth(t *testing.T) {
	check := errors.New("no log")
	h := newHealth(func(context.Context) error { return check })
	l, err := listen(t.Context(), "127.0.0.1:0", nil, h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = l.serve() }()
	defer l.http.Close()
	steps := []struct {
		state, check error
		status       int
		body         string
	}{
		{errStarting, nil, 503, "starting"},
		{nil, errors.New("no log"), 503, "no log"},
		{nil, nil, 200, "ready"},
		{errDraining, nil, 503, "draining"},
	}
	for _, step := range steps {
		h.set(step.state)
		check = step.check
		status, body := get(t, l.url()+"/health/ready", noKey)
		if status != step.status || !strings.Contains(body, step.body) {
			t.Errorf("got %d %q, want %d %q", status, body, step.status, step.body)
		}
		if status, _ := get(t, l.url()+"/health/live", noKey); status != 200 {
			t.Errorf("live: %d", status)
		}
	}
}
