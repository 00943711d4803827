package grow

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
)

// outputs are the files that are written in the end. They are made in the beginning: it would be late to learn that one
// cannot be.
type outputs struct{ tokens, secret *os.File }

// createOutputs makes the files. None may be there before.
func createOutputs(tokensPath, secretPath string) (o outputs, err error) {
	if o.tokens, err = create(tokensPath); err != nil {
		return o, err
	}
	if o.secret, err = create(secretPath); err != nil {
		return o, errors.Join(err, remove(o.tokens))
	}
	return o, nil
}

// create makes a file that its owner alone can read.
func create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// remove takes the files back.
func (o outputs) remove() error { return errors.Join(remove(o.tokens), remove(o.secret)) }

func remove(f *os.File) error {
	_ = f.Close() // it may be closed
	return os.Remove(f.Name())
}

// write writes tokens one a line in random order, so that who takes the first few takes them from anywhere.
func (o outputs) write(tokens []string, secret string) error {
	to := bufio.NewWriter(o.tokens)
	for _, i := range rand.Perm(len(tokens)) { //nolint:gosec // the order is no secret
		_, _ = to.WriteString(tokens[i] + "\n") // Flush tells
	}
	if err := errors.Join(to.Flush(), o.tokens.Close()); err != nil {
		return fmt.Errorf("write the refresh tokens: %w", err)
	}
	_, err := o.secret.WriteString(secret + "\n")
	if err := errors.Join(err, o.secret.Close()); err != nil {
		return fmt.Errorf("write the client secret: %w", err)
	}
	return nil
}
