package process

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestEventually gives up when its context ends, and at once for what cannot be mended.
func TestEventually(t *testing.T) {
	t.Parallel()
	why := errors.New("not yet")
	ctx, cancel := context.WithCancel(t.Context())
	err := Eventually(ctx, "it", func(context.Context) error {
		cancel()
		return why
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	tries := 0
	err = Eventually(t.Context(), "it", func(context.Context) error {
		tries++
		return Permanent(why)
	})
	if !errors.Is(err, why) || tries != 1 || !strings.Contains(err.Error(), "waited for it") {
		t.Errorf("got %v after %d tries", err, tries)
	}
}
