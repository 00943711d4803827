package embeddedtest

import (
	"os"
	"path/filepath"
	"testing"
)

// FlipBit flips one bit of a stream's only block, at a fraction of its length. The
// server on that directory is stopped. With keepIndex the server does not read the block
// again when it starts.
func FlipBit(t testing.TB, dir, stream string, at float64, keepIndex bool) {
	t.Helper()
	msgs := filepath.Join(dir, "nats", "jetstream", "$G", "streams", stream, "msgs")
	path := filepath.Join(msgs, "1.blk")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[int(at*float64(len(b)))] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil { //nolint:gosec // the test's own directory
		t.Fatal(err)
	}
	if keepIndex {
		return
	}
	if err := os.Remove(filepath.Join(msgs, "index.db")); err != nil {
		t.Fatal(err)
	}
}
