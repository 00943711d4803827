package main

import (
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	commands := []string{
		"", "serve", "api", "projector", "client", "client create", "client list", "client show", "client update",
		"client disable", "client enable", "client cut-off", "client secret", "client secret add", "client secret drop",
		"user disable", "user enable", "user cut-off", "grant show", "grant revoke", "audit list", "audit tail", "audit show",
		"audit export", "audit lineage", "revoke", "status", "login", "logout", "version", "bench", "hammer",
	}
	for _, command := range commands {
		out, errs, status := chancery(t, append(strings.Fields(command), "--help")...)
		if status != exitOK || errs != "" || !strings.HasPrefix(out, "Usage: chancery "+command) {
			t.Errorf("%s --help: status %d, stderr %q, stdout %q", command, status, errs, out)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		if out, _, status := chancery(t, arg); status != exitOK || !strings.HasPrefix(out, "chancery ") {
			t.Errorf("%s: status %d, %q", arg, status, out)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no command":       {nil, `Run "chancery --help"`},
		"unknown flag":     {[]string{"serve", "--nope"}, `Run "chancery serve --help"`},
		"unknown command":  {[]string{"nope"}, "nope"},
		"missing argument": {[]string{"client", "show"}, `Run "chancery client show --help"`},
		"bad duration":     {[]string{"serve", "--retry-window", "x"}, "--retry-window"},
		"bad prefix":       {[]string{"serve", "--trusted-proxy", "x"}, "--trusted-proxy"},
		"bad level":        {[]string{"serve", "--log-level", "x"}, "--log-level"},
		"missing file":     {[]string{"serve", "--config", "/does/not/exist"}, "reading the configuration"},
	}
	for name, tt := range tests {
		out, errs, status := chancery(t, tt.args...)
		if status != exitUsage || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %q", name, status, out, errs, tt.want)
		}
	}
}
