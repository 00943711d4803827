package fold

import (
	"slices"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// Outcomes of what is audited.
const (
	// OutcomeDone is that of everything that changed something or gave somebody
	// something, a revocation too.
	OutcomeDone = "done"
	// OutcomeRefused is that of requests that got nothing.
	OutcomeRefused = "refused"
	// OutcomeFailed is that of what was tried and given up.
	OutcomeFailed = "failed"
)

// An Audit is what one event is found by: who, what, when, by which request and
// how it ended. It has ids and fixed texts alone, nothing of a person.
type Audit struct {
	// Seq is the event's sequence in its stream.
	Seq uint64 `json:"seq"`
	// Time is the log's time of the event: the newest of the server's timestamps
	// up to its own. In a stream it never goes back, whatever the servers' clocks
	// do.
	Time time.Time `json:"time"`
	// Type is the event's, with its version.
	Type string `json:"type"`
	// Outcome is one of those above, and Reason why somebody was
	// refused, or why a grant, a session or all of a user's ended.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	// Count is how many requests a refusal stands for, else 0.
	Count int64 `json:"count,omitempty"`
	// Actor is who acted, as in events.Meta, and Request the HTTP request.
	Actor   string `json:"actor,omitempty"`
	Request string `json:"request,omitempty"`
	// Client is the client that the event is about or was issued to, User the
	// resource owner's id.
	Client  string `json:"client,omitempty"`
	User    string `json:"user,omitempty"`
	Grant   string `json:"grant,omitempty"`
	Session string `json:"session,omitempty"`
	// JTI is the access token's, KID the key that signed it or that the event is
	// about.
	JTI string `json:"jti,omitempty"`
	KID string `json:"kid,omitempty"`
	// Expires is when the access token expires, in Unix seconds, where the event
	// issued one, and Parent the jti of the one that it was exchanged for.
	Expires int64  `json:"exp,omitempty"`
	Parent  string `json:"parent,omitempty"`
	// Origin is the keyed hash of the address that asked, as the event has it.
	Origin string `json:"origin,omitempty"`
}

// AuditOf is what r is found by, as far as r itself says. Time is the server's
// timestamp of r. An event of a type that it does not know is ErrPoison.
func AuditOf(r events.Recorded) (Audit, error) {
	a := Audit{
		Seq: r.Seq, Time: r.Stored, Type: r.Fact.Type(), Outcome: OutcomeDone,
		Actor: r.Meta.Actor, Request: r.Meta.Request,
	}
	a.place(r.Subject)
	if !a.ofGrant(r.Fact) && !a.ofToken(r.Fact) && !a.ofOthers(r.Fact) && !a.ofRegistry(r.Fact) {
		return Audit{}, poison(r, "not known to the audit")
	}
	return a, nil
}

// place fills in what the subject is about.
func (a *Audit) place(s events.Subject) {
	switch s.Kind() {
	case "grant":
		a.Grant = s.ID()
	case "session":
		a.Session = s.ID()
	case "client", "issued":
		a.Client = s.ID()
	case "user":
		a.User = s.ID()
	case "key":
		a.KID = s.ID()
	case "consent":
		_, both, _ := strings.Cut(string(s), ".consent.")
		a.User, a.Client, _ = strings.Cut(both, ".")
	}
}

// ofGrant fills in what an event on a grant's subject says.
func (a *Audit) ofGrant(f events.Fact) bool {
	switch f := f.(type) {
	case events.GrantOpened:
		a.Client, a.User, a.Session = f.Client, f.User, idText(f.Session)
		if f.Issued != nil {
			a.issued(*f.Issued)
		}
	case events.CodeRedeemed:
		a.issued(f.Issuance)
	case events.RefreshTokenRotated:
		a.issued(f.Issuance)
	case events.RefreshTokenRepeated:
		a.JTI, a.KID = f.JTI, f.KID
	case events.GrantRevoked:
		a.Reason = f.Reason
	default:
		return false
	}
	return true
}

func (a *Audit) issued(i events.Issuance) {
	a.JTI, a.KID, a.Origin, a.Expires = i.JTI, i.KID, i.Origin, i.Expires
}

// ofToken fills in what an event on a token outside a grant's rotation says.
func (a *Audit) ofToken(f events.Fact) bool {
	switch f := f.(type) {
	case events.AccessTokenIssued:
		a.accessToken(f)
	case events.TokenExchanged:
		a.accessToken(f.AccessTokenIssued)
		a.Grant, a.User, a.Parent = idText(f.Grant), f.User, parent(f.Chain)
		if a.User == "" && !f.Grant.IsZero() {
			a.User = f.Subject
		}
	case events.AccessTokenRevoked:
		a.JTI, a.Client = f.JTI, f.Client
	default:
		return false
	}
	return true
}

func (a *Audit) accessToken(f events.AccessTokenIssued) {
	a.Client, a.JTI, a.KID, a.Origin, a.Expires = f.Client, f.JTI, f.KID, f.Origin, f.Expires
}

// ofOthers fills in what a partition's other events say.
func (a *Audit) ofOthers(f events.Fact) bool {
	switch f := f.(type) {
	case events.SessionOpened:
		a.User = f.User
	case events.SessionEnded:
		a.Session, a.User, a.Reason = idText(f.Session), f.User, f.Reason
	case events.LogoutDelivered:
		a.logout(f.LogoutOutcome)
	case events.LogoutFailed:
		a.logout(f.LogoutOutcome)
		a.Outcome = OutcomeFailed
	case events.GrantRevocationMarked:
		a.Grant = idText(f.Grant)
	case events.RequestRefused:
		a.Outcome, a.Reason, a.Count = OutcomeRefused, f.Reason, f.Count
		a.Client, a.Grant, a.User = f.Client, idText(f.Grant), f.User
	case events.LogRestored:
		a.Reason = events.ReasonLogRestored
	case events.FeedTicked:
	default:
		return false
	}
	return true
}

func (a *Audit) logout(f events.LogoutOutcome) {
	a.Session, a.Client, a.User = idText(f.Session), f.Client, f.User
}

// ofRegistry knows the events of the registry. Whom they are about, their
// subject says.
func (a *Audit) ofRegistry(f events.Fact) bool {
	switch f := f.(type) {
	case events.UserCutOff:
		a.Reason = f.Reason
	case events.ClientCutOff:
		a.Reason = f.Reason
	case events.ClientRegistered, events.ClientUpdated, events.ClientDisabled, events.ClientEnabled,
		events.ClientSecretAdded, events.ClientSecretDropped,
		events.UserRegistered, events.UserDisabled, events.UserEnabled, events.UserDeleted, events.UserErased,
		events.ConsentGiven, events.ConsentWithdrawn,
		events.KeyAnnounced, events.KeyActivated, events.KeyRetired, events.KeyDropped,
		events.PartitionAdded:
	default:
		return false
	}
	return true
}

// Ancestors are the jtis of all tokens that r's was made from, in no order and
// once each: subject tokens and actor tokens, at any depth.
func Ancestors(r events.Recorded) []string {
	f, ok := r.Fact.(events.TokenExchanged)
	if !ok {
		return nil
	}
	var jtis []string
	for _, a := range f.Chain {
		if !slices.Contains(jtis, a.JTI) {
			jtis = append(jtis, a.JTI)
		}
	}
	return jtis
}

// Within fills in what the event that opened a's grant says and a's own does
// not: whose grant it is, at which client, of which session. The client of a
// refusal is the one that asked, which need not be the grant's.
func (a Audit) Within(opening Audit) Audit {
	if a.Client == "" && a.Outcome != OutcomeRefused {
		a.Client = opening.Client
	}
	if a.User == "" {
		a.User = opening.User
	}
	if a.Session == "" {
		a.Session = opening.Session
	}
	return a
}

// idText is empty for no id.
func idText(id events.GrantID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
