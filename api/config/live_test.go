package config

import (
	"testing"
	"time"
)

func TestLiveTakesWhatCanChange(t *testing.T) {
	was := valid()
	l := NewLive(was)
	next := Settings{Issuer: "https://other.example", RetryWindow: time.Second, FreshnessBound: time.Hour}
	got := l.Set(next)
	if got != l.Get() || got.RetryWindow != time.Second || got.Registration {
		t.Errorf("in force: %+v", got)
	}
	if got.Issuer != was.Issuer || got.FreshnessBound != was.FreshnessBound || got.SigningAlgorithms[0] != "ES256" {
		t.Errorf("what cannot change did: %+v", got)
	}
}
