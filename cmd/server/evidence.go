package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector/archiver"
	"github.com/chancery-authority/chancery/projector/checkpoint"
)

// Files in the data directory.
const (
	checkpointKeyFile = "checkpoint-key"
	checkpointDir     = "checkpoints"
)

// archived is what streams have forgotten, nil where nothing is archived.
func (c Config) archived() eventlog.Archive {
	if c.Archive.Archive == "" {
		return nil
	}
	return archive.Open(c.Archive.Archive)
}

// openEvidence holds the log against what was signed of it, before anything is
// answered, and goes on to do so. Where there is a key it signs, and archives if
// that is asked for.
func (s *Server) openEvidence(ctx context.Context) error {
	private, err := s.cfg.checkpointKey()
	if err != nil {
		return err
	}
	cfg := checkpoint.Config{
		Log: s.eventLog, Reader: s.reader, Logger: s.logger, Keep: s.cfg.Evidence.AcceptLossKeepClient,
		Source: cmp.Or(s.cfg.Settings.Issuer, "urn:chancery:realm:"+s.cfg.Log.Realm),
	}
	if cfg.Accept, err = s.cfg.acceptedLosses(); err != nil {
		return err
	}
	if s.local != nil {
		cfg.Dir = cmp.Or(s.cfg.Evidence.CheckpointDir, filepath.Join(s.cfg.Data.Data, checkpointDir))
		cfg.ScrubRate = s.cfg.Evidence.ScrubRate
	}
	if cfg.Known, err = s.cfg.knownKeys(private); err != nil {
		return err
	}
	if !private.IsZero() {
		if cfg.Key, err = note.NewSigner(private.Reveal()); err != nil {
			return errors.New("reading the key of checkpoints: it is none") // and the reason may hold it
		}
	}
	if s.keeper, err = checkpoint.Open(ctx, cfg); err != nil {
		return err
	}
	s.onClose("the checkpoints", closing(s.keeper.Close))
	if s.cfg.Role != Projector { // which goes on with what else there is
		if err := s.checkStreams(ctx); err != nil {
			return err
		}
	}
	if cfg.Key != nil && s.local != nil && s.cfg.Archive.Archive != "" {
		s.archive(ctx, cfg.Known)
	}
	return nil
}

// checkStreams says how to get over a log that does not hold. No replica issues
// anything while it cannot follow all of the log.
func (s *Server) checkStreams(ctx context.Context) error {
	var all []error
	var losses []string
	for _, stream := range s.eventLog.Streams() {
		if err := s.eventLog.Failed(stream); err != nil {
			size := max(s.keeper.Signed(ctx, stream), s.folded(stream))
			all = append(all, err)
			losses = append(losses, fmt.Sprintf("%s:%d", stream, size))
		}
	}
	if all == nil {
		return nil
	}
	return fmt.Errorf("%w\nrestore the log, or take it as it is, which ends what was there before: --accept-loss %s",
		errors.Join(all...), strings.Join(losses, ","))
}

func (s *Server) archive(ctx context.Context, known note.Verifiers) {
	cfg := archiver.Config{
		Log: s.eventLog, Local: s.local, Newest: s.keeper.Newest, Known: known,
		Dir: archive.Open(s.cfg.Archive.Archive), ForgetAfter: s.cfg.Archive.ForgetAfter, Logger: s.logger,
	}
	s.background(ctx, "the archiver", func(ctx context.Context) { archiver.Run(ctx, cfg) })
}

// folded is how far any read model has come of a stream: what was folded and is
// gone is lost, too, whether it was signed yet or not.
func (s *Server) folded(stream string) (seq uint64) {
	if s.local == nil {
		return 0
	}
	for _, m := range slices.Concat(s.local.Status(), s.local.TreeStatus(), s.local.AuditStatus()) {
		if m.Stream == stream {
			seq = max(seq, m.Position)
		}
	}
	return seq
}

// acceptedLosses are the sizes up to which logs are taken as they are, by streams.
func (c Config) acceptedLosses() (map[string]uint64, error) {
	all := map[string]uint64{}
	for _, text := range c.Evidence.AcceptLoss {
		stream, size, _ := strings.Cut(text, ":")
		n, err := strconv.ParseUint(size, 10, 63)
		if err != nil || !strings.HasPrefix(stream, strings.ToUpper(c.Log.Realm)+"_") {
			return nil, fmt.Errorf("accept-loss: %.60q is not STREAM:SIZE of realm %s", text, c.Log.Realm)
		}
		all[stream] = n
	}
	return all, nil
}

// checkpointKey is the key as given, from its file, or from the data directory
// of a process that has a log of its own, where it is made if there is none. It
// is zero where nothing is signed.
func (c Config) checkpointKey() (secret.Secret, error) {
	e := c.Evidence
	if !e.CheckpointKey.IsZero() {
		return e.CheckpointKey, nil
	}
	if e.CheckpointKeyFile != "" {
		return readSecret("the key of checkpoints", e.CheckpointKeyFile)
	}
	if c.Log.NATSURL != "" {
		return secret.Secret{}, nil
	}
	path := filepath.Join(c.Data.Data, checkpointKeyFile)
	key, err := readSecret("the key of checkpoints", path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	public, err := CreateCheckpointKey(path, CheckpointKeyName(events.Realm(c.Log.Realm)))
	if err != nil {
		return secret.Secret{}, err
	}
	c.Logger.Info("made the key of checkpoints: give its public half to who verifies the log", "file", path, "public", public)
	return readSecret("the key of checkpoints", path)
}

// CheckpointKeyName is a name for a realm's key. It is a part of every
// checkpoint, so it must not be another's.
func CheckpointKeyName(r events.Realm) string {
	return "chancery-" + string(r) + "-" + strings.ToLower(rand.Text()[:8])
}

// CreateCheckpointKey makes a key of that name, and puts it at path and its
// public half, which it gives, at path with .pub behind it. If somebody else was
// first, it is theirs that counts.
func CreateCheckpointKey(path, name string) (public string, err error) {
	private, _, err := tree.NewKey(rand.Reader, name)
	if err == nil {
		err = secret.CreateFile(path, []byte(private+"\n"))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("making the key of checkpoints: %w", err)
	}
	key, err := readSecret("the key of checkpoints", path)
	if err == nil {
		public, err = tree.PublicKey(key.Reveal())
	}
	if err == nil {
		err = os.WriteFile(path+".pub", []byte(public+"\n"), 0o644) //nolint:gosec // it is public
	}
	return public, err
}

// knownKeys are those whose checkpoints count, nil where none is known.
func (c Config) knownKeys(private secret.Secret) (note.Verifiers, error) {
	keys := c.Evidence.CheckpointKnownKeys
	if !private.IsZero() {
		public, err := tree.PublicKey(private.Reveal())
		if err != nil {
			return nil, fmt.Errorf("reading the key of checkpoints: %w", err)
		}
		keys = append([]string{public}, keys...)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	known, err := tree.Known(keys...)
	if err != nil {
		return nil, fmt.Errorf("reading the public keys of checkpoints: %w", err)
	}
	return known, nil
}
