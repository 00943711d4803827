package tree

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events"
)

// grown is a tree of n leaves as tlog keeps it.
func grown(t *testing.T, n int64) (tlog.HashReader, []tlog.Hash) {
	t.Helper()
	var stored, leaves []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, i := range indexes {
			found = append(found, stored[i])
		}
		return found, nil
	})
	for i := range n {
		leaf := tlog.RecordHash(binary.AppendVarint(nil, i))
		more, err := tlog.StoredHashesForRecordHash(i, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored, leaves = append(stored, more...), append(leaves, leaf)
	}
	return reader, leaves
}

// TestRanges holds every way to put a tree of up to 40 leaves together from three
// ranges against tlog's own root.
func TestRanges(t *testing.T) {
	const most = 40
	reader, leaves := grown(t, most)
	for n := int64(1); n <= most; n++ {
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		for a := int64(0); a <= n; a++ {
			for b := a; b <= n; b++ {
				whole, err := ReadRange(reader, 0, a)
				if err != nil {
					t.Fatal(err)
				}
				middle := EmptyRange(a)
				for _, leaf := range leaves[a:b] {
					middle.Append(leaf)
				}
				if read, err := ReadRange(reader, a, b); err != nil || !same(read, middle) {
					t.Fatalf("range %d to %d is read as %v, and put together as %v: %v", a, b, read, middle, err)
				}
				right, err := ReadRange(reader, b, n)
				if err = errors.Join(err, whole.Join(middle), whole.Join(right)); err != nil {
					t.Fatal(err)
				}
				if got, err := whole.Root(); err != nil || got != want {
					t.Fatalf("root of %d by way of %d and %d is %v, want %v: %v", n, a, b, got, want, err)
				}
			}
		}
	}
}

func same(a, b Range) bool {
	if a.From != b.From || a.To != b.To || len(a.hashes) != len(b.hashes) {
		return false
	}
	for i := range a.hashes {
		if a.hashes[i] != b.hashes[i] || a.subtrees[i] != b.subtrees[i] {
			return false
		}
	}
	return true
}

func TestRangesThatAreNot(t *testing.T) {
	if _, err := NewRange(3, 9, make([]tlog.Hash, 2)); !errors.Is(err, ErrNoRange) {
		t.Errorf("a range with too few hashes: %v", err)
	}
	if _, err := NewRange(9, 3, nil); !errors.Is(err, ErrNoRange) {
		t.Errorf("a range that ends before it begins: %v", err)
	}
	r := EmptyRange(0)
	if err := r.Join(EmptyRange(1)); !errors.Is(err, ErrNoRange) {
		t.Errorf("ranges with a gap: %v", err)
	}
	if _, err := r.Root(); !errors.Is(err, ErrNoRange) {
		t.Errorf("the root of nothing: %v", err)
	}
	later := EmptyRange(4)
	later.Append(tlog.Hash{})
	if _, err := later.Root(); !errors.Is(err, ErrNoRange) {
		t.Errorf("the root of a tree without its start: %v", err)
	}
}

// TestLeaf changes each part of a message, and the leaf changes with it.
func TestLeaf(t *testing.T) {
	at := time.Unix(1_795_000_000, 123_456_789)
	message := func() events.Message {
		return events.Message{
			Subject: "main.revoked.0", Data: []byte(`{}`),
			Header: events.Header{{"ce-id", "A"}, {"ce-type", "feed.ticked.v1"}},
		}
	}
	leaf := Leaf(7, at, message())
	if Leaf(7, at.UTC(), message()) != leaf {
		t.Error("a time zone changes the leaf")
	}
	subject, data, header, more := message(), message(), message(), message()
	subject.Subject, data.Data, header.Header[0][1] = "main.revoked.1", []byte(`{ }`), "B"
	more.Header = append(events.Header{{"ce-actor", "admin"}}, more.Header...)
	for what, h := range map[string]tlog.Hash{
		"sequence": Leaf(8, at, message()), "timestamp": Leaf(7, at.Add(1), message()), "subject": Leaf(7, at, subject),
		"data": Leaf(7, at, data), "header": Leaf(7, at, header), "another header": Leaf(7, at, more),
	} {
		if h == leaf {
			t.Errorf("another %s leaves the leaf as it was", what)
		}
	}
}

func newTestKey(t testing.TB, name string) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := NewKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := PublicKey(private); err != nil || again != public {
		t.Fatalf("the public key of the private one is %q, want %q: %v", again, public, err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func TestCheckpoint(t *testing.T) {
	signer, verifier := newTestKey(t, "auth.example/log")
	other, otherVerifier := newTestKey(t, "other.example")
	signed, err := Sign(signer, "MAIN_EVENTS_0", 42, tlog.RecordHash([]byte("root")))
	if err != nil {
		t.Fatal(err)
	}
	want := "auth.example/log/MAIN_EVENTS_0\n42\n" + tlog.RecordHash([]byte("root")).String() + "\n\n\u2014 auth.example/log "
	if !strings.HasPrefix(string(signed), want) {
		t.Errorf("it reads\n%s\nwant\n%s…", signed, want)
	}
	known := note.VerifierList(verifier, otherVerifier)
	c, err := Open(signed, known)
	if err != nil || c.Size != 42 || c.Stream() != "MAIN_EVENTS_0" || c.Root != tlog.RecordHash([]byte("root")) {
		t.Errorf("%+v: %v", c, err)
	}
	if again, err := Unverified(signed); err != nil || again != c {
		t.Errorf("without its signature it reads %+v: %v", again, err)
	}
	// Somebody else's key, which is known for another log, does not do.
	foreign, err := note.Sign(&note.Note{Text: c.text()}, other)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"another size": strings.Replace(string(signed), "\n42\n", "\n43\n", 1), "another key": string(foreign),
		"cut short": string(signed[:len(signed)-5]), "empty": "", "no signature": c.text(),
	} {
		if _, err := Open([]byte(text), known); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Open(signed, note.VerifierList(otherVerifier)); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("with a key that is not known: %v", err)
	}
	if _, err := PublicKey("PRIVATE+KEY+x"); err == nil {
		t.Error("half a key has a public one")
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add("auth.example/log/MAIN\n42\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u2014 x y\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Unverified([]byte(text))
		if err != nil {
			return
		}
		if again, err := parse(c.text()); err != nil || again != c {
			t.Errorf("%+v reads back as %+v: %v", c, again, err)
		}
	})
}
