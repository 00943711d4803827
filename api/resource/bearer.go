package resource

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Error codes of RFC 6750 §3.1, and RFC 6749 §4.1.2.1's for 503.
const (
	codeInvalidRequest    = "invalid_request"
	codeInvalidToken      = "invalid_token"
	codeInsufficientScope = "insufficient_scope"
	codeUnavailable       = "temporarily_unavailable"
)

// A Refusal is why a request is not let in, and how that is answered (RFC 6750 §3).
type Refusal struct {
	// Status is 400, 401, 403 or 503.
	Status int
	// Code is the error code. It is empty where no token was sent: then nothing is
	// told but that one is wanted.
	Code string
	// Scope is what would do, with insufficient_scope.
	Scope []string
	// Cause is for logs. It is never told.
	Cause error
}

// Error is for logs.
func (r *Refusal) Error() string {
	text := r.Code
	if text == "" {
		text = "no access token"
	}
	if r.Cause != nil {
		text += ": " + r.Cause.Error()
	}
	return text
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// ServeHTTP answers a request with the refusal.
func (r *Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	if r.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	} else {
		h.Set("WWW-Authenticate", r.challenge())
	}
	w.WriteHeader(r.Status)
	if r.Code != "" {
		_ = json.NewEncoder(w).Encode(map[string]string{"error": r.Code})
	}
}

// challenge has the realm of the authority's own, because one without a parameter
// is none (RFC 6750 §3).
func (r *Refusal) challenge() string {
	parts := []string{`realm="chancery"`}
	if r.Code != "" {
		parts = append(parts, `error="`+r.Code+`"`)
	}
	if len(r.Scope) > 0 {
		parts = append(parts, `scope="`+strings.Join(r.Scope, " ")+`"`)
	}
	return "Bearer " + strings.Join(parts, ", ")
}

// Authorize verifies the access token of a request and that it has all of a scope.
func (v *Verifier) Authorize(r *http.Request, scope ...string) (*Claims, *Refusal) {
	token, refusal := bearerToken(r.Header.Values("Authorization"))
	if refusal != nil {
		return nil, refusal
	}
	claims, err := v.Verify(r.Context(), token)
	switch {
	case errors.Is(err, ErrInvalid):
		return nil, &Refusal{Status: http.StatusUnauthorized, Code: codeInvalidToken, Cause: err}
	case err != nil:
		return nil, &Refusal{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Cause: err}
	case !HasScope(claims, scope...):
		return nil, &Refusal{Status: http.StatusForbidden, Code: codeInsufficientScope, Scope: scope}
	}
	return claims, nil
}

// HasScope reports whether a token has all of a scope.
func HasScope(c *Claims, scope ...string) bool {
	return !slices.ContainsFunc(scope, func(s string) bool { return !slices.Contains(c.Scope, s) })
}

// bearerToken reads the token of Authorization headers and of nothing else (RFC
// 6750 §2.1): a query or a body would leave it in logs.
func bearerToken(headers []string) (string, *Refusal) {
	if len(headers) > 1 {
		return "", &Refusal{Status: http.StatusBadRequest, Code: codeInvalidRequest}
	}
	none := &Refusal{Status: http.StatusUnauthorized}
	if len(headers) == 0 {
		return "", none
	}
	scheme, rest, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", none
	}
	token := strings.Trim(rest, " ") // RFC 9110 §11.4: 1*SP
	if !isB64Token(token) {
		return "", &Refusal{Status: http.StatusBadRequest, Code: codeInvalidRequest}
	}
	return token, nil
}

// isB64Token is RFC 6750 §2.1's syntax.
func isB64Token(text string) bool {
	body := strings.TrimRight(text, "=")
	return body != "" && !strings.ContainsFunc(body, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/", c)
	})
}

type claimsKey struct{}

// Require lets requests in whose access token is good and has all of a scope. Their
// context has its claims.
func (v *Verifier) Require(scope ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			claims, refusal := v.Authorize(r, scope...)
			if refusal != nil {
				refusal.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r.WithContext(WithClaims(r.Context(), claims)))
		})
	}
}

// WithClaims is a context that has claims.
func WithClaims(ctx context.Context, c *Claims) context.Context {
	return context.WithValue(ctx, claimsKey{}, c)
}

// ClaimsOf are those of the access token that a request was let in with, and nil
// where nobody has verified one.
func ClaimsOf(ctx context.Context) *Claims {
	c, _ := ctx.Value(claimsKey{}).(*Claims)
	return c
}

// Metadata answers for /.well-known/oauth-protected-resource (RFC 9728 §3): which
// authority's tokens a resource takes, and which scopes there are.
func (v *Verifier) Metadata(resource string, scopes ...string) http.Handler {
	body, _ := json.Marshal(struct { // no error: texts alone
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported,omitempty"`
		Methods  []string `json:"bearer_methods_supported"`
	}{resource, []string{v.cfg.Issuer}, scopes, []string{"header"}})
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}
