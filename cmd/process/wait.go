package process

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// readyTimeout is how long a process may take until it is ready, also where
// many others want the same processors.
const readyTimeout = 90 * time.Second

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
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited for %s in vain: %w", what, cmp.Or(last, ctx.Err()))
		}
	}
}
