//go:build unix

package process

import (
	"os/exec"
	"syscall"
)

// Pause stops the process where it is (SIGSTOP): nobody is told.
func (p *Process) Pause() error {
	_, err := p.signal(syscall.SIGSTOP)
	return err
}

// Continue lets a paused process go on.
func (p *Process) Continue() error {
	_, err := p.signal(syscall.SIGCONT)
	return err
}

// detach keeps the signals of the terminal from the process: it is told to stop
// by this one.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
