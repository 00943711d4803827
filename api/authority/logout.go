package authority

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// LogoutLifetime is how long a person may take to say whether to sign out.
const LogoutLifetime = 30 * time.Minute

// A Logout is a client's request to sign a person out (OpenID Connect
// RP-Initiated Logout 1.0 §2). While it waits for the person it is kept by the
// browser, encrypted.
type Logout struct {
	// Client is who asks, empty if that is not known.
	Client string `json:"client,omitempty"`
	// Target is where the client wants the person to be sent then, registered as
	// such, and State goes with them. Both may be empty.
	Target string `json:"target,omitempty"`
	State  string `json:"state,omitempty"`
	// Session is the one that the client showed that it means, if it did.
	Session   events.SessionID `json:"session,omitzero"`
	UILocales string           `json:"ui_locales,omitempty"`
	// Expires is in Unix seconds.
	Expires int64 `json:"exp"`
}

// IsOf reports whether the client showed that it means the very session. That it
// means the person is not enough: it may be over and done with.
func (l Logout) IsOf(auth *Authentication) bool {
	return !l.Session.IsZero() && l.Session == auth.Session.ID
}

const logoutContext = "logout"

// SealLogout is the text that OpenLogout reads for LogoutLifetime.
func (a *Authority) SealLogout(l Logout) (string, error) {
	l.Expires = a.Feed.Now(0).Add(LogoutLifetime).Unix()
	text, err := json.Marshal(l)
	if err != nil {
		return "", fmt.Errorf("encode logout request: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(a.Pending.Seal(text, []byte(logoutContext))), nil
}

// OpenLogout reads a request. The refusal is RequestExpired.
func (a *Authority) OpenLogout(text string) (l Logout, err error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return l, &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "not base64url"}
	}
	plain, err := a.Pending.Open(sealed, []byte(logoutContext))
	if err != nil {
		return l, &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "not one of ours"}
	}
	if err := json.Unmarshal(plain, &l); err != nil {
		return Logout{}, fmt.Errorf("decode logout request: %w", err)
	}
	if a.Feed.Now(0).Unix() >= l.Expires {
		return Logout{}, &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "expired"}
	}
	return l, nil
}

// A LogoutRequest is what a client sends to have a person signed out. All of it
// may be empty.
type LogoutRequest struct {
	IDTokenHint, Client, RedirectURI, State, UILocales string
}

// CheckLogout says what a request comes down to. A hint that is not one of our
// ID tokens counts as none, so that the person is asked.
func (a *Authority) CheckLogout(ctx context.Context, r LogoutRequest) (Logout, error) {
	l := Logout{State: r.State, UILocales: r.UILocales}
	hint, err := a.Keys.Verifier().VerifyIDToken(r.IDTokenHint)
	if err != nil {
		hint = jose.IDClaims{}
	}
	l.Client, l.Session = hint.ClientID, hint.Session
	switch {
	case l.Client == "":
		l.Client = r.Client
	case r.Client != "" && r.Client != l.Client:
		return Logout{}, &rules.Refusal{Reason: rules.BadParameter, Parameter: "client_id", Detail: "the ID token is another client's"}
	}
	var client fold.Client
	if l.Client != "" {
		client, err = a.FindClient(ctx, l.Client)
		if isRefusal(err, NoSuchClient) && hint.ClientID != "" && r.RedirectURI == "" {
			// People sign out whatever became of the application that knew them.
			l.Client, err = "", nil
		}
		if err != nil {
			return Logout{}, err
		}
	}
	if refusal := rules.CheckPostLogoutRedirect(client, r.RedirectURI); refusal != nil {
		return Logout{}, refusal
	}
	l.Target = r.RedirectURI
	return l, nil
}
