package archive

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

func entry(seq uint64, data string) eventlog.Entry {
	return eventlog.Entry{
		Seq: seq, Stored: time.Unix(1_795_000_000, int64(seq)*1_000_003).UTC(),
		Message: events.Message{
			Subject: "main.revoked.0", Data: []byte(data),
			Header: events.Header{{"ce-actor", "<admin>"}, {"ce-id", "A\"B\\C é"}, {"ce-type", "feed.ticked.v1"}},
		},
	}
}

// TestLine writes and reads lines of good and of damaged messages. Each reads
// back as what it was, is one line of JSON, and hashes as the message does.
func TestLine(t *testing.T) {
	for _, data := range []string{`{}`, `{"a":[1,"}\""]}`, `{"jti":"<&>"}`, "{\n}", `{"a":`, "", "\x00\xff", `"`, "{}\n{}", `{ "a" : 1 }`} {
		e := entry(7, data)
		leaf := tree.Leaf(e.Seq, e.Stored, e.Message)
		line := NewLine(e, leaf)
		text := line.Append(nil)
		if bytes.Count(text, []byte("\n")) != 1 || !json.Valid(text) {
			t.Errorf("%q is written as %q", data, text)
		}
		var back Line
		if err := back.Parse(bytes.TrimSuffix(text, []byte("\n"))); err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := back.Entry(); !reflect.DeepEqual(got, e) {
			t.Errorf("%q reads back as %+v", text, got)
		}
		if back.Hash() != leaf || back.Leaf != leaf {
			t.Errorf("%q hashes to another leaf", text)
		}
	}
}

// FuzzLine: whatever is read is written as it was read.
func FuzzLine(f *testing.F) {
	for _, data := range []string{`{}`, "\x00", `{"a":1}`} {
		line := NewLine(entry(7, data), tlog.Hash{1})
		f.Add(bytes.TrimSuffix(line.Append(nil), []byte("\n")))
	}
	f.Add([]byte(`{"seq":1,"stored":"2026-11-25T21:00:00+01:00","leaf":"","subject":"","headers":{},"data":}`))
	f.Add([]byte("{\"seq\":1,\"stored\":\"2026-11-25T21:00:00Z\",\"leaf\":\"0000000000000000000000000000000000000000000=\",\"subject\":\"\",\"headers\":{\"ce-a\":\"\xa9\"},\"data\":{}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var l, again Line
		if l.Parse(text) != nil || bytes.IndexByte(text, '\n') >= 0 {
			return
		}
		if err := again.Parse(bytes.TrimSuffix(l.Append(nil), []byte("\n"))); err != nil {
			t.Fatalf("%q is written as %q, which cannot be read", text, l.Append(nil))
		}
		if again.Hash() != l.Hash() {
			t.Errorf("%q reads back as another message", text)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	e := entry(7, `{"gen":12,"jti":"HZB7FVUVPZ3DOGJWA2VNNC6MEN","iat":1795373788,"exp":1795377388,"scope":["read","write"],"aud":["https://api.example"],"kid":"BpFWIDK9","mac":1,"origin":"abcdefghijklmnop"}`)
	e.Message.Header = nil
	for _, name := range []string{"ce-actor", "ce-dataschema", "ce-id", "ce-requestid", "ce-source", "ce-specversion", "ce-subject", "ce-time", "ce-type"} {
		e.Message.Header = append(e.Message.Header, [2]string{name, "0123456789abcdef0123456789"})
	}
	line := NewLine(e, tree.Leaf(e.Seq, e.Stored, e.Message))
	text := bytes.TrimSuffix(line.Append(nil), []byte("\n"))
	b.Run("write", func(b *testing.B) {
		var buf []byte
		for b.Loop() {
			buf = line.Append(buf[:0])
		}
	})
	b.Run("read", func(b *testing.B) {
		var l Line
		for b.Loop() {
			if err := l.Parse(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			line.Hash()
		}
	})
}
