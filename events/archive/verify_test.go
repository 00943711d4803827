package archive

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

const stream = "MAIN_EVENTS_0"

// A signedLog is a stream of n messages, its tree, and a key.
type signedLog struct {
	entries []eventlog.Entry
	leaves  []tlog.Hash
	signer  note.Signer
	known   note.Verifiers
}

func newSignedLog(t testing.TB, n int) *signedLog {
	t.Helper()
	private, public, err := tree.NewKey(rand.Reader, "auth.example")
	if err != nil {
		t.Fatal(err)
	}
	l := &signedLog{}
	l.signer, err = note.NewSigner(private)
	verifier, err2 := note.NewVerifier(public)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	l.known = note.VerifierList(verifier)
	for i := range n {
		e := entry(uint64(i+1), fmt.Sprintf(`{"jti":"token-%d"}`, i))
		l.entries = append(l.entries, e)
		l.leaves = append(l.leaves, tree.Leaf(e.Seq, e.Stored, e.Message))
	}
	return l
}

// ReadHashes makes the log a reader of its own tree.
func (l *signedLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, i := range indexes {
		level, n := tlog.SplitStoredHashIndex(i)
		r := tree.EmptyRange(n << level)
		for _, leaf := range l.leaves[n<<level : (n+1)<<level] {
			r.Append(leaf)
		}
		found = append(found, r.Hashes()[0])
	}
	return found, nil
}

func (l *signedLog) checkpoint(t testing.TB, size int) []byte {
	t.Helper()
	r, err := tree.ReadRange(l, 0, int64(size))
	root, err2 := r.Root()
	signed, err3 := tree.Sign(l.signer, stream, uint64(size), root)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return signed
}

// lines are those of a segment, its header first, under a checkpoint of size.
func (l *signedLog) lines(t testing.TB, first, last, size int) []string {
	t.Helper()
	var text bytes.Buffer
	if err := l.write(t, &text, first, last, size); err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(text.String(), "\n"), "\n")
}

func (l *signedLog) write(t testing.TB, to io.Writer, first, last, size int) error {
	t.Helper()
	h, err := NewHeader(l, l.checkpoint(t, size), uint64(first), uint64(last))
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(to, h)
	if err != nil {
		return err
	}
	return errors.Join(l.fill(w), w.Close())
}

// fill writes what belongs into a segment.
func (l *signedLog) fill(w *Writer) error {
	for i := w.next; i <= w.last; i++ {
		if err := w.Write(NewLine(l.entries[i-1], l.leaves[i-1])); err != nil {
			return err
		}
	}
	return nil
}

func TestVerify(t *testing.T) {
	l := newSignedLog(t, 100)
	for _, at := range [][3]int{{1, 100, 100}, {1, 1, 1}, {1, 64, 100}, {17, 17, 64}, {17, 80, 99}, {64, 100, 100}, {100, 100, 100}} {
		text := strings.Join(l.lines(t, at[0], at[1], at[2]), "")
		v, err := Verify(strings.NewReader(text), Expected{Known: l.known}, nil)
		if err != nil {
			t.Errorf("%v: %v", at, err)
		}
		if v.Checkpoint.Size != uint64(at[2]) || v.Messages.To != int64(at[1]) {
			t.Errorf("%v: it says %+v", at, v)
		}
	}
}

// TestVerifyNames damages lines 30 to 40 in every way, and each damage is named
// by its first sequence.
func TestVerifyNames(t *testing.T) {
	l := newSignedLog(t, 100)
	good := l.lines(t, 17, 80, 100) // sequence n is line n - 16
	at := func(seq int) int { return seq - 16 }
	for name, c := range map[string]struct {
		damage func(lines []string) []string
		seq    uint64
	}{
		"a bit of data":  {edit(at(33), `token-32`, `token-33`), 33},
		"the subject":    {edit(at(33), `main.revoked.0`, `main.revoked.1`), 33},
		"a header":       {edit(at(33), `feed.ticked.v1`, `feed.ticked.v2`), 33},
		"a header more":  {edit(at(33), `"headers":{`, `"headers":{"ce-a":"",`), 33},
		"the time":       {edit(at(33), `:40.033`, `:41.033`), 33},
		"the last line":  {edit(at(80), `token-79`, `token-78`), 80},
		"the first line": {edit(at(17), `token-16`, `token-15`), 17},
		"two":            {both(edit(at(50), `token-49`, `token-50`), edit(at(40), `token-39`, `token-38`)), 40},
		"no JSON":        {edit(at(33), `"subject"`, `"subj`), 33},
		"dropped":        {func(l []string) []string { return slices.Delete(l, at(33), at(34)) }, 33},
		"duplicated":     {func(l []string) []string { return slices.Insert(l, at(34), l[at(33)]) }, 34},
		"reordered":      {func(l []string) []string { l[at(33)], l[at(34)] = l[at(34)], l[at(33)]; return l }, 33},
		"cut":            {func(l []string) []string { return l[:at(71)] }, 71},
		"cut in a line":  {func(l []string) []string { l[at(80)] = l[at(80)][:99]; return l }, 80},
		"one too many":   {func(l []string) []string { return append(l, "\n"+l[at(80)]) }, 81},
		"nothing":        {func(l []string) []string { return l[:1] }, 17},
		"a leaf only":    {func(s []string) []string { return edit(at(33), l.leaves[32].String(), l.leaves[33].String())(s) }, 33},
		"renumbered":     {edit(at(33), `"seq":33`, `"seq":34`), 33},
	} {
		text := strings.Join(c.damage(slices.Clone(good)), "")
		_, err := Verify(strings.NewReader(text), Expected{Known: l.known}, nil)
		var fault *Fault
		if !errors.As(err, &fault) || fault.Seq != c.seq || fault.To != 0 || fault.Stream != stream {
			t.Errorf("%s: %v, want sequence %d named", name, err, c.seq)
		}
	}
}

// edit changes a line, which must have what is changed.
func edit(line int, from, to string) func([]string) []string {
	return func(l []string) []string {
		changed := strings.Replace(l[line], from, to, 1)
		if changed == l[line] {
			panic(from + " is not in " + l[line])
		}
		l[line] = changed
		return l
	}
}

func both(a, b func([]string) []string) func([]string) []string {
	return func(l []string) []string { return b(a(l)) }
}

// TestVerifyForged changes a message and all that somebody without the key can
// make fit to it.
func TestVerifyForged(t *testing.T) {
	l := newSignedLog(t, 100)
	forged := newSignedLog(t, 100)
	forged.entries[32].Message.Data = []byte(`{"jti":"other"}`)
	e := forged.entries[32]
	forged.leaves[32] = tree.Leaf(e.Seq, e.Stored, e.Message)
	lines := forged.lines(t, 17, 80, 100)
	if _, err := Verify(strings.NewReader(strings.Join(lines, "")), Expected{Known: l.known}, nil); !errors.Is(err, tree.ErrCheckpoint) {
		t.Errorf("signed by another key: %v", err)
	}
	lines[0] = l.lines(t, 17, 80, 100)[0]
	_, err := Verify(strings.NewReader(strings.Join(lines, "")), Expected{Known: l.known}, nil)
	if fault := (*Fault)(nil); !errors.As(err, &fault) || fault.Seq != 17 || fault.To != 80 {
		t.Errorf("with leaves that fit: %v", err)
	}
	lines = l.lines(t, 17, 80, 100)
	lines[17] = strings.Replace(lines[18], `"seq":34`, `"seq":33`, 1)
	if _, err := Verify(strings.NewReader(strings.Join(lines, "")), Expected{Known: l.known}, nil); err == nil || !strings.Contains(err.Error(), "33 is not even") {
		t.Errorf("with a message and leaf of another's: %v", err)
	}
	for name, change := range map[string][2]string{
		"another stream": {`"stream":"MAIN_EVENTS_0"`, `"stream":"MAIN_EVENTS_1"`},
		"a path":         {`"stream":"MAIN_EVENTS_0"`, `"stream":"../MAIN_EVENTS_0"`},
		"fewer hashes":   {`"left":[`, `"left":[],"x":[`},
		"another place":  {`"first":17`, `"first":18`},
		"another format": {`chancery-log-1`, `chancery-log-2`},
		"a larger size":  {`\n100\n`, `\n101\n`},
	} {
		bad := l.lines(t, 17, 80, 100)
		bad[0] = strings.Replace(bad[0], change[0], change[1], 1)
		if _, err := Verify(strings.NewReader(strings.Join(bad, "")), Expected{Known: l.known}, nil); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// TestDir writes segments, verifies them as a whole and reads them back.
func TestDir(t *testing.T) {
	l := newSignedLog(t, 100)
	path := t.TempDir()
	d := Open(path)
	for _, at := range [][3]int{{1, 32, 40}, {33, 64, 70}, {65, 100, 100}} {
		h, err := NewHeader(l, l.checkpoint(t, at[2]), uint64(at[0]), uint64(at[1]))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it is there
			if err := d.Write(h, l.known, l.fill); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, r := range [][2]uint64{{1, 100}, {1, 1}, {32, 33}, {40, 90}, {100, 100}, {90, 100}} {
		var got []eventlog.Entry
		err := d.Read(t.Context(), stream, r[0], r[1], func(batch []eventlog.Entry) error {
			got = append(got, batch...)
			return nil
		})
		if err != nil || len(got) != int(r[1]-r[0])+1 || got[0].Seq != r[0] || got[len(got)-1].Seq != r[1] {
			t.Errorf("%v: %d entries: %v", r, len(got), err)
		}
	}
	for _, r := range [][2]uint64{{101, 101}, {90, 101}} {
		if err := d.Read(t.Context(), stream, r[0], r[1], func([]eventlog.Entry) error { return nil }); !errors.Is(err, eventlog.ErrNotArchived) {
			t.Errorf("%v: %v", r, err)
		}
	}
	report, err := d.Verify(t.Context(), Expected{Known: l.known}, nil)
	if err != nil || len(report) != 1 || report[0].Messages != 100 || report[0].Checkpoint.Size != 100 {
		t.Errorf("%+v: %v", report, err)
	}
	segments, err := d.Segments(stream)
	if err != nil || len(segments) != 3 {
		t.Fatal(segments, err)
	}
	remove(t, segments[1].Path)
	fault(t, d, l, 33)
	remove(t, segments[2].Path)
	fault(t, d, l, 33)
	// What is left is whole: only who knows a later checkpoint misses something.
	remove(t, segments[0].Path)
	if _, err := d.Verify(t.Context(), Expected{Known: l.known}, nil); err == nil {
		t.Error("an empty archive is verified")
	}
}

// TestDirLacksTheTail removes the last segment.
func TestDirLacksTheTail(t *testing.T) {
	l := newSignedLog(t, 64)
	d := Open(t.TempDir())
	for _, at := range [][3]int{{1, 32, 64}, {33, 64, 64}} {
		h, err := NewHeader(l, l.checkpoint(t, at[2]), uint64(at[0]), uint64(at[1]))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write(h, l.known, l.fill); err != nil {
			t.Fatal(err)
		}
	}
	segments, err := d.Segments(stream)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, segments[1].Path)
	if _, err := d.Verify(t.Context(), Expected{Known: l.known}, nil); err != nil {
		t.Errorf("an archive may end before its newest checkpoint: %v", err)
	}
	_, err = d.Verify(t.Context(), Expected{Known: l.known, Whole: true}, nil)
	if f := (*Fault)(nil); !errors.As(err, &f) || f.Seq != 33 {
		t.Errorf("as an export it is not whole: %v", err)
	}
	newest, err := tree.Open(l.checkpoint(t, 50), l.known)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Verify(t.Context(), Expected{Known: l.known, Checkpoints: []tree.Checkpoint{newest}}, nil)
	if f := (*Fault)(nil); !errors.As(err, &f) || f.Seq != 33 {
		t.Errorf("somebody has a checkpoint of 50: %v", err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func fault(t *testing.T, d *Dir, l *signedLog, seq uint64) {
	t.Helper()
	_, err := d.Verify(t.Context(), Expected{Known: l.known, Whole: true}, nil)
	if f := (*Fault)(nil); !errors.As(err, &f) || f.Seq != seq {
		t.Errorf("%v, want sequence %d named", err, seq)
	}
}

// TestWriteVerifiesBack fills a segment with something else than was signed.
func TestWriteVerifiesBack(t *testing.T) {
	l := newSignedLog(t, 40)
	d := Open(t.TempDir())
	h, err := NewHeader(l, l.checkpoint(t, 40), 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	l.entries[4].Message.Data = []byte(`{}`)
	if err := d.Write(h, l.known, l.fill); err == nil {
		t.Error("it was written")
	}
	if segments, err := d.Segments(stream); err != nil || len(segments) != 0 {
		t.Error(segments, err)
	}
}
