//go:build !unix

package process

import (
	"errors"
	"os/exec"
)

// Pause is not possible here.
func (*Process) Pause() error { return errors.ErrUnsupported }

// Continue is described at Pause.
func (*Process) Continue() error { return errors.ErrUnsupported }

// detach has nothing to do here.
func detach(*exec.Cmd) {}
