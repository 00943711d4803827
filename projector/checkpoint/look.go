package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
)

// look compares a stream with what was signed of it, and signs it anew if it has
// grown. The error is about something that may pass.
func (k *Keeper) look(ctx context.Context, s *kept) error {
	have, revision, err := k.read(ctx, s.stream)
	if err != nil {
		return err
	}
	if have.Failed != "" && !s.told {
		s.told = true
		k.cfg.Log.FailPartition(s.stream, errors.New(have.Failed))
	}
	if err := k.cfg.Log.Failed(s.stream); err != nil {
		return k.tell(ctx, s, have, revision, err)
	}
	err = k.compare(ctx, s, have)
	if err == nil {
		s.did(func(st *Status) { st.Compared = time.Now() })
		err = k.sign(ctx, s, revision)
	}
	if errors.Is(err, ErrShorter) || errors.Is(err, ErrDifferent) {
		k.cfg.Log.FailPartition(s.stream, err)
		return k.tell(ctx, s, have, revision, err)
	}
	return err
}

// compare holds the log against what is kept of it: the file, which nobody else
// writes, before what is in the bucket.
func (k *Keeper) compare(ctx context.Context, s *kept, have record) error {
	if s.file != nil {
		if err := k.hold(ctx, s, *s.file); err != nil {
			return err
		}
		s.file = nil
	}
	theirs, err := k.parse([]byte(have.Checkpoint))
	if err != nil {
		return fmt.Errorf("the bucket has a checkpoint that cannot be trusted: %w", err)
	}
	if theirs == nil {
		return nil
	}
	s.recorded = theirs.Checkpoint
	return k.hold(ctx, s, *theirs)
}

// hold compares the log with one checkpoint of it.
func (k *Keeper) hold(ctx context.Context, s *kept, c signed) error {
	if c.Stream() != s.stream {
		return fmt.Errorf("%w: it is of %s", tree.ErrCheckpoint, c.Stream())
	}
	head, err := k.cfg.Log.Head(ctx, s.stream)
	if err != nil {
		s.shorter = time.Time{} // it is looked at anew once there is a leader
		return err
	}
	if head.Seq < c.Size {
		return k.seemsShorter(s, head, c.Checkpoint)
	}
	s.shorter = time.Time{}
	if c.Checkpoint == s.held {
		return nil
	}
	root, err := k.rootAt(ctx, s.stream, c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("%w: sequences 1 to %d", ErrDifferent, c.Size)
	}
	if c.Size >= s.held.Size {
		s.held = c.Checkpoint
		s.became(c)
	}
	return nil
}

func (k *Keeper) seemsShorter(s *kept, head eventlog.Head, c tree.Checkpoint) error {
	err := fmt.Errorf("%w: it ends at %d, and %d were signed", ErrShorter, head.Seq, c.Size)
	if s.shorter.IsZero() {
		s.shorter = time.Now()
	}
	if head.Replicas > 1 && time.Since(s.shorter) < isolation {
		return fmt.Errorf("%w, if the server that leads is not cut off: %s", errBehind, err.Error())
	}
	return err
}

// became makes a checkpoint the newest.
func (s *kept) became(c signed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest, s.status.Since = c, time.Now()
}

func (s *kept) wasCompared() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.status.Compared.IsZero()
}

func (s *kept) latest() signed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// rootAt is the root of the stream's tree at a size.
func (k *Keeper) rootAt(ctx context.Context, stream string, size uint64) (tlog.Hash, error) {
	whole, err := tree.ReadRange(projector.HashReader(ctx, k.cfg.Reader, stream), 0, int64(size)) //nolint:gosec // sequences are far below 2^63
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("%w: %w", errBehind, err)
	}
	return whole.Root()
}

// sign signs what the tree has reached, if it is what was signed before and has
// grown: a tree may have been built again meanwhile. The file comes first: what the
// bucket says is known to be outside of the engine.
func (k *Keeper) sign(ctx context.Context, s *kept, revision uint64) error {
	if k.cfg.Key == nil {
		return nil
	}
	at, err := k.cfg.Reader.Hashes(ctx, s.stream, nil)
	if err != nil {
		return err
	}
	if at.Position > s.held.Size {
		if s.held.Size > 0 {
			before, err := k.rootAt(ctx, s.stream, s.held.Size)
			if err != nil {
				return err
			}
			if before != s.held.Root {
				return fmt.Errorf("%w: sequences 1 to %d", ErrDifferent, s.held.Size)
			}
		}
		root, err := k.rootAt(ctx, s.stream, at.Position)
		if err != nil {
			return err
		}
		text, err := tree.Sign(k.cfg.Key, s.stream, at.Position, root)
		if err != nil {
			return err
		}
		c, err := tree.Unverified(text)
		if err == nil && k.cfg.Dir != "" {
			err = writeFile(k.cfg.Dir, s.stream, text)
		}
		if err != nil {
			return err
		}
		s.held = c
		s.became(signed{c, text})
	}
	if s.held.Size > s.recorded.Size {
		err = k.write(ctx, s.stream, record{Checkpoint: string(s.latest().text)}, revision)
	}
	if errors.Is(err, errRaced) { // whose is held against the log the next time
		return nil
	}
	return err
}

// parse reads a checkpoint, nil for an empty text.
func (k *Keeper) parse(text []byte) (*signed, error) {
	if len(text) == 0 {
		return nil, nil
	}
	open := tree.Unverified
	if k.cfg.Known != nil {
		open = func(text []byte) (tree.Checkpoint, error) { return tree.Open(text, k.cfg.Known) }
	}
	c, err := open(text)
	if err != nil {
		return nil, err
	}
	return &signed{c, text}, nil
}

// tell puts into the bucket why a stream has failed, so that it fails in every
// process, also in one that only appends.
func (k *Keeper) tell(ctx context.Context, s *kept, have record, revision uint64, failure error) error {
	if have.Failed == "" && !s.told {
		have.Failed = failure.Error()
		if err := k.write(ctx, s.stream, have, revision); err != nil {
			return err
		}
		s.told = true
	}
	return nil
}
