package process

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// readyTimeout is how long a process may take until it is ready, also where
// many others want the same processors.
const readyTimeout = 90 * time.Second

// permanent is an error that no further try can mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent has Eventually give up with an error at once.
func Permanent(err error) error { return permanent{err} }

// Eventually tries until it succeeds, for as long as a process may take. The
// error of the last try says why not.
func Eventually(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if final, ok := errors.AsType[permanent](err); ok {
			return fmt.Errorf("waited for %s in vain: %w", what, final.error)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited for %s in vain: %w", what, errors.Join(ctx.Err(), last))
		}
	}
}
