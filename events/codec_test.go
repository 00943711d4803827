package events_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/chancery-authority/chancery/events"
)

// text draws what a header can carry.
func text() *rapid.Generator[string] {
	return rapid.StringMatching(`([!-~äß€][ -~äß€]{0,20}[!-~äß€])?`)
}

func anyFact() *rapid.Generator[events.Fact] {
	return rapid.Custom(func(t *rapid.T) events.Fact {
		strs := rapid.SliceOfN(rapid.String(), 0, 3)
		i := events.Issuance{
			Generation: rapid.Uint32().Draw(t, "gen"), JTI: rapid.String().Draw(t, "jti"), IssuedAt: rapid.Int64().Draw(t, "iat"),
			Expires: rapid.Int64().Draw(t, "exp"), Scope: strs.Draw(t, "scope"), Audience: strs.Draw(t, "aud"),
			KID: rapid.String().Draw(t, "kid"), MACKey: rapid.Uint8().Draw(t, "mac"), Origin: rapid.String().Draw(t, "origin"),
		}
		s := events.ClientSettings{
			Name: rapid.String().Draw(t, "name"), Public: rapid.Bool().Draw(t, "public"), RedirectURIs: strs.Draw(t, "uris"),
			RetryWindow: rapid.Ptr(rapid.Int64(), true).Draw(t, "window"),
		}
		grant := events.GrantOpened{Client: i.JTI, AMR: i.Scope, Expires: i.Expires}
		if rapid.Bool().Draw(t, "issued") {
			grant.Issued = &i
		} else {
			grant.Code = &events.Code{MACKey: i.MACKey, RedirectURI: i.Origin, RedirectGiven: s.Public}
		}
		var id events.GrantID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "grant"))
		return rapid.SampledFrom([]events.Fact{
			grant,
			events.CodeRedeemed{Issuance: i},
			events.RefreshTokenRotated{Issuance: i},
			events.GrantRevoked{Reason: i.Origin, Generation: i.Generation},
			events.ClientUpdated{ClientSettings: s},
			events.GrantRevocationMarked{Grant: id, Until: i.Expires},
			events.FeedTicked{},
			events.UserDisabled{},
		}).Draw(t, "fact")
	})
}

func anyEvent() *rapid.Generator[events.Event] {
	return rapid.Custom(func(t *rapid.T) events.Event {
		f := anyFact().Draw(t, "fact")
		millis := rapid.Int64Range(0, 250_000_000_000_000).Draw(t, "time")
		return events.Event{
			ID: rapid.StringMatching(`[!-~]{1,40}`).Draw(t, "id"), Source: text().Draw(t, "source"),
			Time: time.UnixMilli(millis).UTC(), Subject: sampleSubject(f.Type()), Fact: f,
			Meta: events.Meta{
				Request: text().Draw(t, "request"), Trace: text().Draw(t, "trace"),
				Actor: text().Draw(t, "actor"), Origin: text().Draw(t, "origin"),
			},
		}
	})
}

func mustEncode(t rapid.TB, e events.Event) events.Message {
	t.Helper()
	m, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What was encoded reads as the same event: envelope and, encoded again, the
// same bytes.
func TestEncodeDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent().Draw(t, "event")
		m := mustEncode(t, e)
		got, err := events.Decode(m)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != e.ID || got.Source != e.Source || !got.Time.Equal(e.Time) || got.Subject != e.Subject || got.Meta != e.Meta {
			t.Errorf("decoded %+v, want %+v", got, e)
		}
		if again := mustEncode(t, got); render(again) != render(m) {
			t.Errorf("encoded again as\n%s, want\n%s", render(again), render(m))
		}
	})
}

// Headers survive the wire as they are, and what the transport adds is left out.
func TestHeadersOnTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := mustEncode(t, anyEvent().Draw(t, "event"))
		wire := "NATS/1.0\r\n"
		for _, h := range m.Header {
			wire += h[0] + ": " + h[1] + "\r\n"
		}
		h, err := nats.DecodeHeadersMsg([]byte(wire + "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(h, nats.Header(m.Header.Wire())) {
			t.Errorf("%q came as %q", m.Header, h)
		}
		h.Set("Nats-Batch-Id", text().Draw(t, "batch"))
		if got := events.OwnHeader(h); !slices.Equal(got, m.Header) {
			t.Errorf("%q was read as %q", m.Header, got)
		}
	})
}

// The canonical form leaves nothing out.
func TestCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := mustEncode(t, anyEvent().Draw(t, "event"))
		seq := rapid.Uint64().Draw(t, "sequence")
		want := events.Canonical(seq, m)
		n := rapid.IntRange(0, len(m.Header)-1).Draw(t, "header")
		for what, change := range map[string]func(*events.Message){
			"header": func(m *events.Message) { m.Header[n][1] += "x" },
			"gone":   func(m *events.Message) { m.Header = slices.Delete(m.Header, n, n+1) },
			"data":   func(m *events.Message) { m.Data = append(slices.Clone(m.Data), ' ') },
			"moved":  func(m *events.Message) { m.Subject += "x" },
		} {
			other := m
			other.Header = slices.Clone(m.Header)
			change(&other)
			if bytes.Equal(events.Canonical(seq, other), want) {
				t.Errorf("%s: the canonical form is the same", what)
			}
		}
		if bytes.Equal(events.Canonical(seq+1, m), want) {
			t.Error("another sequence has the same canonical form")
		}
	})
}

func TestEncodeRefuses(t *testing.T) {
	ok := sampleEvent("feed.ticked.v1", events.FeedTicked{})
	for name, change := range map[string]func(*events.Event){
		"no id":          func(e *events.Event) { e.ID = "" },
		"no subject":     func(e *events.Event) { e.Subject = "" },
		"no fact":        func(e *events.Event) { e.Fact = nil },
		"line break":     func(e *events.Event) { e.Meta.Request = "a\r\nNats-Msg-Id: b" },
		"zero byte":      func(e *events.Event) { e.Meta.Actor = "a\x00" },
		"space around":   func(e *events.Event) { e.Meta.Trace = " a" },
		"space after it": func(e *events.Event) { e.Source = "a " },
	} {
		e := ok
		change(&e)
		if m, err := events.Encode(e); err == nil {
			t.Errorf("%s: encoded as %s", name, render(m))
		}
	}
}

// set gives a message a header of its own, with other values of a name or none.
func set(m *events.Message, name string, values ...string) {
	wire := m.Header.Wire()
	wire[name] = values
	m.Header = events.OwnHeader(wire)
}

func TestDecodeRefuses(t *testing.T) {
	const secret = "chr_planted"
	for name, change := range map[string]func(*events.Message){
		"no version":       func(m *events.Message) { set(m, "ce-specversion") },
		"no id":            func(m *events.Message) { set(m, "ce-id") },
		"no time":          func(m *events.Message) { set(m, "ce-time") },
		"local time":       func(m *events.Message) { set(m, "ce-time", "2026-01-02T03:04:05.678+01:00") },
		"other subject":    func(m *events.Message) { set(m, "ce-subject", secret) },
		"no data":          func(m *events.Message) { m.Data = nil },
		"half the data":    func(m *events.Message) { m.Data = m.Data[:len(m.Data)/2] },
		"two values":       func(m *events.Message) { m.Data = append(m.Data, m.Data...) },
		"brace after it":   func(m *events.Message) { m.Data = append(m.Data, '}') },
		"unknown field":    func(m *events.Message) { m.Data = []byte(`{"` + secret + `":1}`) },
		"another case":     func(m *events.Message) { m.Data = []byte(`{"Reason":"` + secret + `"}`) },
		"a field twice":    func(m *events.Message) { m.Data = []byte(`{"reason":"x","reason":"` + secret + `"}`) },
		"no UTF-8":         func(m *events.Message) { m.Data = []byte("{\"reason\":\"" + secret + "\xff\"}") },
		"unknown value":    func(m *events.Message) { m.Data = []byte(`{"reason":` + secret + `}`) },
		"wrong type":       func(m *events.Message) { m.Data = []byte(`{"reason":["` + secret + `"]}`) },
		"number too large": func(m *events.Message) { m.Data = []byte(`{"gen":12345678901}`) },
	} {
		m := mustEncode(t, sampleEvent("grant.revoked.v1", events.GrantRevoked{Reason: "x"}))
		change(&m)
		e, err := events.Decode(m)
		if err == nil || errors.Is(err, events.ErrUnknownType) {
			t.Errorf("%s: %v %v", name, e, err)
			continue
		}
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "12345678901") {
			t.Errorf("%s: the error holds data: %v", name, err)
		}
	}
	m := mustEncode(t, sampleEvent("grant.revoked.v1", events.GrantRevoked{}))
	set(&m, "ce-type", "grant.revoked.v2")
	if _, err := events.Decode(m); !errors.Is(err, events.ErrUnknownType) {
		t.Errorf("a later version: %v", err)
	}
}

// FuzzDecode feeds the decoder what anybody with write access to the stream
// could: whatever it accepts has one meaning, which encodes to what decodes
// to the same.
func FuzzDecode(f *testing.F) {
	for _, fact := range samples() {
		typ := fact.Type()
		m := mustEncode(f, sampleEvent(typ, fact))
		f.Add(m.Subject, typ, m.Header.Get("ce-id"), m.Header.Get("ce-time"), m.Header.Get("ce-actor"), m.Data)
	}
	f.Fuzz(func(t *testing.T, subject, typ, id, at, actor string, data []byte) {
		m := events.Message{Subject: subject, Data: data}
		m.Header = events.Header{
			{"ce-actor", actor},
			{"ce-dataschema", "urn:chancery:event:" + typ},
			{"ce-id", id},
			{"ce-source", "fuzz"},
			{"ce-specversion", "1.0"},
			{"ce-subject", events.Subject(subject).ID()},
			{"ce-time", at},
			{"ce-type", typ},
		}
		e, err := events.Decode(m)
		if err != nil || subject == "" {
			return
		}
		once, err := events.Encode(e)
		if err != nil {
			for _, v := range []string{id, actor, m.Header.Get("ce-subject")} {
				if strings.Trim(v, " \t") != v || strings.ContainsAny(v, "\r\n\x00") {
					return // no header can carry it
				}
			}
			t.Fatal(err)
		}
		again, err := events.Decode(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice := mustEncode(t, again); render(twice) != render(once) {
			t.Errorf("encoded as\n%s, then as\n%s", render(once), render(twice))
		}
	})
}
