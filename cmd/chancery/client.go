package main

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// client is the admin API's form of a client.
type client struct {
	ID string `json:"client_id"`
	events.ClientSettings
	Disabled  bool        `json:"disabled,omitempty"`
	Secrets   []secretRef `json:"secrets,omitempty"`
	CreatedAt time.Time   `json:"created_at,omitzero"`
	UpdatedAt time.Time   `json:"updated_at,omitzero"`
	// Secret is there once, in the answer to create.
	Secret string `json:"client_secret,omitempty"`
}

type secretRef struct {
	ID string `json:"id"`
}

func (c client) state() string {
	if c.Disabled {
		return "disabled"
	}
	return "enabled"
}

func (c client) kind() string {
	if c.Public {
		return "public"
	}
	return "confidential"
}

// print writes one client for a person.
func (c client) print(t terminal) error {
	window := "default"
	if c.RetryWindow != nil {
		window = (time.Duration(*c.RetryWindow) * time.Second).String()
	}
	ids := make([]string, len(c.Secrets))
	for i, s := range c.Secrets {
		ids[i] = s.ID
	}
	rows := [][]string{
		{"client_id", c.ID},
		{"name", cmp.Or(c.Name, "-")},
		{"type", c.kind()},
		{"state", c.state()},
		{"grant types", cmp.Or(strings.Join(c.GrantTypes, " "), "-")},
		{"redirect uris", cmp.Or(strings.Join(c.RedirectURIs, " "), "-")},
		{"post-logout redirect uris", cmp.Or(strings.Join(c.PostLogoutRedirectURIs, " "), "-")},
		{"back-channel logout uri", cmp.Or(c.BackchannelLogoutURI, "-")},
		{"allowed origins", cmp.Or(strings.Join(c.AllowedOrigins, " "), "-")},
		{"scope", cmp.Or(strings.Join(c.Scope, " "), "-")},
		{"audience", cmp.Or(strings.Join(c.Audience, " "), "-")},
		{"signing alg", cmp.Or(c.SigningAlg, "default")},
		{"require pkce", strconv.FormatBool(c.Public || c.RequirePKCE)},
		{"subject type", cmp.Or(c.SubjectType, "public")},
		{"sector identifier", cmp.Or(c.SectorIdentifier, "-")},
		{"introspect any", strconv.FormatBool(c.IntrospectAny)},
		{"password login", strconv.FormatBool(c.PasswordLogin)},
		{"token exchange", exchange(c.TokenExchange)},
		{"code lifetime", lifetime(c.CodeLifetime)},
		{"access token lifetime", lifetime(c.AccessTokenLifetime)},
		{"refresh idle", lifetime(c.RefreshIdleLifetime)},
		{"refresh absolute", lifetime(c.RefreshAbsoluteLifetime)},
		{"retry window", window},
		{"secrets", cmp.Or(strings.Join(ids, " "), "-")},
		{"created", moment(c.CreatedAt)},
		{"updated", moment(c.UpdatedAt)},
	}
	if c.Secret != "" {
		rows = append(rows, []string{"client_secret", c.Secret + shownOnce})
	}
	return table(t.out, rows...)
}

// exchange is what a client may do by token exchange, in a line.
func exchange(s events.ExchangeSettings) string {
	var may []string
	for _, m := range []struct {
		name string
		set  bool
	}{{"impersonation", s.Impersonation}, {"delegation", s.Delegation}, {"public", s.Public}} {
		if m.set {
			may = append(may, m.name)
		}
	}
	if len(may) == 0 {
		return "-"
	}
	may = append(may, "depth "+strconv.Itoa(max(1, s.MaxDepth)))
	if len(s.Audiences) > 0 {
		may = append(may, "to "+strings.Join(s.Audiences, " "))
	}
	if s.MayAct != "" {
		may = append(may, "then only "+s.MayAct)
	}
	return strings.Join(may, ", ")
}

// shownOnce goes with a secret on a terminal.
const shownOnce = "   (shown this once)"

// clientList is the admin API's list of clients.
type clientList struct {
	Clients []client `json:"clients"`
}
