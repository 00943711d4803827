package main

import (
	"context"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

const (
	// killWorkers refresh at the same time, each its own grant; the process is
	// killed when they have killAfter answers.
	killWorkers = 8
	killAfter   = 400
)

// TestNothingAcknowledgedIsLostByAKill kills the process with SIGKILL while
// it issues, and starts it again on what is left: every refresh token that was
// last answered still refreshes, and every access token introspects.
func TestNothingAcknowledgedIsLostByAKill(t *testing.T) {
	args := []string{
		"serve", "--dev", "--issuer", apitest.Issuer, "--data", t.TempDir(),
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
	}
	cmd, replica := launchReplica(t, args)
	chains := refreshUntilKilled(t, cmd, replica)
	_, replica = launchReplica(t, args)
	answered := 0
	for _, c := range chains {
		if a := replica.Refresh(t, apitest.DemoWeb, c.refreshToken); a.Status != http.StatusOK {
			t.Errorf("after %d rotations the last refresh token is refused: %d %s", len(c.accessTokens), a.Status, a.Body)
		}
		for _, token := range c.accessTokens {
			if !replica.Active(t, token) {
				t.Error("an acknowledged access token is not active")
			}
			answered++
		}
	}
	if answered < killAfter {
		t.Errorf("only %d answers before the kill", answered)
	}
}

// A chain is what one worker was answered.
type chain struct {
	refreshToken string
	accessTokens []string
}

func refreshUntilKilled(t *testing.T, cmd *exec.Cmd, replica *apitest.Replica) []*chain {
	t.Helper()
	ctx, killed := context.WithCancel(t.Context())
	defer killed()
	answers := make(chan struct{})
	chains := make([]*chain, killWorkers)
	var workers sync.WaitGroup
	for i := range chains {
		first := replica.Tokens(t, apitest.DemoWeb, "read offline_access")
		c := &chain{first.Text("refresh_token"), []string{first.Text("access_token")}}
		chains[i] = c
		workers.Go(func() { c.refresh(ctx, t, replica, answers) })
	}
	for range killAfter {
		<-answers
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed; until it is gone it holds its directory
	killed()
	workers.Wait()
	return chains
}

// refresh goes on until the process does not answer any more.
func (c *chain) refresh(ctx context.Context, t *testing.T, replica *apitest.Replica, answers chan<- struct{}) {
	for {
		a, err := replica.TryRefresh(ctx, apitest.DemoWeb, c.refreshToken)
		if err != nil {
			return
		}
		if a.Status != http.StatusOK {
			t.Errorf("refresh: %d %s", a.Status, a.Body)
			return
		}
		c.refreshToken = a.Text("refresh_token")
		c.accessTokens = append(c.accessTokens, a.Text("access_token"))
		select {
		case answers <- struct{}{}:
		case <-ctx.Done():
		}
	}
}

func launchReplica(t *testing.T, args []string) (*exec.Cmd, *apitest.Replica) {
	t.Helper()
	cmd, lines := launch(t, args...)
	replica := &apitest.Replica{}
	var logged []string
	for line := range lines {
		logged = append(logged, line)
		if admin, ok := logField(line, "admin"); ok {
			replica.AdminURL = admin
			replica.URL, _ = logField(line, "public")
			break
		}
	}
	if replica.URL == "" {
		t.Fatalf("the process ended before it was ready:\n%s", strings.Join(logged, "\n"))
	}
	go func() {
		for range lines { // so that it can go on logging
		}
	}()
	return cmd, replica
}
