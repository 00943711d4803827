package pages_test

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	r := renderer(t)
	for _, test := range []struct{ uiLocales, accept, want string }{
		{"", "", "en"},
		{"", "de", "de"},
		{"", "de-AT,de;q=0.9,en;q=0.5", "de"},
		{"", "fr,de;q=0.3,en;q=0.2", "de"},
		{"", "en-GB;q=0.9, de;q=0.1", "en"},
		{"", "fr", "en"},
		{"de", "en", "de"},
		{"en", "de", "en"},
		{"fr de-CH", "en", "de"},
		{"fr it", "de", "de"},
		{"!!! ;;; de", "en", "de"},
		{"", "*", "en"},
		{"", ";q=;;,,", "en"},
		{"de\x00", "en", "en"},
		{strings.Repeat("fr ", 100000), strings.Repeat("x-", 100000), "en"},
	} {
		if got := r.Match(test.uiLocales, test.accept).String(); got != test.want {
			t.Errorf("Match(%.20q, %.20q) = %s, want %s", test.uiLocales, test.accept, got, test.want)
		}
	}
}
