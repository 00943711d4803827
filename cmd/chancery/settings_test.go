package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// chancery runs the program as a shell would.
func chancery(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return chanceryReading(t, "", args...)
}

// chanceryReading is the program with something at stdin.
func chanceryReading(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), status
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inForce is the line of one setting in chancery serve --print-config.
func inForce(t *testing.T, setting string, args ...string) string {
	t.Helper()
	out, errs, status := chancery(t, append([]string{"serve", "--print-config"}, args...)...)
	if status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(strings.TrimPrefix(line, "# "), setting+": ") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	t.Fatalf("no %s in\n%s", setting, out)
	return ""
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "chancery.yaml", "retry-window: 10s\n")
	steps := []struct {
		env, flag, want string
	}{
		{"", "", "retry-window: 10s # file, " + file},
		{"20s", "", "retry-window: 20s # environment, CHANCERY_RETRY_WINDOW"},
		{"20s", "0", "retry-window: 0s # flag"},
	}
	if got, want := inForce(t, "retry-window"), "retry-window: 30s # default"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, step := range steps {
		t.Setenv("CHANCERY_RETRY_WINDOW", step.env)
		args := []string{"--config", file}
		if step.flag != "" {
			args = append(args, "--retry-window", step.flag)
		}
		if got := inForce(t, "retry-window", args...); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

func TestFileFromTheEnvironment(t *testing.T) {
	t.Setenv("CHANCERY_CONFIG", writeFile(t, "chancery.yaml", "partitions: 4\n"))
	if got := inForce(t, "partitions"); !strings.HasPrefix(got, "partitions: 4 ") {
		t.Errorf("got %q", got)
	}
}

func TestListsInTheFile(t *testing.T) {
	file := writeFile(t, "chancery.yaml", "signing-algorithms: [EdDSA, ES256]\ntrusted-proxy:\n- 10.0.0.0/8\n- fd00::/8\n")
	if got := inForce(t, "signing-algorithms", "--config", file); !strings.HasPrefix(got, "signing-algorithms: EdDSA,ES256 ") {
		t.Errorf("got %q", got)
	}
	if got := inForce(t, "trusted-proxy", "--config", file); !strings.HasPrefix(got, "trusted-proxy: 10.0.0.0/8,fd00::/8 ") {
		t.Errorf("got %q", got)
	}
}

func TestFileIsStrict(t *testing.T) {
	tests := map[string]string{
		"retry-windw: 10s":     `no such setting: "retry-windw"`,
		"print-config: true":   `no such setting: "print-config"`,
		"redirect-uri: x":      `no such setting: "redirect-uri"`,
		"retry-window:":        `"retry-window": is not a value`,
		"retry-window: {a: b}": `"retry-window": is not a value`,
		"listen: [[a]]":        "item 1 is not a plain value",
		"retry-window: long":   "--retry-window",
		"- a":                  "reading the configuration",
		"a: b\na: c":           "already defined",
	}
	for text, want := range tests {
		_, errs, status := chancery(t, "serve", "--print-config", "--config", writeFile(t, "c.yaml", text))
		if status != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%q: status %d, %q; want %q", text, status, errs, want)
		}
	}
}

func TestLimitsAreInForce(t *testing.T) {
	if got, want := inForce(t, "failure-limit"), "failure-limit: 10/m:20 # default"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	file := writeFile(t, "chancery.yaml", "address-limit: 0\nfailure-limit: 5/s\n")
	if got := inForce(t, "address-limit", "--config", file); !strings.HasPrefix(got, `address-limit: "0" # file`) {
		t.Errorf("got %q", got)
	}
	if got := inForce(t, "failure-limit", "--config", file, "--failure-limit", "7/h:9"); got != "failure-limit: 7/h:9 # flag" {
		t.Errorf("got %q", got)
	}
	if _, errs, status := chancery(t, "serve", "--print-config", "--failure-limit", "5/d"); status != exitUsage || !strings.Contains(errs, "want N/s") {
		t.Errorf("status %d, %q", status, errs)
	}
}

func TestArgumentsAreNoSettings(t *testing.T) {
	t.Setenv("CHANCERY_PRINT_CONFIG", "true")
	t.Setenv("CHANCERY_JSON", "true")
	_, _, status := chancery(t, "client", "list", "--data", t.TempDir())
	if status != exitFailure {
		t.Errorf("status %d", status)
	}
	t.Setenv("CHANCERY_REPLICAS", "2") // serve fails rather than print and stop
	if out, errs, status := chancery(t, "serve"); status != exitFailure || out != "" || !strings.Contains(errs, "replicas") {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	const planted = "planted-5eCr3t"
	t.Setenv("CHANCERY_ADMIN_KEY", planted)
	t.Setenv("CHANCERY_KEY_ENCRYPTION_KEYS", "1:"+planted)
	out, errs, status := chancery(t, "serve", "--print-config")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	if strings.Contains(out+errs, planted) {
		t.Errorf("a secret is printed:\n%s%s", out, errs)
	}
	if want := "# admin-key: REDACTED"; !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}
	// Where credentials do not belong they are refused, and not printed before.
	for _, flag := range []string{"--nats-url=nats://h1,nats://u:" + planted + "@h2", "--otlp-endpoint=http://u:" + planted + "@h:4318"} {
		out, errs, status := chancery(t, "serve", "--print-config", flag)
		if status != exitFailure || strings.Contains(out+errs, planted) || !strings.Contains(out, "://REDACTED@h") {
			t.Errorf("%s: status %d\n%s%s", flag, status, out, errs)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	t.Setenv("CHANCERY_ADMIN_KEY_FILE", "/run/secrets/admin-key")
	got := inForce(t, "admin-key-file")
	if want := "admin-key-file: /run/secrets/admin-key # environment, CHANCERY_ADMIN_KEY_FILE"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrintedConfigLoads(t *testing.T) {
	t.Setenv("CHANCERY_ADMIN_KEY", "a-key")
	printed, errs, status := chancery(t, "serve", "--print-config", "--retry-window", "0",
		"--signing-algorithms", "RS256,ES256", "--trusted-proxy", "10.0.0.0/8", "--dev", "--data", t.TempDir())
	if status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	again, errs, status := chancery(t, "serve", "--print-config", "--config", writeFile(t, "printed.yaml", printed))
	if status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	if got, want := withoutSources(again), withoutSources(printed); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func withoutSources(config string) string {
	var b strings.Builder
	for line := range strings.Lines(config) {
		setting, _, _ := strings.Cut(line, " # ")
		b.WriteString(strings.TrimSpace(setting) + "\n")
	}
	return b.String()
}
