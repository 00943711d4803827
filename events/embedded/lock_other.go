//go:build !unix

package embedded

import "os"

// lockFile only opens the file: without flock nothing keeps a second process
// out but the operator.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
