package main

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/chancery-authority/chancery/cmd/server"
)

// printConfig writes the settings of the called command as a file for
// --config, each with where it came from. Secrets are left out of what would
// be loaded.
func printConfig(w io.Writer, call *kong.Context, set *settings, cfg server.Config) error {
	for _, group := range groups() {
		for _, f := range call.Flags() {
			if f.Group == nil || f.Group.Key != group.Key {
				continue
			}
			value, source := f.Target.Interface(), set.source(call, f)
			if f.Name == "issuer" && value == "" && cfg.Settings.Issuer != "" {
				value, source = cfg.Settings.Issuer, "from listen"
			}
			if err := printSetting(w, f, value, source); err != nil {
				return err
			}
		}
	}
	return nil
}

// credentials are where addresses that can be printed have none. They are printed
// before they are refused.
var credentials = regexp.MustCompile(`://\S*@`)

func printSetting(w io.Writer, f *kong.Flag, value any, source string) error {
	prefix := ""
	if f.Tag.Has("secret") {
		prefix = "# "
	}
	value = plain(value)
	if text, ok := value.(string); ok && f.Tag.Has("address") {
		value = credentials.ReplaceAllString(text, "://REDACTED@")
	}
	text, err := yaml.Marshal(map[string]any{f.Name: value})
	if err != nil {
		return fmt.Errorf("printing %s: %w", f.Name, err)
	}
	line := prefix + strings.TrimSpace(string(text))
	_, err = fmt.Fprintf(w, "%-48s # %s\n", line, source)
	return err
}

// source says where the value of a flag came from.
func (s *settings) source(call *kong.Context, f *kong.Flag) string {
	if from, ok := s.from[f.Name]; ok {
		return from
	}
	for _, path := range call.Path {
		if path.Flag == f && !path.Resolved {
			return "flag"
		}
	}
	return "default"
}

// plain makes a value what a person would write: durations, lists and the
// text of everything that has one.
func plain(value any) any {
	switch v := value.(type) {
	case time.Duration:
		return v.String()
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	v := reflect.ValueOf(value)
	if v.Kind() != reflect.Slice {
		return value
	}
	items := make([]string, v.Len())
	for i := range items {
		items[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(items, ",")
}
