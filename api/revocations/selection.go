// Package revocations ends what was issued, by whom, to whom and when: it says
// what a revocation would end, and does it as a job that outlives its process.
package revocations

import (
	"net/netip"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
)

// maxText bounds what is no id of ours, in bytes.
const maxText = 128

// A Selection is everything that was issued of which all hold that are given.
type Selection struct {
	Client string `json:"client,omitempty"`
	User   string `json:"user,omitempty"`
	// KID is the key that signed.
	KID   string `json:"kid,omitempty"`
	Grant string `json:"grant,omitempty"`
	JTI   string `json:"jti,omitempty"`
	// Address is the one that it was issued to.
	Address netip.Addr `json:"address,omitzero"`
	// Since and Until bound the log's time, Until exclusively.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Check refuses a selection of nothing in particular, and what cannot be.
func (s Selection) Check() *rules.Refusal {
	bad := func(parameter string) *rules.Refusal {
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: parameter}
	}
	_, err := events.ParseGrantID(s.Grant)
	switch {
	case s == Selection{}:
		return &rules.Refusal{Reason: rules.MissingParameter, Parameter: "selection"}
	case s.Client != "" && !events.ValidID(s.Client):
		return bad("client")
	case s.User != "" && !events.ValidID(s.User):
		return bad("user")
	case s.KID != "" && !events.ValidID(s.KID):
		return bad("kid")
	case s.Grant != "" && err != nil:
		return bad("grant")
	case len(s.JTI) > maxText:
		return bad("jti")
	case s.Address.IsValid() && s.Client == "" && s.User == "" && s.Grant == "" && s.JTI == "" && s.Since.IsZero():
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "address", Cause: "needs one of client, user, grant, jti or since"}
	case !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until):
		return bad("until")
	}
	return nil
}

// Kinds of what is cut off.
const (
	cutOffClient = "client"
	cutOffUser   = "user"
)

// cutOff is what one event ends all of, a client or a user, or empty where the
// selection is less than that.
func (s Selection) cutOff() string {
	switch s {
	case Selection{Client: s.Client}:
		return cutOffClient
	case Selection{User: s.User}:
		return cutOffUser
	}
	return ""
}

// ofGrant are the events whose grant is ended, and ofToken those whose token is.
var (
	ofGrant = []string{events.GrantOpened{}.Type(), events.CodeRedeemed{}.Type(), events.RefreshTokenRotated{}.Type()}
	ofToken = []string{events.AccessTokenIssued{}.Type(), events.TokenExchanged{}.Type()}
)

// query finds the events that issued what is selected, but for the address.
func (s Selection) query() projector.AuditQuery {
	return projector.AuditQuery{
		Types:  append(append([]string(nil), ofGrant...), ofToken...),
		Client: s.Client, User: s.User, KID: s.KID, Grant: s.Grant, JTI: s.JTI, Since: s.Since, Until: s.Until,
	}
}
