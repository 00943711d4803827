package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/secret"
)

const planted = "pl4nt3d-t3xt"

// Every way in which a value gets printed by accident, also from inside structs
// whose fields fmt reads without asking their methods.
func TestSecretIsNeverPrinted(t *testing.T) {
	type outer struct {
		Shown  secret.Secret
		hidden secret.Secret
		list   []secret.Secret
		byName map[string]any
	}
	s := secret.New(planted)
	values := []any{s, &s, []secret.Secret{s}, map[string]secret.Secret{"a": s}, any(s), outer{s, s, []secret.Secret{s}, map[string]any{"a": s}}, &outer{s, s, nil, nil}, fmt.Errorf("wrapped %v", s)}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%p", "%w", "%10s"} {
			wantHidden(t, verb, fmt.Sprintf(verb, v))
		}
		wantHidden(t, "Sprint", fmt.Sprint(v))
		var text, js bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "s", v)
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "s", v)
		wantHidden(t, "slog text", text.String())
		wantHidden(t, "slog JSON", js.String())
		if b, err := json.Marshal(v); err == nil {
			wantHidden(t, "JSON", string(b))
		}
	}
	if got := fmt.Sprintf("%v %s %#v", s, s, s); got != "REDACTED REDACTED REDACTED" {
		t.Errorf("got %s", got)
	}
	if b, err := json.Marshal(s); err != nil || string(b) != `"REDACTED"` {
		t.Errorf("JSON: got %s, %v", b, err)
	}
}

func wantHidden(t *testing.T, how, got string) {
	t.Helper()
	hexed := fmt.Sprintf("%x", planted)
	if strings.Contains(got, planted) || strings.Contains(strings.ToLower(got), hexed) {
		t.Errorf("%s shows the secret: %s", how, got)
	}
}

func TestSecretText(t *testing.T) {
	var s secret.Secret
	if !s.IsZero() || s.Reveal() != "" || fmt.Sprint(s) != "" || !secret.New("").IsZero() {
		t.Error("the zero secret is not empty")
	}
	if err := json.Unmarshal([]byte(`"`+planted+`"`), &s); err != nil || s.Reveal() != planted {
		t.Errorf("unmarshal: got %q, %v", s.Reveal(), err)
	}
	for presented, want := range map[string]bool{planted: true, "": false, planted + "x": false, planted[1:]: false} {
		if s.Equal(presented) != want {
			t.Errorf("equal to %q: got %v", presented, !want)
		}
	}
}
