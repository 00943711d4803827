//go:build !unix

package hammer

import "errors"

// Pause is not possible here.
func (*Process) Pause() error { return errors.ErrUnsupported }

// Continue is described at Pause.
func (*Process) Continue() error { return errors.ErrUnsupported }
