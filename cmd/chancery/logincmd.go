package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// authorityFlags say where to sign in, and as which client.
type authorityFlags struct {
	Issuer string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Issuer identifier of the authority."`
	Client string `default:"demo-cli" placeholder:"ID" help:"Public client that may use device codes."`
}

// loginCmd signs a person in by a device code (RFC 8628), or shows who is.
type loginCmd struct {
	authorityFlags
	Scope string `default:"openid profile offline_access" placeholder:"SCOPE" help:"What to ask for, with spaces between."`
	Print bool   `help:"Sign in anew and print the tokens as JSON, to be kept elsewhere."`
}

// Run goes on with what is kept, if that is still good, and otherwise has a
// person allow this machine at a browser.
func (c *loginCmd) Run(ctx context.Context, t terminal) error {
	a, err := discover(ctx, c.authorityFlags)
	if err != nil {
		return err
	}
	if c.Print {
		token, err := a.signIn(ctx, t, strings.Fields(c.Scope))
		if err != nil {
			return err
		}
		return printToken(t, token)
	}
	file, err := c.loginFile()
	if err != nil {
		return err
	}
	token, err := a.goOn(ctx, file)
	if err != nil {
		return err
	}
	if token != nil {
		err := a.showWho(ctx, t, token)
		if refused := (*adminError)(nil); !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			return err
		}
	}
	if token, err = a.signIn(ctx, t, strings.Fields(c.Scope)); err != nil {
		return err
	}
	if err := file.write(token); err != nil {
		return err
	}
	return a.showWho(ctx, t, token)
}

// logoutCmd ends what loginCmd began.
type logoutCmd struct{ authorityFlags }

// Run revokes what is kept and deletes it. What could not be revoked stays, to
// be tried again.
func (c *logoutCmd) Run(ctx context.Context, t terminal) error {
	file, err := c.loginFile()
	if err != nil {
		return err
	}
	token, err := file.read()
	if err != nil {
		return err
	}
	if token == nil {
		_, err = fmt.Fprintf(t.out, "Not signed in to %s.\n", printable(c.Issuer))
		return err
	}
	a, err := discover(ctx, c.authorityFlags)
	if err != nil {
		return err
	}
	if err := a.revoke(ctx, token); err != nil {
		return err
	}
	if err := file.remove(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "Signed out of %s.\n", printable(c.Issuer))
	return err
}

// goOn refreshes what is kept. Without an error and a token a person has to sign
// in.
func (a *signInAuthority) goOn(ctx context.Context, file loginFile) (*oauth2.Token, error) {
	kept, err := file.read()
	if err != nil || kept == nil {
		return nil, err
	}
	if kept.RefreshToken == "" {
		if !kept.Valid() {
			return nil, nil
		}
		return kept, nil
	}
	kept.Expiry = time.Now().Add(-time.Hour) // or it would not be refreshed
	token, err := a.oauth.TokenSource(a.context(ctx), kept).Token()
	if refused := new(oauth2.RetrieveError); errors.As(err, &refused) && refused.ErrorCode == "invalid_grant" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("refreshing: %w", spoken(err))
	}
	return token, file.write(token)
}

// signIn shows a person where to go with which code, and polls until they have
// answered (RFC 8628 §3.3 to §3.5).
func (a *signInAuthority) signIn(ctx context.Context, t terminal, scope []string) (*oauth2.Token, error) {
	ctx = a.context(ctx)
	a.oauth.Scopes = scope
	begun, err := a.oauth.DeviceAuth(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for a code: %w", spoken(err))
	}
	_, _ = fmt.Fprintf(t.err, "Open %s in a browser and allow the code %s,\nor type it at %s. It is good until %s.\n",
		printable(cmp.Or(begun.VerificationURIComplete, begun.VerificationURI)), printable(begun.UserCode),
		printable(begun.VerificationURI), begun.Expiry.Local().Format(time.TimeOnly))
	for {
		token, err := a.oauth.DeviceAccessToken(ctx, begun)
		switch {
		case err == nil:
			return token, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !time.Now().Before(begun.Expiry):
			return nil, errors.New("nobody answered in time: run it again for a new code")
		case !passing(err):
			return nil, fmt.Errorf("waiting for an answer: %w", spoken(err))
		}
		// It waits for the interval before it asks again.
	}
}

// passing reports whether an error says nothing of the device's code: there was
// no answer, or one that may be otherwise in a moment.
func passing(err error) bool {
	refused := new(oauth2.RetrieveError)
	if !errors.As(err, &refused) {
		return true
	}
	return refused.Response.StatusCode >= http.StatusInternalServerError || refused.Response.StatusCode == http.StatusTooManyRequests
}

// spoken is an error of the authority in its own words, without the body.
func spoken(err error) error {
	refused := new(oauth2.RetrieveError)
	if !errors.As(err, &refused) || refused.ErrorCode == "" {
		return err
	}
	return errors.New(printable(refused.ErrorDescription + " (" + refused.ErrorCode + ")"))
}

// showWho asks the authority whose token it is.
func (a *signInAuthority) showWho(ctx context.Context, t terminal, token *oauth2.Token) error {
	var who struct {
		Subject  string `json:"sub"`
		Username string `json:"preferred_username"`
	}
	scope, _ := token.Extra("scope").(string)
	if scope == "" || strings.Contains(" "+scope+" ", " openid ") {
		if err := a.userInfo(ctx, token, &who); err != nil {
			return err
		}
	}
	text := "Signed in to " + a.issuer
	if who.Subject != "" {
		text += " as " + strings.TrimSpace(who.Username+" ("+who.Subject+")")
	}
	_, err := fmt.Fprintln(t.out, printable(text)+".")
	return err
}

func (a *signInAuthority) userInfo(ctx context.Context, token *oauth2.Token, who any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.endpoints.UserInfo, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking who is signed in: %w", err)
	}
	token.SetAuthHeader(r)
	if err := a.answer(r, who); err != nil {
		return fmt.Errorf("asking who is signed in: %w", err)
	}
	return nil
}

// revoke ends the grant, or without a refresh token the access token (RFC 7009).
func (a *signInAuthority) revoke(ctx context.Context, token *oauth2.Token) error {
	text := token.RefreshToken
	if text == "" {
		text = token.AccessToken
	}
	body := url.Values{"token": {text}, "client_id": {a.oauth.ClientID}}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.endpoints.Revocation, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := a.answer(r, nil); err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	return nil
}

// printToken prints what the token endpoint answered (RFC 6749 §5.1).
func printToken(t terminal, token *oauth2.Token) error {
	answer := map[string]any{"access_token": token.AccessToken, "token_type": token.TokenType}
	if !token.Expiry.IsZero() {
		answer["expires_in"] = int64(time.Until(token.Expiry).Seconds())
	}
	for name, value := range map[string]any{
		"refresh_token": token.RefreshToken, "id_token": token.Extra("id_token"), "scope": token.Extra("scope"),
	} {
		if text, _ := value.(string); text != "" {
			answer[name] = text
		}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("printing the tokens: %w", err)
	}
	return printJSON(t.out, text)
}
