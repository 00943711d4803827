package authority

import (
	"context"
	"time"
)

const (
	// eraseGrace leaves an erasure to the request that asked for it.
	eraseGrace = time.Second
	// eraseTimeout bounds one, and eraseAgain is how soon one is tried again.
	eraseTimeout = 10 * time.Second
	eraseAgain   = 2 * time.Second
)

const systemActor = "system"

// An eraser finishes what others have begun: it erases every user that the feed
// knows to be deleted and not erased, whoever deleted them and whenever. Several
// replicas do so at the same time, which is no harm.
func (a *Authority) eraser(ctx context.Context) {
	for ctx.Err() == nil {
		deleted, again := a.Feed.UserDeleted(), time.Duration(0)
		for _, id := range a.Feed.Unerased() {
			if err := a.eraseLeft(ctx, id); err != nil && ctx.Err() == nil {
				a.Logger.Warn("a deleted user is not erased yet", "user", id, "error", err)
				again = eraseAgain
			}
		}
		if again == 0 {
			select {
			case <-deleted:
				again = eraseGrace
			case <-ctx.Done():
			}
		}
		pause(ctx, again)
	}
}

func (a *Authority) eraseLeft(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	u, err := a.finishErasure(ctx, id, systemActor, Caller{})
	if err == nil {
		a.Logger.Info("the erasure of a deleted user is finished", "user", id, "sequence", u.Seq)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
