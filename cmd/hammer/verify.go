package hammer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/chancery-authority/chancery/cmd/process"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
)

// readLog reads all streams, and looks for secrets in every message.
func (c *Cluster) readLog(ctx context.Context, look *searcher) (Log, error) {
	log := Log{}
	for _, stream := range c.log.Streams() {
		err := c.log.Replay(ctx, stream, eventlog.From{Seq: 1}, func(batch []eventlog.Entry) error {
			for _, e := range batch {
				r, err := e.Recorded()
				if err != nil {
					return err
				}
				log[stream] = append(log[stream], r)
				look.message(stream, e)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", stream, err)
		}
	}
	return log, nil
}

// verifyLog has the log verified by its checkpoints, by the program itself, as an
// auditor does it. It asks replicas, so it comes before they are stopped.
func (c *Cluster) verifyLog(ctx context.Context) (v violations) {
	key := filepath.Join(c.cfg.Dir, "checkpoint-key.pub")
	if err := os.WriteFile(key, []byte(c.secrets.CheckpointKey+"\n"), 0o600); err != nil {
		v.add(NotVerified, "%v", err)
		return v
	}
	var said []byte
	err := process.Eventually(ctx, "the log to be verified", func(ctx context.Context) (err error) {
		cmd := exec.CommandContext( //nolint:gosec // our own program
			ctx, c.cfg.Program, "audit", "verify", "--admin-url", c.APIs[0].Admin, "--admin-key-file", c.secrets.AdminKeyFile, "--key", key)
		said, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		v.add(NotVerified, "chancery audit verify: %v: %s", err, said)
	}
	return v
}

// verifyModels holds the read models that projectors have left against a fresh
// replay of the log. The projectors must have ended.
func (c *Cluster) verifyModels(ctx context.Context) (v violations, err error) {
	fresh, err := c.replay(ctx)
	if err != nil {
		return v, err
	}
	for _, s := range c.Projectors {
		left, err := c.modelsOf(ctx, s)
		if err != nil {
			return v, fmt.Errorf("open the read models of %s: %w", s.Name, err)
		}
		v.differ(s.Name, left, fresh)
	}
	return v, nil
}

// differ finds read models that are not what a fresh replay gives.
func (v *violations) differ(projector string, left, fresh map[string]folded) {
	for _, stream := range sortedKeys(fresh) {
		if got, want := left[stream], fresh[stream]; got != want {
			v.add(ReadModelDiffers, "%s: %s at %d has the state %.8s, and a fresh replay to %d has %.8s", projector, stream, got.seq, got.hash, want.seq, want.hash)
		}
	}
}

// folded is the canonical hash of a read model, and where.
type folded struct {
	seq  uint64
	hash string
}

func (c *Cluster) replay(ctx context.Context) (map[string]folded, error) {
	dir := filepath.Join(c.cfg.Dir, "replay")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	all := map[string]folded{}
	for _, stream := range c.log.Streams() {
		source := func(each func([]eventlog.Entry) error) error {
			return c.log.Replay(ctx, stream, eventlog.From{Seq: 1}, each)
		}
		r, err := projector.Replay(ctx, dir, events.DefaultRealm, stream, projector.Until{}, source, nil)
		if err != nil {
			return nil, err
		}
		all[stream] = folded{r.Position, fmt.Sprintf("%x", r.State)}
	}
	return all, nil
}

// modelsOf opens what a projector has left, and lets it catch up.
func (c *Cluster) modelsOf(ctx context.Context, s *Service) (all map[string]folded, err error) {
	local, err := projector.OpenLocal(ctx, c.log, projector.LocalConfig{
		Dir: filepath.Join(s.data, "read-models"), Logger: slog.New(slog.DiscardHandler), NoAudit: true,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	if err := local.Wait(ctx); err != nil {
		return nil, err
	}
	all = map[string]folded{}
	for _, status := range local.Status() {
		hash, seq, err := local.StateHash(ctx, status.Model)
		if err != nil {
			return nil, err
		}
		all[status.Stream] = folded{seq, fmt.Sprintf("%x", hash)}
	}
	return all, nil
}

// tokenPattern finds codes, refresh tokens and JWTs, whoever made them. Sealed text
// may have the beginning of one in its midst.
var tokenPattern = regexp.MustCompile(`(?:^|[^A-Za-z0-9_-])(?:ch[cr]_[A-Za-z0-9_-]{76}|eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})(?:[^A-Za-z0-9_-]|$)`)

// panicPattern is how a Go program dies of its own fault, and how a request does.
var panicPattern = regexp.MustCompile(`(?m)^(panic|fatal error): | msg=panic |DATA RACE`)

// A searcher looks for secrets where none may be.
type searcher struct {
	planted [][]byte
	found   violations
}

// newSearcher looks for some texts, and for everything that looks like a
// token. Short texts would be found everywhere.
func newSearcher(planted []string) *searcher {
	s := &searcher{}
	for _, text := range planted {
		// Tokens are found by what they look like.
		if len(text) >= 12 && !tokenPattern.MatchString(text) {
			s.planted = append(s.planted, []byte(text))
		}
	}
	return s
}

// look looks at a text. What is found is not repeated.
func (s *searcher) look(where string, text []byte) {
	if at := tokenPattern.FindIndex(text); at != nil {
		s.found.add(SecretExposed, "%s: a token, at byte %d", where, at[0])
	}
	for i, p := range s.planted {
		if at := bytes.Index(text, p); at >= 0 {
			s.found.add(SecretExposed, "%s: planted secret number %d, at byte %d", where, i+1, at)
		}
	}
}

func (s *searcher) message(stream string, e eventlog.Entry) {
	text := []byte(e.Message.Subject + "\n")
	for _, h := range e.Message.Header {
		text = append(text, h[0]+": "+h[1]+"\n"...)
	}
	s.look(fmt.Sprintf("%s at %d", stream, e.Seq), append(text, e.Message.Data...))
}

// files looks at the logs of all processes, also for panics, and at the read models. The stores of
// the servers have buckets too, whose records are sealed.
func (s *searcher) files(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		model := strings.Contains(path, "read-models")
		if filepath.Ext(path) != ".log" && !model {
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // a directory of our own
		if err != nil {
			return err
		}
		s.look(path, text)
		if at := panicPattern.FindIndex(text); at != nil && !model {
			s.found.add(Panicked, "%s: at byte %d", path, at[0])
		}
		return nil
	})
}
