package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxPasswordLine bounds what is read for a password, in bytes.
const maxPasswordLine = 1024

// readPassword asks for a password without showing it. Where stdin is no
// terminal it is the first line of that.
func (t terminal) readPassword(prompt string) (string, error) {
	password, err := t.typed(prompt)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	if password == "" {
		return "", errors.New("no password was given: type one, or send it to stdin")
	}
	return password, nil
}

func (t terminal) typed(prompt string) (string, error) {
	if file, ok := t.in.(*os.File); ok && isTerminal(file) {
		_, _ = fmt.Fprint(t.err, prompt)
		text, err := term.ReadPassword(int(file.Fd()))
		_, _ = fmt.Fprintln(t.err) // the Enter was not shown either
		return string(text), err
	}
	line, err := bufio.NewReader(io.LimitReader(t.in, maxPasswordLine)).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}
