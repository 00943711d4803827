package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/oauth2"
)

// loginFile is where the tokens of one authority and client are kept, readable
// by its owner alone.
type loginFile string

// kept is what is in the file.
type kept struct {
	oauth2.Token
	Scope string `json:"scope,omitempty"`
}

// loginFile is in the user's directory for configuration.
func (f authorityFlags) loginFile() (loginFile, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's directory for configuration: %w", err)
	}
	name := url.QueryEscape(f.Issuer) + " " + url.QueryEscape(f.Client) + ".json"
	return loginFile(filepath.Join(dir, "chancery", "login", name)), nil
}

// read is the token that is kept, or nil.
func (f loginFile) read() (*oauth2.Token, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is kept: %w", err)
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, fmt.Errorf("reading what is kept in %s: %w", f, err)
	}
	return k.WithExtra(map[string]any{"scope": k.Scope}), nil
}

// write replaces the file at once, so that it is never half a token.
func (f loginFile) write(token *oauth2.Token) error {
	scope, _ := token.Extra("scope").(string)
	text, err := json.Marshal(kept{*token, scope})
	if err != nil {
		return fmt.Errorf("keeping the tokens: %w", err)
	}
	dir := filepath.Dir(string(f))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeping the tokens: %w", err)
	}
	next, err := os.CreateTemp(dir, "next-*") // 0600
	if err != nil {
		return fmt.Errorf("keeping the tokens: %w", err)
	}
	defer func() { _ = os.Remove(next.Name()) }() // unless it was renamed
	_, err = next.Write(text)
	if err = errors.Join(err, next.Sync(), next.Close()); err == nil {
		err = os.Rename(next.Name(), string(f))
	}
	if err != nil {
		return fmt.Errorf("keeping the tokens: %w", err)
	}
	return nil
}

func (f loginFile) remove() error {
	if err := os.Remove(string(f)); err != nil {
		return fmt.Errorf("deleting what is kept: %w", err)
	}
	return nil
}
