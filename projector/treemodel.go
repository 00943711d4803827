package projector

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

const (
	// treeVersion is that of the tiles and of what leaves are made of.
	treeVersion = 1
	// tileHeight is how many levels of the tree a tile has, and tileWidth how many
	// hashes of its lowest, which are all that is kept of it.
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// MaxHashes is how many hashes one read of a tree gives at most.
const MaxHashes = 4096

const treeSchema = metaSchema + `
-- the Merkle tree of the stream (RFC 6962), in tiles of 256 hashes and 8 levels
CREATE TABLE tiles (
  level  INTEGER NOT NULL, -- of tiles: the hashes are of the tree's level 8 * level
  n      INTEGER NOT NULL, -- the hashes are those from 256 * n on
  hashes BLOB NOT NULL,    -- 32 bytes each
  PRIMARY KEY (level, n)
) STRICT;`

// treeModel is the read model that proves what a stream holds. It is the same for
// every stream, knows nothing of events, and nothing in it expires.
func treeModel() model {
	return model{
		version: treeVersion,
		linger:  100 * time.Millisecond,
		suffix:  ".tree",
		schema:  treeSchema,
		// Only the last tile of each level is written.
		cache:   cache{write: 2 << 10, read: 1 << 10, build: 2 << 10},
		tables:  []string{"tiles"},
		queries: map[string]query{readHashes: answerHashes},
		begin: func(w *writer) changes {
			return &treeChanges{w: w, tiles: map[tile][]byte{}}
		},
	}
}

// A tile is the place of one.
type tile struct {
	level int
	n     int64
}

// treeChanges are the tiles that a batch adds to.
type treeChanges struct {
	w     *writer
	tiles map[tile][]byte
}

const selectTile = `SELECT hashes FROM tiles WHERE level = ? AND n = ?`

func (c *treeChanges) apply(ctx context.Context, e eventlog.Entry, _ time.Time) error {
	return c.add(ctx, 0, tree.Index(e.Seq), tree.Leaf(e.Seq, e.Stored, e.Message))
}

// add adds hash i of a level of tiles. A tile that it fills is a hash of the
// level above.
func (c *treeChanges) add(ctx context.Context, level int, i int64, h tlog.Hash) error {
	at := tile{level, i / tileWidth}
	hashes, ok := c.tiles[at]
	if !ok && i%tileWidth > 0 {
		var err error
		if hashes, err = c.stored(ctx, at); err != nil {
			return err
		}
	}
	if int64(len(hashes)) != i%tileWidth*tlog.HashSize {
		return fmt.Errorf("tile %d of level %d: %w: it has %d bytes before hash %d", at.n, level, errDisposable, len(hashes), i)
	}
	hashes = append(hashes, h[:]...)
	c.tiles[at] = hashes
	if len(hashes) < tileWidth*tlog.HashSize {
		return nil
	}
	var whole tree.Range
	for ; len(hashes) > 0; hashes = hashes[tlog.HashSize:] {
		whole.Append(tlog.Hash(hashes[:tlog.HashSize]))
	}
	return c.add(ctx, level+1, at.n, whole.Hashes()[0])
}

func (c *treeChanges) stored(ctx context.Context, at tile) ([]byte, error) {
	stmt, err := c.w.statement(ctx, selectTile) //nolint:sqlclosecheck // closed with the writer
	if err != nil {
		return nil, err
	}
	var hashes []byte
	err = stmt.QueryRowContext(ctx, at.level, at.n).Scan(&hashes)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read tile %d of level %d: %w", at.n, at.level, err)
	}
	return hashes, nil
}

func (c *treeChanges) flush(ctx context.Context, _ time.Time) error {
	inOrder := func(a, b tile) int { return slices.Compare([]int64{int64(a.level), a.n}, []int64{int64(b.level), b.n}) }
	for _, at := range slices.SortedFunc(maps.Keys(c.tiles), inOrder) {
		err := c.w.exec(ctx, `INSERT OR REPLACE INTO tiles (level, n, hashes) VALUES (?, ?, ?)`, at.level, at.n, c.tiles[at])
		if err != nil {
			return fmt.Errorf("write tile %d of level %d: %w", at.n, at.level, err)
		}
	}
	return nil
}

// Hashes are some of a tree's.
type Hashes struct {
	// Position is the sequence up to which the tree has been built.
	Position uint64 `json:"position"`
	// Hashes are in the order in which they were asked for. There are none if one
	// of them is beyond the position.
	Hashes []tlog.Hash `json:"hashes,omitempty"`
}

// parseIndexes reads the key of a read: indexes of hashes, as tlog numbers them.
func parseIndexes(key string) (indexes []int64, err error) {
	// Each is 20 digits at most.
	if len(key) > 21*MaxHashes+2 || json.Unmarshal([]byte(key), &indexes) != nil || len(indexes) > MaxHashes {
		return nil, errors.New("no indexes of hashes")
	}
	for _, i := range indexes {
		if i < 0 || i > 1<<62 {
			return nil, errors.New("no index of a hash")
		}
	}
	return indexes, nil
}

// answerHashes answers one read. All of it is of one moment.
func answerHashes(ctx context.Context, db *sql.DB, key string) ([]byte, error) {
	indexes, err := parseIndexes(key)
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("read hashes: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	var found Hashes
	if err := tx.QueryRowContext(ctx, `SELECT position FROM meta`).Scan(&found.Position); err != nil {
		return nil, fmt.Errorf("read hashes: %w", err)
	}
	if covered(indexes, found.Position) {
		if found.Hashes, err = readTiles(ctx, tx, indexes); err != nil {
			return nil, fmt.Errorf("read hashes: %w", err)
		}
	}
	return json.Marshal(found)
}

// covered reports whether the tree up to a position has all of these hashes.
func covered(indexes []int64, position uint64) bool {
	for _, i := range indexes {
		level, n := tlog.SplitStoredHashIndex(i)
		if n+1 > int64(position)>>level { //nolint:gosec // sequences are far below 2^63
			return false
		}
	}
	return true
}

func readTiles(ctx context.Context, tx *sql.Tx, indexes []int64) ([]tlog.Hash, error) {
	stmt, err := tx.PrepareContext(ctx, selectTile)
	if err != nil {
		return nil, err
	}
	defer stmt.Close() //nolint:errcheck // nothing was written
	// Hashes that are asked for at once are mostly of one tile.
	var last tile
	var hashes []byte
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		t := tlog.TileForIndex(tileHeight, index)
		if at := (tile{t.L, t.N}); hashes == nil || at != last {
			hashes, last = nil, at
			if err := stmt.QueryRowContext(ctx, at.level, at.n).Scan(&hashes); err != nil {
				return nil, fmt.Errorf("tile %d of level %d: %w", at.n, at.level, err)
			}
		}
		if len(hashes) < t.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %d of level %d: %w: too short", t.N, t.L, errDisposable)
		}
		if found[i], err = tlog.HashFromTile(t, bytes.Clone(hashes[:t.W*tlog.HashSize]), index); err != nil {
			return nil, err
		}
	}
	return found, nil
}
