//go:build unix

package hammer

import "syscall"

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
