package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// confirm asks before what cannot be undone, unless that is settled. not is what
// is told when the answer is no.
func confirm(t terminal, yes bool, question, not string) error {
	if yes {
		return nil
	}
	if !isTerminal(t.in) {
		return errors.New("nobody can be asked here: give --yes to do this")
	}
	_, _ = fmt.Fprint(t.err, question+" It cannot be undone. [y/N] ")
	line, err := bufio.NewReader(t.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New(not)
	}
	return nil
}

// callFor posts what may take longer than other calls.
func (c adminCall) callFor(ctx context.Context, timeout time.Duration, in any, path ...string) (json.RawMessage, error) {
	a, err := c.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := a.open(ctx, http.MethodPost, in, nil, path...)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	answer, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return answer, nil
}
