package endings_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

func entry(k endings.Kind, id string, epoch uint64, until int64) endings.Entry {
	return endings.Entry{Kind: k, ID: endings.DigestOf(k, id), Epoch: epoch, Until: until}
}

func TestSet(t *testing.T) {
	t.Parallel()
	link := rules.Link{JTI: "j", Grant: events.GrantID{1}, IssuedTo: rules.IssuedTo{Client: "c", ClientEpoch: 1, User: "u", UserEpoch: 1}}
	issued := rules.Link{JTI: "issued", IssuedAt: 100}
	own := rules.Link{JTI: "own", IssuedAt: 1000, IssuedTo: rules.IssuedTo{Client: "c", ClientEpoch: 1}}
	for name, test := range map[string]struct {
		entries []endings.Entry
		of      rules.Link
		want    rules.Why
	}{
		"nothing":             {nil, link, ""},
		"the token":           {[]endings.Entry{entry(endings.Token, "j", 0, 9)}, link, rules.WhyRevoked},
		"another token":       {[]endings.Entry{entry(endings.Token, "k", 0, 9)}, link, ""},
		"the grant":           {[]endings.Entry{entry(endings.Grant, link.Grant.String(), 0, 9)}, link, rules.WhyGrantRevoked},
		"no grant":            {[]endings.Entry{entry(endings.Grant, events.GrantID{}.String(), 0, 9)}, own, ""},
		"a token of its name": {[]endings.Entry{entry(endings.Token, link.Grant.String(), 0, 9)}, link, ""},
		"the client":          {[]endings.Entry{entry(endings.Client, "c", 2, 9)}, link, rules.WhyClientCutOff},
		"the client before":   {[]endings.Entry{entry(endings.Client, "c", 1, 9)}, link, ""},
		"the user":            {[]endings.Entry{entry(endings.User, "u", 2, 9)}, link, rules.WhyUserCutOff},
		"no user":             {[]endings.Entry{entry(endings.User, "", 2, 9)}, own, ""},
		"late and early":      {[]endings.Entry{entry(endings.Client, "c", 2, 9), entry(endings.Client, "c", 1, 9)}, link, rules.WhyClientCutOff},
		"the partition lost":  {[]endings.Entry{entry(endings.Lost, "0", 101, 9)}, issued, rules.WhyLogRestored},
		"lost before it":      {[]endings.Entry{entry(endings.Lost, "0", 100, 9)}, issued, ""},
		"another lost":        {[]endings.Entry{entry(endings.Lost, "1", 101, 9)}, issued, ""},
		"the key":             {[]endings.Entry{entry(endings.Key, "kid", 0, 9)}, link, rules.WhyKeyDropped},
	} {
		var s endings.Set
		s.Add(test.entries...)
		if got := s.Ended("kid", []rules.Link{own, test.of}); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestSetForgets(t *testing.T) {
	t.Parallel()
	var s endings.Set
	s.Add(entry(endings.Token, "a", 0, 1000), entry(endings.Token, "b", 0, 1000), entry(endings.Token, "b", 0, 2000))
	for _, step := range []struct {
		time int64
		left int
	}{{1000, 2}, {1030, 2}, {1060, 2}, {1100, 2}, {1120, 1}, {2061, 0}, {5, 0}} {
		if s.Forget(step.time); s.Len() != step.left {
			t.Errorf("at %d: %d left, want %d", step.time, s.Len(), step.left)
		}
	}
}

func TestDigestText(t *testing.T) {
	t.Parallel()
	d := endings.DigestOf(endings.Token, "j")
	text, _ := d.MarshalText()
	var back endings.Digest
	if err := back.UnmarshalText(text); err != nil || back != d {
		t.Errorf("%s: %v, %v", text, back, err)
	}
	for _, bad := range []string{"", "AAAA", string(text) + "=", string(text[:21]) + "!", string(text) + "\n"} {
		if err := back.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}

// TestWireForm pins what readers of other makes read.
func TestWireForm(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	mark := endings.Mark{AsOf: -120, Time: 1795373788, Partitions: []int{0, 1}, Keys: endings.DigestOfKeys([]byte(`{"keys":[]}`))}
	for _, err := range []error{
		endings.WriteEvent(&b, endings.Ended, "", []endings.Entry{entry(endings.Token, "HZB7FVUVPZ3DOGJWA2VNNC6MEN", 0, 1795377388)}),
		endings.WriteEvent(&b, endings.Fresh, "x", mark),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const want = `event: ended
data: [{"kind":"token","id":"vHh3GpLhuApw8ZYz0k380w","until":1795377388}]

event: fresh
id: x
data: {"as_of_ms":-120,"time":1795373788,"partitions":[0,1],"keys":"Kkfb2XNgpVEqPuLo28KjEA"}

`
	if got := b.String(); got != want {
		t.Errorf("got %s", got)
	}
}

func TestDecoder(t *testing.T) {
	t.Parallel()
	text := "\ufeff: a comment\nretry: 250\n\nevent: ended\ndata: [1,\ndata:2]\nid: a\n\r\nid: b\n\nevent: gone\n\ndata\r\rid: c\nevent:cut short\ndata: x\n"
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)),
	} {
		d := endings.NewDecoder(r)
		for _, want := range []struct{ name, data, id string }{{"ended", "[1,\n2]", "a"}, {"message", "", "b"}} {
			e, err := d.Next()
			if err != nil || e.Name != want.name || string(e.Data) != want.data || d.LastID != want.id || d.Retry != 250*time.Millisecond {
				t.Errorf("%s: %q %q %q %v %v, want %v", name, e.Name, e.Data, d.LastID, d.Retry, err, want)
			}
		}
		if e, err := d.Next(); !errors.Is(err, io.EOF) || d.LastID != "b" {
			t.Errorf("%s: %+v %v %q", name, e, err, d.LastID)
		}
	}
}

func TestDecoderIsBounded(t *testing.T) {
	t.Parallel()
	for name, endless := range map[string]string{"one line": "x", "many lines": "data: " + strings.Repeat("x", 1000) + "\n"} {
		d := endings.NewDecoder(io.LimitReader(repeat(endless), 1<<23))
		if _, err := d.Next(); !errors.Is(err, endings.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// repeat is a text without end.
type repeat string

func (r repeat) Read(p []byte) (n int, err error) {
	for n+len(r) <= len(p) {
		n += copy(p[n:], r)
	}
	return max(n, copy(p[n:], "")), nil
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte("event: fresh\nid: x\ndata: {}\n\n"))
	f.Add([]byte("\r\n\r\rdata\n\n:\nretry: 99999999999\nid\x00: a\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		read := func(r io.Reader) (all []string) {
			for d := endings.NewDecoder(r); ; {
				e, err := d.Next()
				if err != nil {
					return append(all, d.LastID)
				}
				if strings.ContainsAny(e.Name+d.LastID, "\r\n") || bytes.ContainsRune(e.Data, '\r') {
					t.Fatalf("a line end in %q %q %q", e.Name, d.LastID, e.Data)
				}
				all = append(all, e.Name+" "+string(e.Data)+" "+d.LastID)
			}
		}
		if a, b := read(bytes.NewReader(text)), read(iotest.OneByteReader(bytes.NewReader(text))); strings.Join(a, "|") != strings.Join(b, "|") {
			t.Fatalf("at once %q, byte by byte %q", a, b)
		}
	})
}

// FuzzWritten reads what was written.
func FuzzWritten(f *testing.F) {
	f.Add("id", "text")
	f.Fuzz(func(t *testing.T, id, text string) {
		if strings.ContainsAny(id, "\r\n\x00") || id == "" {
			return // no id
		}
		var b bytes.Buffer
		if err := endings.WriteRetry(&b, time.Second); err != nil {
			t.Fatal(err)
		}
		if err := endings.WriteEvent(&b, endings.Fresh, id, text); err != nil {
			t.Fatal(err)
		}
		d := endings.NewDecoder(&b)
		if e, err := d.Next(); err != nil || e.Name != endings.Fresh || d.LastID != id || d.Retry != time.Second {
			t.Fatalf("%+v %q %v %v", e, d.LastID, d.Retry, err)
		}
	})
}
