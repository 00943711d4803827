package revocations

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

func TestSelection(t *testing.T) {
	at := time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)
	here := netip.MustParseAddr("192.0.2.7")
	for name, test := range map[string]struct {
		Selection
		refused, cuts string
	}{
		"nothing":                 {refused: "selection"},
		"a client":                {Selection: Selection{Client: "web"}, cuts: "client"},
		"a user":                  {Selection: Selection{User: "u"}, cuts: "user"},
		"a user at a client":      {Selection: Selection{User: "u", Client: "web"}},
		"a client, since":         {Selection: Selection{Client: "web", Since: at}},
		"a client, until":         {Selection: Selection{Client: "web", Until: at}},
		"a client, by a key":      {Selection: Selection{Client: "web", KID: "k"}},
		"a client, to an address": {Selection: Selection{Client: "web", Address: here}},
		"a time":                  {Selection: Selection{Since: at, Until: at.Add(time.Hour)}},
		"an address":              {Selection: Selection{Address: here}, refused: "address"},
		"an address, until":       {Selection: Selection{Address: here, Until: at}, refused: "address"},
		"an address, by a key":    {Selection: Selection{Address: here, KID: "k"}, refused: "address"},
		"an address, since":       {Selection: Selection{Address: here, Since: at}},
		"no time at all":          {Selection: Selection{Since: at, Until: at}, refused: "until"},
		"what is no client's id":  {Selection: Selection{Client: "*"}, refused: "client"},
		"what is no user's id":    {Selection: Selection{User: "a.b"}, refused: "user"},
		"what is no key's id":     {Selection: Selection{KID: " "}, refused: "kid"},
		"what is no grant's id":   {Selection: Selection{Grant: "00FF"}, refused: "grant"},
		"what is too long":        {Selection: Selection{JTI: strings.Repeat("j", 129)}, refused: "jti"},
	} {
		refusal, parameter := test.Check(), ""
		if refusal != nil {
			parameter = refusal.Parameter
		}
		if parameter != test.refused || refusal == nil && test.cutOff() != test.cuts {
			t.Errorf("%s: refused for %q, cut off %q", name, parameter, test.cutOff())
		}
	}
}

// TestQueryHasAllOfTheSelection, so that nothing else is found.
func TestQueryHasAllOfTheSelection(t *testing.T) {
	at := time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)
	s := Selection{Client: "c", User: "u", KID: "k", Grant: "g", JTI: "j", Since: at, Until: at.Add(time.Hour)}
	q := s.query()
	if q.Client != "c" || q.User != "u" || q.KID != "k" || q.Grant != "g" || q.JTI != "j" || !q.Since.Equal(s.Since) || !q.Until.Equal(s.Until) {
		t.Errorf("%+v", q)
	}
	if len(q.Types) != 5 || len(ofGrant) != 3 {
		t.Errorf("types %v", q.Types)
	}
}

func TestUnitsOf(t *testing.T) {
	row := func(typ, grant, jti string) projector.Traced {
		return projector.Traced{Audit: fold.Audit{Type: typ + ".v1", Grant: grant, JTI: jti}}
	}
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 32)
	grants, tokens, err := unitsOf([]projector.Traced{
		row("token.exchanged", a, "1"), row("grant.opened", a, ""), row("access_token.issued", "", "2"),
		row("code.redeemed", a, "3"), row("refresh_token.rotated", b, "4"), row("refresh_token.rotated", b, "5"),
	})
	var got []string
	for _, id := range grants {
		got = append(got, id.String())
	}
	for _, u := range tokens {
		got = append(got, u.JTI)
	}
	if want := []string{a, b, "1", "2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, _, err := unitsOf([]projector.Traced{row("grant.opened", "none", "")}); err == nil {
		t.Error("a grant without an id")
	}
}

// TestDistinct counts exactly as long as it can, and about right beyond that.
func TestDistinct(t *testing.T) {
	d := newDistinct()
	for i := range keepDistinct {
		for range 2 {
			d.add(fmt.Sprint(i))
		}
	}
	if d.count() != keepDistinct || d.over || !d.contains("7") || d.contains("none") {
		t.Errorf("%d, over %v", d.count(), d.over)
	}
	const many = 6 * keepDistinct
	for i := range many {
		d.add(fmt.Sprint(i))
	}
	if off := float64(d.count())/many - 1; !d.over || off > 0.03 || off < -0.03 || len(d.has) != keepDistinct || len(d.largest) != keepDistinct {
		t.Errorf("%d of %d, %d kept", d.count(), many, len(d.has))
	}
}
