package secret_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/secret"
)

func TestParseUserCode(t *testing.T) {
	for _, test := range []struct{ typed, want string }{
		{"WDJB-MJHT", "WDJB-MJHT"},
		{"wdjbmjht", "WDJB-MJHT"},
		{" wdjb – MJHT ", "WDJB-MJHT"},
		{"W.D,J;B'M_J-H-T", "WDJB-MJHT"},
		{"", ""},
		{"WDJB-MJH", ""},
		{"WDJB-MJHTT", ""},
		{"WDJB-MJH1", ""},
		{"WDJA-MJHT", ""},
		{"WDJB-MJHT<", ""},
		{"WDJB\x00MJHT", ""},
		{"ſDJB-MJHT", ""}, // whose upper case is S
		{strings.Repeat("-", 1000), ""},
	} {
		code, ok := secret.ParseUserCode(test.typed)
		if ok != (test.want != "") || ok && code.String() != test.want {
			t.Errorf("%q: %q %v, want %q", test.typed, code, ok, test.want)
		}
	}
}

// TestUserCodesAreSpread has every letter at every place.
func TestUserCodesAreSpread(t *testing.T) {
	u := secret.NewUserCodes(ring(t, line("old", 1)))
	shape := regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`)
	seen, letters := map[secret.UserCode]bool{}, map[string]bool{}
	for i := range 2000 {
		code := u.For(strconv.Itoa(i))[0]
		if !shape.MatchString(code.String()) {
			t.Fatalf("code %q", code)
		}
		if parsed, ok := secret.ParseUserCode(code.String()); !ok || parsed != code {
			t.Errorf("%s is read as %s", code, parsed)
		}
		seen[code] = true
		for at, letter := range code {
			letters[strconv.Itoa(at)+string(letter)] = true
		}
	}
	if len(seen) != 2000 || len(letters) != 8*20 {
		t.Errorf("%d codes, %d letters at their places", len(seen), len(letters))
	}
}

// TestUserCodesAfterANewKey finds what was kept before, under other names.
func TestUserCodesAfterANewKey(t *testing.T) {
	before, after := secret.NewUserCodes(ring(t, line("old", 1))), secret.NewUserCodes(ring(t, line("old", 1), line("new", 2)))
	old := before.For("id")
	codes := after.For("id")
	if len(codes) != 2 || codes[0] == old[0] || codes[1] != old[0] {
		t.Errorf("codes %v, were %v", codes, old)
	}
	names := after.Names(old[0])
	if !slices.Contains(names, before.Names(old[0])[0]) || names[0] == names[1] {
		t.Errorf("names %v, were %v", names, before.Names(old[0]))
	}
	for _, name := range names {
		if strings.Contains(strings.ToUpper(name), string(old[0])) {
			t.Errorf("%s tells the code", name)
		}
	}
}
