package resource

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func FuzzBearerToken(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer ", "bearer abc", "Bearer a b", "Basic eDp5", "Bearer a==", "Bearer ==", "Bearer \u0100", "Bearer\tabc"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, refusal := bearerToken([]string{header})
		if (refusal == nil) != (token != "") {
			t.Fatalf("%q: token %q, refusal %v", header, token, refusal)
		}
		if refusal == nil && (!strings.HasSuffix(strings.TrimRight(header, " "), token) || strings.ContainsAny(token, " \t\r\n\",\\")) {
			t.Fatalf("%q: token %q", header, token)
		}
		if refusal != nil && strings.Contains(refusal.challenge(), "error") != (refusal.Status == http.StatusBadRequest) {
			t.Fatalf("%q: %d %s", header, refusal.Status, refusal.challenge())
		}
	})
}

func TestKeysAge(t *testing.T) {
	t.Parallel()
	for control, want := range map[string]time.Duration{
		"":                           defaultKeysAge,
		"public, max-age=300":        5 * time.Minute,
		`Max-Age="60"`:               time.Minute,
		"max-age=0":                  minKeysAge,
		"max-age=60, no-store":       minKeysAge,
		"max-age=99999999":           MaxKeysAge,
		"max-age=99999999999999999":  defaultKeysAge,
		"max-age=-1":                 defaultKeysAge,
		"s-maxage=10, max-age = 60,": defaultKeysAge,
	} {
		if got := keysAge(control); got != want {
			t.Errorf("%q: %v, want %v", control, got, want)
		}
	}
}

func TestMarksOfNoMoment(t *testing.T) {
	t.Parallel()
	f := newFeed(nil, Config{}, nil)
	for _, mark := range []string{``, `[]`, `{"as_of_ms":60000}`, `{"as_of_ms":9223372036854775807}`, `{"as_of_ms":-9223372036854775808}`, `{"as_of_ms":1e30}`} {
		if err := f.mark([]byte(mark), time.Now()); err == nil || !f.knownAsOf(nil).IsZero() {
			t.Errorf("%s: taken", mark)
		}
	}
}
