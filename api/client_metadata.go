package api

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Client authentication methods (RFC 7591 §2).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
	authNone  = "none"
)

// clientView is a client as administrators see it: no hash of a secret.
type clientView struct {
	ID string `json:"client_id"`
	events.ClientSettings
	// AuthMethod is how the client may authenticate at the token endpoint
	// (RFC 7591 §2); who may by Basic may by post as well.
	AuthMethod string       `json:"token_endpoint_auth_method"`
	Secrets    []secretView `json:"secrets,omitempty"`
	Disabled   bool         `json:"disabled"`
	Epoch      uint64       `json:"epoch"`
	CreatedAt  time.Time    `json:"created_at"`
	UpdatedAt  time.Time    `json:"updated_at"`
	// Secret is there once, when it was made.
	Secret string `json:"client_secret,omitempty"`
}

type secretView struct {
	ID string `json:"id"`
	// Secret is there once, when it was made.
	Secret string `json:"secret,omitempty"`
}

func newClientView(c fold.Client) clientView {
	v := clientView{
		ID: c.ID, ClientSettings: c.ClientSettings, Disabled: c.Disabled, Epoch: c.Epoch,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, AuthMethod: authBasic,
	}
	if c.Public {
		v.AuthMethod = authNone
	}
	for _, s := range c.Secrets {
		v.Secrets = append(v.Secrets, secretView{ID: s.ID})
	}
	return v
}

// clientBody is a client as an administrator sends it: as clientView, or with
// the text of scopes and the authentication method of RFC 7591 §2. What the
// server decides may be sent back, so that what was read can be edited and
// sent; it is ignored.
type clientBody struct {
	ID string `json:"client_id"`
	events.ClientSettings
	Scope      scopeList `json:"scope"`
	AuthMethod string    `json:"token_endpoint_auth_method"`

	Secrets   any `json:"secrets"`
	Disabled  any `json:"disabled"`
	Epoch     any `json:"epoch"`
	CreatedAt any `json:"created_at"`
	UpdatedAt any `json:"updated_at"`
}

// settings are those that the body asks for.
func (b clientBody) settings() (events.ClientSettings, *rules.Refusal) {
	s := b.ClientSettings
	s.Scope = b.Scope
	switch b.AuthMethod {
	case "":
	case authNone:
		s.Public = true
	case authBasic, authPost:
		if s.Public {
			return s, &rules.Refusal{Reason: rules.BadParameter, Parameter: "token_endpoint_auth_method", Detail: "of a public client"}
		}
	default:
		return s, &rules.Refusal{Reason: rules.BadParameter, Parameter: "token_endpoint_auth_method", Detail: "not known"}
	}
	return s, nil
}

// A scopeList is a list of scopes, also as one text with spaces between them.
type scopeList []string

// UnmarshalJSON reads either form.
func (l *scopeList) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*l = strings.Fields(text)
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}
