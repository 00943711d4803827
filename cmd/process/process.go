package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is longer than any process takes that was told to stop.
const stopTimeout = 30 * time.Second

// A Process is one program, which can be started again after its end. Its output
// is appended to a file.
type Process struct {
	Name string
	// Log is the file of its output.
	Log string
	// Argv are the program and its arguments.
	Argv []string

	mu sync.Mutex
	// cmd is nil while it does not run, and gone is closed when it ends.
	cmd   *exec.Cmd
	gone  chan struct{}
	stdin io.Closer
}

// Start starts the process. It returns at once, and the process outlives ctx.
func (p *Process) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("start %s: it runs already", p.Name)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer log.Close()                                                                //nolint:errcheck // the process has its own
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.Argv[0], p.Argv[1:]...) //nolint:gosec // what the operator runs
	cmd.Stdout, cmd.Stderr = log, log
	// Settings of whoever runs this are not for it.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CHANCERY_") || strings.HasPrefix(v, "OTEL_") })
	detach(cmd)
	// It ends with this one, however this one ends: its stdin is closed then.
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // most are killed
		p.mu.Lock()
		p.cmd = nil
		p.mu.Unlock()
		close(gone)
	}()
	p.cmd, p.gone = cmd, gone
	return nil
}

// PID is the id of the process, 0 while it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Running reports whether it has been started and has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// Kill ends it with SIGKILL, and returns when it is gone.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Stop tells it to stop (SIGTERM), and returns when it is gone. It is killed
// if it takes too long, which is an error.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Process) end(s syscall.Signal) error {
	gone, err := p.signal(s)
	if err != nil || gone == nil {
		return err
	}
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	select {
	case <-gone:
		return nil
	case <-late.C:
		_, err := p.signal(syscall.SIGKILL)
		<-gone
		return errors.Join(fmt.Errorf("%s did not stop within %v", p.Name, stopTimeout), err)
	}
}

// signal sends a signal, and gives what is closed when the process is gone: nil
// if it does not run.
func (p *Process) signal(s syscall.Signal) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil, nil
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return p.gone, nil
}
