package grow

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"os"
)

// writeTokens writes tokens one a line in random order, so that who takes the first few takes them from anywhere.
func writeTokens(path string, tokens []string) (err error) {
	f, err := create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	to := bufio.NewWriter(f)
	for _, i := range rand.Perm(len(tokens)) { //nolint:gosec // the order is no secret
		if _, err := to.WriteString(tokens[i] + "\n"); err != nil {
			return err
		}
	}
	return to.Flush()
}

func writeSecret(path, text string) (err error) {
	f, err := create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.WriteString(text)
	return err
}

// create makes a file that its owner alone can read, in place of what was there.
func create(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}
