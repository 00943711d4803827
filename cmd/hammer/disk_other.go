//go:build !linux

package hammer

import "errors"

// A disk that can be filled up is there on Linux only.
type disk struct{}

func (*disk) makeDisk(string) error { return errors.ErrUnsupported }
func (*disk) fill() error           { return errors.ErrUnsupported }
func (*disk) empty() error          { return errors.ErrUnsupported }
func (*disk) releaseDisk() error    { return nil }
