package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// settings resolves the flags that are settings from the environment, then
// from the configuration file. Kong's own order is the other way round, its
// YAML loader skips keys it does not know, and its errors repeat the value of
// a variable, which may be a secret.
type settings struct {
	lookup func(string) string
	path   string
	file   map[string]string
	// from says, by flag, where a value that is neither given on the command
	// line nor the default came from.
	from map[string]string
}

func newSettings(lookup func(string) string) *settings {
	return &settings{lookup: lookup, from: map[string]string{}}
}

// isSetting reports whether a flag can come from elsewhere than the command
// line.
func isSetting(f *kong.Flag) bool { return f.Group != nil }

// variable is the name of a setting in the environment.
func variable(flag string) string {
	return "CHANCERY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Resolve finds the value of a flag that is not on the command line. An empty
// value is one that is not set.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	if !isSetting(f) {
		return nil, nil
	}
	if v := s.lookup(variable(f.Name)); v != "" {
		s.from[f.Name] = "environment, " + variable(f.Name)
		return v, nil
	}
	if v := s.file[f.Name]; v != "" {
		s.from[f.Name] = "file, " + s.path
		return v, nil
	}
	return nil, nil
}

// Validate refuses keys of the file that are no settings of any command: a
// misspelt one would be a decision that is not in force.
func (s *settings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, f := range allFlags(app.Node) {
		known[f.Name] = known[f.Name] || isSetting(f)
	}
	var unknown []string
	for key := range s.file {
		if !known[key] {
			unknown = append(unknown, fmt.Sprintf("%.64q", key))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("%s: no such setting: %s", s.path, strings.Join(unknown, ", "))
}

func allFlags(n *kong.Node) []*kong.Flag {
	flags := slices.Clone(n.Flags)
	for _, child := range n.Children {
		flags = append(flags, allFlags(child)...)
	}
	return flags
}

// configFile is the flag that names the configuration file.
type configFile string

// BeforeResolve reads the file in time for Resolve.
func (configFile) BeforeResolve(ctx *kong.Context, trace *kong.Path, s *settings) error {
	path, _ := ctx.FlagValue(trace.Flag).(configFile)
	return s.load(string(path))
}

func (s *settings) load(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(text, &nodes); err != nil {
		return fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	s.path, s.file = path, make(map[string]string, len(nodes))
	for key, node := range nodes {
		if s.file[key], err = flagText(node); err != nil {
			return fmt.Errorf("%s, line %d: %.64q: %w", path, node.Line, key, err)
		}
	}
	return nil
}

// flagText is a YAML value as it would be written on the command line.
func flagText(n yaml.Node) (string, error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		return n.Value, nil
	case n.Kind == yaml.SequenceNode:
		items := make([]string, len(n.Content))
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return "", fmt.Errorf("item %d is not a plain value", i+1)
			}
			items[i] = item.Value
		}
		return kong.JoinEscaped(items, ','), nil
	}
	return "", errors.New("is not a value or a list of values")
}
