//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/cmd/bench"
)

// measured runs chancery bench with processes of its own, which the test binary is,
// and expects no error.
func measured(t *testing.T, args ...string) bench.Report {
	t.Helper()
	t.Setenv(asProgram, "1")
	t.Setenv("TMPDIR", t.TempDir())
	args = append([]string{"bench", "--json", "--workers", "2", "--grants", "1", "--warmup", "50ms", "--duration", "200ms"}, args...)
	out, errs, status := chancery(t, args...)
	if status != exitOK {
		t.Fatalf("status %d: %s%s", status, errs, out)
	}
	var report bench.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, of := range report.Runs {
		if len(of.Rows) == 0 || of.Rows[0].Done == 0 || len(of.Errors) > 0 || of.Generator == nil || of.Generator.CPUSeconds <= 0 {
			t.Errorf("%+v", of)
		}
	}
	for _, e := range report.Events {
		if e.Acknowledged == 0 || e.InLog != e.Acknowledged {
			t.Errorf("%+v", e)
		}
	}
	return report
}

// gone checks that the processes have ended, and nothing is left of their files.
func gone(t *testing.T, report bench.Report) {
	t.Helper()
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, p := range report.Runs[0].Processes {
		// It is our child, so no other has its number before it was waited for.
		if err := syscall.Kill(p.PID, 0); err == nil {
			t.Errorf("%s still runs", p.Name)
		}
	}
}

// TestBench starts an authority of one process, measures it and removes it.
func TestBench(t *testing.T) {
	report := measured(t, "refresh", "introspection")
	if len(report.Runs) != 2 || len(report.Events) != 3 || len(report.Runs[0].Processes) != 1 {
		t.Errorf("%+v", report)
	}
	gone(t, report)
}

// TestBenchCluster does so with processes for every part.
func TestBenchCluster(t *testing.T) {
	report := measured(t, "--apis", "2", "--projectors", "1", "--partitions", "2", "client-credentials")
	if len(report.Runs) != 1 || len(report.Runs[0].Processes) != 4 || report.Authority.NATSServers != 1 || report.Version != version() {
		t.Errorf("%+v", report)
	}
	gone(t, report)
}

// TestBenchKeepsDir of an authority that it started.
func TestBenchKeepsDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	measured(t, "--dir", dir, "client-credentials")
	if _, err := os.Stat(filepath.Join(dir, "serve.log")); err != nil {
		t.Error(err)
	}
	if _, errs, status := chancery(t, "bench", "--dir", dir); status != exitFailure || !strings.Contains(errs, "is not empty") {
		t.Errorf("status %d: %s", status, errs)
	}
}

// TestBenchKeepsWhatWentWrong: the directory of an authority at which something failed is
// not deleted.
func TestBenchKeepsWhatWentWrong(t *testing.T) {
	t.Setenv(asProgram, "1")
	t.Setenv("TMPDIR", t.TempDir())
	_, errs, status := chancery(t, "bench", "--scope", `no"scope`, "client-credentials")
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) != 1 || status != exitFailure || !strings.Contains(errs, left[0].Name()) {
		t.Errorf("status %d, left: %v, %v: %s", status, left, err, errs)
	}
}

// TestBenchInterruptedAtTheStart leaves nothing behind.
func TestBenchInterruptedAtTheStart(t *testing.T) {
	t.Setenv(asProgram, "1")
	t.Setenv("TMPDIR", t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	c := benchCmd{
		Operations: []string{"refresh"}, Workers: 1, Duration: time.Second, Timeout: time.Second, Grants: 1, APIs: 1, Projectors: 1, Partitions: 1,
	}
	if err := c.Run(ctx, terminal{out: io.Discard, err: io.Discard}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestBenchInterrupted fails, with what there is.
func TestBenchInterrupted(t *testing.T) {
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	c := benchCmd{
		Operations: []string{"client-credentials"}, Workers: 1, Duration: time.Hour, Timeout: time.Minute, Grants: 1,
		APIs: 1, Projectors: 1, Partitions: 1, Issuer: r.URL,
	}
	c.ClientID, c.ClientSecret = apitest.DemoService.ID, secret.New(apitest.DemoService.Secret)
	var out strings.Builder
	err := c.Run(ctx, terminal{out: &out, err: interruptor(interrupt)})
	if err == nil || !strings.Contains(err.Error(), "interrupted") || !strings.Contains(out.String(), "interrupted: this is what there was") {
		t.Errorf("got %v: %s", err, out.String())
	}
}

// An interruptor interrupts when it is told how far a measurement has come.
type interruptor context.CancelFunc

func (i interruptor) Write(text []byte) (int, error) {
	i()
	return len(text), nil
}

// TestBenchEmptiesTokens of which none counts any more.
func TestBenchEmptiesTokens(t *testing.T) {
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	file := writeFile(t, "tokens", "spent-a\nspent-b\n")
	out, errs, status := chancery(t, "bench", "--workers", "2", "--issuer", r.URL, "--client-id", apitest.DemoWeb.ID,
		"--client-secret-file", writeFile(t, "secret", apitest.DemoWeb.Secret), "--refresh-tokens", file, "refresh")
	if status != exitFailure || !strings.Contains(out, "2 of the workers ended early") || strings.Contains(out+errs, "spent") {
		t.Errorf("status %d: %s%s", status, errs, out)
	}
	if text, err := os.ReadFile(file); err != nil || len(text) > 0 {
		t.Errorf("left: %q, %v", text, err)
	}
}

// TestBenchContradictions are refused before anything is done.
func TestBenchContradictions(t *testing.T) {
	file := writeFile(t, "secret", "of-a-file")
	for want, args := range map[string][]string{
		"client-id: ":     {"--client-id", "x"},
		"endpoints and":   {"--jwks-uri", "https://auth.example/jwks"},
		"apis, ":          {"--issuer", "https://auth.example", "--apis", "2"},
		"refresh-tokens:": {"--refresh-tokens", file},
		"admin: ":         {"--admin"},
		"cannot both":     {"--issuer", "https://auth.example", "--client-id", "x", "--client-secret", "given", "--client-secret-file", file},
		`called "serve"`:  {"--pid", "serve=1"},
	} {
		if out, errs, status := chancery(t, append([]string{"bench"}, args...)...); status != exitFailure || out != "" || !strings.Contains(errs, want) {
			t.Errorf("status %d, want %q: %s%s", status, want, errs, out)
		}
	}
}

// TestBenchRunning measures an authority that runs, with a client of its own, and then
// with one that has refresh tokens.
func TestBenchRunning(t *testing.T) {
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	admin := []string{"--issuer", r.URL, "--admin-url", r.AdminURL, "--admin-key-file", writeFile(t, "admin-key", apitest.AdminKey)}
	report := measured(t, append(admin, "--pid", "it="+strconv.Itoa(os.Getpid()), "code", "revocation")...)
	if p := report.Runs[0].Processes; len(p) != 1 || p[0].Name != "it" || p[0].RSS <= 0 || len(report.Events) != 3 {
		t.Errorf("%+v", report)
	}

	var tokens []string
	for range 3 {
		tokens = append(tokens, r.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token"))
	}
	file := writeFile(t, "tokens", strings.Join(tokens, "\n")+"\n")
	given := append(admin, "--client-id", apitest.DemoWeb.ID, "--client-secret-file", writeFile(t, "secret", apitest.DemoWeb.Secret), "--refresh-tokens", file)
	for range 2 { // what is written back can be used again
		if report := measured(t, append(given, "--admin", "refresh")...); len(report.Events) != 1 {
			t.Errorf("%+v", report.Events)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), "\n") != len(tokens) || strings.Contains(string(text), tokens[0]) {
		t.Errorf("tokens: %q, %v", text, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestBenchFails with status 1 where an answer is wrong, and says which.
func TestBenchFails(t *testing.T) {
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	common := []string{"bench", "--workers", "1", "--warmup", "0s", "--duration", "100ms", "--client-id", apitest.DemoService.ID, "--issuer", r.URL}
	t.Setenv("CHANCERY_CLIENT_SECRET", "wrong-secret-of-the-test")
	out, errs, status := chancery(t, append(common, "client-credentials")...)
	if status != exitFailure || !strings.Contains(out, "ERROR status, 401 invalid_client") || !strings.Contains(errs, "requests failed") {
		t.Errorf("status %d: %s%s", status, errs, out)
	}
	if strings.Contains(out+errs, "wrong-secret") {
		t.Error("the secret is printed")
	}
	for want, args := range map[string][]string{
		"there is no operation": append(common, "login"),
		"no operation to":       common,
		"is no process id":      append(common, "--pid", "a=b", "client-credentials"),
		"what process":          append(common, "--pid", "a=1073741824", "client-credentials"),
	} {
		if out, errs, status := chancery(t, args...); status != exitFailure || out != "" || !strings.Contains(errs, want) {
			t.Errorf("status %d, want %q: %s%s", status, want, errs, out)
		}
	}
}
