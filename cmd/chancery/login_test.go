package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
)

// demo starts an authority with the demonstration and gives its address. Devices
// may poll every second.
func demo(t *testing.T) *apitest.Replica {
	t.Helper()
	_, lines := launch(t, "serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", t.TempDir(),
		"--device-poll-limit", "60/m:2", "--freshness-bound", "20s")
	return &apitest.Replica{URL: field(t, lines, "public")}
}

// person is Alice at a browser, on the page for devices.
func person(t *testing.T, r *apitest.Replica) *apitest.Visitor {
	t.Helper()
	v := r.NewVisitor(t)
	p := v.Submit(v.Open("/oauth2/device"), "username", authority.DemoUser, "password", authority.DemoPassword)
	if p.Heading() != "Connect a device" {
		t.Fatalf("page %q: %s", p.Heading(), p.Body)
	}
	return v
}

var shownCode = regexp.MustCompile(`allow the code ([B-Z]{4}-[B-Z]{4}),`)

// login runs the command, and has a person decide about the code that it shows.
func login(t *testing.T, v *apitest.Visitor, decision string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	read, write := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(t.Context(), append([]string{"login"}, args...), strings.NewReader(""), &out, write)
		_ = write.Close()
	}()
	for s := bufio.NewScanner(read); s.Scan(); {
		errs.WriteString(s.Text() + "\n")
		if code := shownCode.FindStringSubmatch(s.Text()); code != nil {
			v.Submit(v.Submit(v.Open("/oauth2/device"), "user_code", code[1]), "decision", decision)
		}
	}
	return out.String(), errs.String(), <-done
}

// TestLogin signs in, is refreshed, and signs out, against a real process.
func TestLogin(t *testing.T) {
	r := demo(t)
	v := person(t, r)
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	t.Setenv("HOME", config)
	signedIn := "Signed in to " + r.URL + " as alice ("

	out, errs, status := login(t, v, "allow", "--issuer", r.URL)
	if status != exitOK || !strings.HasPrefix(out, signedIn) || !strings.Contains(errs, r.URL+"/oauth2/device?user_code=") {
		t.Fatalf("login: status %d, stdout %q, stderr %q", status, out, errs)
	}
	file, first := keptIn(t, config)
	if out, errs, status := chancery(t, "login", "--issuer", r.URL); status != exitOK || errs != "" || !strings.HasPrefix(out, signedIn) {
		t.Errorf("again: status %d, stdout %q, stderr %q", status, out, errs)
	}
	_, second := keptIn(t, config)
	if first == second {
		t.Error("nothing was refreshed")
	}
	if out, _, status := chancery(t, "logout", "--issuer", r.URL); status != exitOK || out != "Signed out of "+r.URL+".\n" {
		t.Errorf("logout: status %d, %q", status, out)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the tokens are still kept")
	}
	if a := r.Refresh(t, apitest.DemoCLI, second); a.Status != http.StatusBadRequest {
		t.Errorf("the refresh token is good still: %d %s", a.Status, a.Body)
	}
	if out, _, status := chancery(t, "logout", "--issuer", r.URL); status != exitOK || out != "Not signed in to "+r.URL+".\n" {
		t.Errorf("logout again: status %d, %q", status, out)
	}

	t.Run("anew, where what is kept was revoked", func(t *testing.T) {
		login(t, v, "allow", "--issuer", r.URL)
		_, token := keptIn(t, config)
		r.Post(t, "/oauth2/revoke", apitest.DemoCLI, "token", token)
		if out, errs, status := login(t, v, "allow", "--issuer", r.URL); status != exitOK || !strings.HasPrefix(out, signedIn) || errs == "" {
			t.Errorf("status %d, stdout %q, stderr %q", status, out, errs)
		}
		if _, now := keptIn(t, config); now == token {
			t.Error("the same token")
		}
		chancery(t, "logout", "--issuer", r.URL)
	})
	t.Run("printed", func(t *testing.T) {
		out, errs, status := login(t, v, "allow", "--issuer", r.URL, "--print", "--scope", "read")
		var token struct {
			AccessToken string `json:"access_token"`
			Scope       string `json:"scope"`
		}
		if err := json.Unmarshal([]byte(out), &token); err != nil || status != exitOK || token.AccessToken == "" || token.Scope != "read" {
			t.Errorf("status %d, stdout %q, stderr %q", status, out, errs)
		}
		if entries, err := os.ReadDir(filepath.Join(config, "chancery", "login")); err != nil || len(entries) > 0 {
			t.Errorf("kept: %v %v", entries, err)
		}
	})
	t.Run("denied", func(t *testing.T) {
		out, errs, status := login(t, v, "deny", "--issuer", r.URL)
		if status != exitFailure || out != "" || !strings.Contains(errs, "(access_denied)") {
			t.Errorf("status %d, stdout %q, stderr %q", status, out, errs)
		}
	})
	t.Run("as a client that may not", func(t *testing.T) {
		if _, errs, status := chancery(t, "login", "--issuer", r.URL, "--client", "demo-spa"); status != exitFailure || !strings.Contains(errs, "(unauthorized_client)") {
			t.Errorf("status %d, stderr %q", status, errs)
		}
	})
}

// keptIn is the one file below a directory, which only its owner can read, and
// the refresh token in it.
func keptIn(t *testing.T, dir string) (path, refreshToken string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if p != dir && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", p, info.Mode())
		}
		if d.Type().IsRegular() {
			path = p
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil || k.RefreshToken == "" {
		t.Fatalf("kept %v", err)
	}
	return path, k.RefreshToken
}

// TestLoginTrustsNoOtherIssuer has metadata that is not the issuer's.
func TestLoginTrustsNoOtherIssuer(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var metadata endpoints
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/oauth-authorization-server" {
			t.Errorf("asked for %s", r.URL)
		}
		_ = json.NewEncoder(w).Encode(metadata)
	}))
	defer server.Close()
	good := endpoints{
		Issuer: server.URL, Device: server.URL + "/d", Token: server.URL + "/t", Revocation: server.URL + "/r", UserInfo: server.URL + "/u",
	}
	for name, change := range map[string]func(*endpoints){
		"another issuer":        func(e *endpoints) { e.Issuer = "https://elsewhere.example" },
		"no devices":            func(e *endpoints) { e.Device = "" },
		"an endpoint elsewhere": func(e *endpoints) { e.Token = "ftp://elsewhere.example" },
	} {
		metadata = good
		change(&metadata)
		if _, errs, status := chancery(t, "login", "--issuer", server.URL); status != exitFailure || !strings.Contains(errs, "discovering") {
			t.Errorf("%s: status %d, stderr %q", name, status, errs)
		}
	}
	for _, issuer := range []string{"http://as.example", "nonsense", server.URL + "/?a=b"} {
		if _, _, status := chancery(t, "login", "--issuer", issuer); status != exitFailure {
			t.Errorf("%s: status %d", issuer, status)
		}
	}
}

// TestLoginWaits polls on where an answer is missing, and not where there is one.
func TestLoginWaits(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var polls atomic.Int32
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	answer := func(path string, status int, body func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(body())
		})
	}
	answer("/.well-known/oauth-authorization-server", http.StatusOK, func() any {
		return endpoints{Issuer: server.URL, Device: server.URL + "/d", Token: server.URL + "/t", Revocation: server.URL + "/r", UserInfo: server.URL + "/u"}
	})
	answer("/d", http.StatusOK, func() any {
		return map[string]any{"device_code": "d", "user_code": "BBBB-BBBB", "verification_uri": server.URL, "expires_in": 60, "interval": 1}
	})
	mux.HandleFunc("/t", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		status, code := http.StatusBadRequest, "expired_token\x1b[2J"
		if polls.Add(1) == 1 {
			status, code = http.StatusServiceUnavailable, "temporarily_unavailable"
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code})
	})
	_, errs, status := chancery(t, "login", "--issuer", server.URL)
	if status != exitFailure || polls.Load() != 2 || !strings.Contains(errs, `(expired_token\x1b[2J)`) {
		t.Errorf("status %d after %d polls, stderr %q", status, polls.Load(), errs)
	}
}
