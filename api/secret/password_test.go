package secret_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/secret"
)

// cheap keeps the tests fast; it is the least argon2id allows.
var cheap = secret.PasswordCost{Memory: 8, Time: 1, Threads: 1}

func passwords(tb testing.TB, cfg secret.PasswordConfig) *secret.Passwords {
	tb.Helper()
	p, err := secret.NewPasswords(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func verify(t *testing.T, p *secret.Passwords, stored, password string) (ok, outdated bool) {
	t.Helper()
	ok, outdated, err := p.Verify(t.Context(), stored, secret.New(password))
	if err != nil {
		t.Fatal(err)
	}
	return ok, outdated
}

func TestPasswords(t *testing.T) {
	p := passwords(t, secret.PasswordConfig{Cost: cheap})
	hash, err := p.Hash(t.Context(), secret.New("wonderland"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=8,t=1,p=1$") || strings.Contains(hash, "wonderland") {
		t.Errorf("got %s", hash)
	}
	if ok, outdated := verify(t, p, hash, "wonderland"); !ok || outdated {
		t.Errorf("right password: got %v, outdated %v", ok, outdated)
	}
	for _, wrong := range []string{"", "Wonderland", "wonderland ", hash} {
		if ok, outdated := verify(t, p, hash, wrong); ok || outdated {
			t.Errorf("%q: got %v, outdated %v", wrong, ok, outdated)
		}
	}
	for _, guess := range []string{"", "wonderland"} {
		if ok, _ := verify(t, p, "", guess); ok {
			t.Errorf("an unknown user logged in with %q", guess)
		}
	}
	dearer := passwords(t, secret.PasswordConfig{Cost: secret.PasswordCost{Memory: 16, Time: 2, Threads: 1}})
	if ok, outdated := verify(t, dearer, hash, "wonderland"); !ok || !outdated {
		t.Errorf("after a change of cost: got %v, outdated %v", ok, outdated)
	}
	if ok, outdated := verify(t, dearer, hash, "wrong"); ok || outdated {
		t.Errorf("wrong password after a change of cost: got %v, outdated %v", ok, outdated)
	}
}

// Made by the first version of this package: hashes outlive the program that
// made them.
func TestPasswordHashIsStable(t *testing.T) {
	p := passwords(t, secret.PasswordConfig{Cost: cheap})
	const old = "$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$rSaOVy1AQNh/QkxF+pZeN1IY9bDZAY+oFgSNtx9LQs4"
	if ok, _ := verify(t, p, old, "wonderland"); !ok {
		t.Error("a hash of an older version is not verified any more")
	}
}

func TestMalformedPasswordHash(t *testing.T) {
	p := passwords(t, secret.PasswordConfig{Cost: cheap})
	good, err := p.Hash(t.Context(), secret.New("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"x", "$", good + "$", good[1:], good[:len(good)-1], good + "A",
		strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=8,", "m=08,", 1),
		strings.Replace(good, "m=8,", "m=7,", 1),
		strings.Replace(good, "m=8,", "m=4294967295,", 1),
		strings.Replace(good, "m=8,", "m=-8,", 1),
		strings.Replace(good, "t=1,", "t=0,", 1),
		strings.Replace(good, "t=1,", "t=4000000000,", 1),
		strings.Replace(good, "p=1$", "p=0$", 1),
		strings.Replace(good, "p=1$", "p=1,x=1$", 1),
	} {
		ok, _, err := p.Verify(t.Context(), bad, secret.New("x"))
		if ok || err == nil {
			t.Errorf("%s: got %v, %v", bad, ok, err)
		} else if strings.Contains(err.Error(), bad) {
			t.Errorf("the error holds the hash: %v", err)
		}
	}
}

func TestPasswordConfig(t *testing.T) {
	for _, cfg := range []secret.PasswordConfig{
		{Cost: secret.PasswordCost{Memory: 7, Time: 1, Threads: 1}},
		{Cost: secret.PasswordCost{Memory: 8, Time: 0, Threads: 1}},
		{Cost: secret.PasswordCost{Memory: 8, Time: 1, Threads: 0}},
		{Concurrent: -1},
		{Queue: -1},
	} {
		if _, err := secret.NewPasswords(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// One hash runs, one waits: the third is turned away at once, the waiting one
// leaves when its request does, and afterwards everything is free again.
func TestPasswordPoolIsBounded(t *testing.T) {
	slow := secret.PasswordCost{Memory: 16 << 10, Time: 4, Threads: 1}
	p := passwords(t, secret.PasswordConfig{Cost: slow, Concurrent: 1, Queue: 1})
	const racers = 20
	errs := make(chan error, racers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range racers {
		go func() {
			_, err := p.Hash(ctx, secret.New("x"))
			errs <- err
		}()
	}
	count := map[string]int{}
	for range racers {
		switch err := <-errs; {
		case err == nil:
			count["done"]++
		case errors.Is(err, secret.ErrBusy):
			count["busy"]++
			cancel()
		case errors.Is(err, context.Canceled):
			count["left"]++
		default:
			t.Errorf("got %v", err)
		}
	}
	if count["busy"] == 0 || count["done"] == 0 {
		t.Errorf("got %v of %d, want some busy and some done", count, racers)
	}
	if _, err := p.Hash(t.Context(), secret.New("x")); err != nil {
		t.Errorf("the pool did not empty: %v", err)
	}
}

func TestPasswordQueueIsInTurn(t *testing.T) {
	p := passwords(t, secret.PasswordConfig{Cost: cheap, Concurrent: 2, Queue: 100})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := p.Hash(t.Context(), secret.New("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// An unknown user costs the same hash as a known one.
func TestUnknownUserIsNotFaster(t *testing.T) {
	p := passwords(t, secret.PasswordConfig{Cost: secret.PasswordCost{Memory: 1 << 10, Time: 4, Threads: 1}})
	hash, err := p.Hash(t.Context(), secret.New("x"))
	if err != nil {
		t.Fatal(err)
	}
	best := func(stored string) time.Duration {
		least := time.Hour
		for range 20 {
			start := time.Now()
			verify(t, p, stored, "wrong")
			least = min(least, time.Since(start))
		}
		return least
	}
	if known, unknown := best(hash), best(""); unknown < known/3 {
		t.Errorf("unknown user %v, known user %v", unknown, known)
	}
}

func BenchmarkPassword(b *testing.B) {
	p := passwords(b, secret.PasswordConfig{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Hash(b.Context(), secret.New("wonderland")); err != nil {
			b.Fatal(err)
		}
	}
}
