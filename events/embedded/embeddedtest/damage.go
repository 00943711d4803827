package embeddedtest

import (
	"os"
	"path/filepath"
)

// FlipBit flips one bit of a stream's only block, at a fraction of its length,
// while the server is stopped. With keepIndex the server does not read the block
// again when it starts.
func (n *Node) FlipBit(stream string, at float64, keepIndex bool) {
	n.t.Helper()
	msgs := filepath.Join(n.Dir, "nats", "jetstream", "$G", "streams", stream, "msgs")
	path := filepath.Join(msgs, "1.blk")
	b, err := os.ReadFile(path)
	if err != nil {
		n.t.Fatal(err)
	}
	b[int(at*float64(len(b)))] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		n.t.Fatal(err)
	}
	if keepIndex {
		return
	}
	if err := os.Remove(filepath.Join(msgs, "index.db")); err != nil {
		n.t.Fatal(err)
	}
}
