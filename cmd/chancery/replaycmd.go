package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
)

// replayGC lets a replay have garbage for as much as four times what it holds,
// which takes a tenth off its time.
const replayGC = 400

type replayCmd struct {
	adminFlags `group:"admin"`
	output

	From   string   `type:"path" placeholder:"DIR" help:"Export or archive to replay. Default: the log of the authority."`
	Until  string   `placeholder:"TIME|SEQ" help:"Where it ends: a time (RFC 3339), so long ago (90m), or a sequence of the one --stream. Default: all."`
	Stream []string `help:"Only these streams."`
	Realm  string   `default:"main" help:"Realm, whose registry is told from its partitions by its name."`
	Output string   `short:"o" type:"path" placeholder:"DIR" help:"Directory for the read models, one SQLite file each, which must not be there yet. Default: they are deleted."`
}

// Help is the detail of chancery replay --help.
func (*replayCmd) Help() string {
	return `Folds the log again from its first event, and prints what was true in the end with its canonical hash: the same as that of a read model at the same position. With --output the past can be asked with SQL.

Examples:

    chancery replay
    chancery replay --until 2026-11-25T14:00:00Z -o yesterday
    sqlite3 yesterday/MAIN_EVENTS_0.db "SELECT client, count(*) FROM grants GROUP BY client"
    chancery replay --from november --stream MAIN_EVENTS_0 --until 120000`
}

// Run replays one stream after another.
func (c *replayCmd) Run(ctx context.Context, t terminal) (err error) {
	until, err := c.until()
	if err != nil {
		return err
	}
	dir := c.Output
	if dir == "" {
		if dir, err = os.MkdirTemp("", "chancery-replay-*"); err != nil {
			return fmt.Errorf("making a directory for the read models: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making a directory for the read models: %w", err)
	}
	streams, err := c.streams(ctx)
	if err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(replayGC))
	var all []projector.Replayed
	for _, s := range streams {
		r, err := c.replay(ctx, t, dir, s, until)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	return c.print(t, all)
}

// until is where the replay ends.
func (c *replayCmd) until() (u projector.Until, err error) {
	if c.Until == "" {
		return u, nil
	}
	if u.Seq, err = strconv.ParseUint(c.Until, 10, 63); err == nil {
		if len(c.Stream) != 1 {
			return u, errors.New("until: a sequence needs the one --stream that it is of")
		}
		return u, nil
	}
	text, err := timeOf(c.Until, time.Now())
	if err != nil {
		return u, fmt.Errorf("until: %w", err)
	}
	u.Time, err = time.Parse(time.RFC3339Nano, text)
	return u, err
}

// replayed is a stream and how many messages there are of it.
type replayed struct {
	stream string
	size   uint64
}

// streams are those to replay.
func (c *replayCmd) streams(ctx context.Context) (all []replayed, err error) {
	if c.From != "" {
		if all, err = archived(c.From); err != nil {
			return nil, err
		}
	} else {
		signed, err := c.checkpoints(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range signed.Checkpoints {
			all = append(all, replayed{s.Stream, s.Size})
		}
	}
	all = slices.DeleteFunc(all, func(s replayed) bool { return len(c.Stream) > 0 && !slices.Contains(c.Stream, s.stream) })
	if len(all) == 0 {
		return nil, errors.New("there is nothing to replay")
	}
	return all, nil
}

func archived(path string) (all []replayed, err error) {
	dir := archive.Open(path)
	streams, err := dir.Streams()
	if err != nil {
		return nil, err
	}
	for _, stream := range streams {
		segments, err := dir.Segments(stream)
		if err != nil {
			return nil, err
		}
		if len(segments) > 0 {
			all = append(all, replayed{stream, segments[len(segments)-1].Last})
		}
	}
	return all, nil
}

func (c *replayCmd) replay(ctx context.Context, t terminal, dir string, s replayed, until projector.Until) (projector.Replayed, error) {
	source := func(each func([]eventlog.Entry) error) error {
		if c.From != "" {
			return archive.Open(c.From).Read(ctx, s.stream, 1, s.size, each)
		}
		return c.sealed(ctx, s.stream, 1, 0, func(from io.Reader) error { return archive.Entries(from, each) })
	}
	total := s.size
	if until.Seq > 0 {
		total = min(total, until.Seq)
	}
	p := newCounter(t.err, "replay "+s.stream, total)
	r, err := projector.Replay(ctx, dir, events.Realm(c.Realm), s.stream, until, source, p.reached)
	p.end()
	return r, err
}

// print tells what was true.
func (c *replayCmd) print(t terminal, all []projector.Replayed) error {
	if c.JSON {
		views := make([]replayView, len(all))
		for i, r := range all {
			views[i] = replayView{r, hex.EncodeToString(r.State[:]), hex.EncodeToString(r.Hash[:])}
			if c.Output == "" {
				views[i].File = ""
			}
		}
		text, err := json.Marshal(views)
		if err != nil {
			return err
		}
		return printJSON(t.out, text)
	}
	rows := [][]string{{"STREAM", "POSITION", "TIME", "STATE", "ROWS"}}
	for _, r := range all {
		rows = append(rows, []string{
			r.Stream, strconv.FormatUint(r.Position, 10), cmp.Or(moment(r.Time), "-"), hex.EncodeToString(r.State[:]), counts(r.Rows),
		})
	}
	return table(t.out, rows...)
}

// replayView is a replayed stream with its hashes as text.
type replayView struct {
	projector.Replayed
	State string `json:"state"`
	Chain string `json:"chain"`
}

// counts are the tables that have rows.
func counts(rows map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if rows[name] > 0 {
			all = append(all, fmt.Sprintf("%d %s", rows[name], name))
		}
	}
	return cmp.Or(strings.Join(all, ", "), "none")
}
