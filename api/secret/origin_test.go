package secret_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/secret"
)

func TestOriginIsReadWithItsKeyAndItsEventOnly(t *testing.T) {
	key, other := originKey(t), originKey(t)
	want := secret.Origin{Address: netip.MustParseAddr("192.0.2.1"), UserAgent: "a browser"}
	sealed, err := secret.SealOrigin(key.Public(), "event", want)
	if err != nil {
		t.Fatal(err)
	}
	private, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	reread, err := secret.ParseOriginKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := reread.Open("event", sealed); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	flipped := "A" + sealed[1:]
	if flipped == sealed {
		flipped = "B" + sealed[1:]
	}
	for name, open := range map[string]func() (secret.Origin, error){
		"another event": func() (secret.Origin, error) { return key.Open("other", sealed) },
		"another key":   func() (secret.Origin, error) { return other.Open("event", sealed) },
		"changed":       func() (secret.Origin, error) { return key.Open("event", flipped) },
		"empty":         func() (secret.Origin, error) { return key.Open("event", "") },
	} {
		if got, err := open(); !errors.Is(err, secret.ErrSealed) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", key, key, key), fmt.Sprintf("%d", private)) {
		t.Error("the key prints its private half")
	}
}

func originKey(t testing.TB) secret.OriginKey {
	t.Helper()
	key, err := secret.NewOriginKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func BenchmarkSealOrigin(b *testing.B) {
	public := originKey(b).Public()
	for b.Loop() {
		if _, err := secret.SealOrigin(public, "event", secret.Origin{Address: netip.MustParseAddr("192.0.2.1")}); err != nil {
			b.Fatal(err)
		}
	}
}
