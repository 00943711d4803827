package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// tell says what an event that is known now did to the token, or nothing if it
// did nothing. end is when the token would have ended before it.
func (w *walk) tell(f events.Fact, s events.Subject, end time.Time) string {
	switch f := f.(type) {
	case events.GrantOpened, events.CodeRedeemed, events.RefreshTokenRotated, events.RefreshTokenRepeated, events.GrantRevoked:
		return w.tellGrant(f, s.ID())
	case events.AccessTokenIssued:
		return w.tellIssued(f.JTI, "to a client by its own credentials")
	case events.TokenExchanged:
		return w.tellIssued(f.JTI, "in exchange for another token")
	case events.AccessTokenRevoked:
		if i := w.token(f.JTI); i >= 0 {
			return w.the(i, "") + " was revoked alone"
		}
	case events.KeyDropped:
		if s.ID() == w.KID {
			return "the key that signed it was dropped: nothing that it signed verifies any more"
		}
	case events.LogRestored:
		return w.tellRestored()
	case events.ClientUpdated:
		if w.issued() && !w.end().Equal(end) {
			return "the settings of its client changed how long it lives"
		}
	}
	return w.tellHolder(f, s.ID())
}

// tellGrant tells what happened to a grant.
func (w *walk) tellGrant(f events.Fact, id string) string {
	i := slices.IndexFunc(w.Lineage, func(l Link) bool { return l.Grant.String() == id })
	if i < 0 {
		return ""
	}
	switch f := f.(type) {
	case events.GrantOpened:
		text := w.the(i, "grant") + " was opened"
		if i == 0 && f.Code != nil && w.Kind == KindCode {
			return text + ", and it was issued"
		}
		if f.Issued == nil {
			return text
		}
		if issued := w.tellIssuance(*f.Issued, "with it"); issued != "" {
			text += ", and " + issued
		}
		return text
	case events.CodeRedeemed:
		if w.Kind == KindCode {
			return "it was redeemed"
		}
		return w.tellIssuance(f.Issuance, "for the grant's code")
	case events.RefreshTokenRotated:
		return w.tellIssuance(f.Issuance, "by a refresh")
	case events.RefreshTokenRepeated:
		return w.tellRepeated(f)
	case events.GrantRevoked:
		return w.the(i, "grant") + " was revoked: " + revocation(f)
	}
	return ""
}

// tellIssuance tells of an issuance of a grant.
func (w *walk) tellIssuance(i events.Issuance, how string) string {
	switch {
	case w.Kind == KindGrant:
		return fmt.Sprintf("generation %d was issued %s", i.Generation, how)
	case w.Kind == KindAccessToken:
		return w.tellIssued(i.JTI, how)
	case w.Kind != KindRefreshToken:
	case i.Generation == w.Generation:
		return "it was issued " + how
	case i.Generation == w.Generation+1:
		return fmt.Sprintf("a refresh spent it, and generation %d took its place", i.Generation)
	}
	return ""
}

func (w *walk) tellRepeated(f events.RefreshTokenRepeated) string {
	switch {
	case w.Kind == KindGrant:
		return fmt.Sprintf("generation %d was answered again, to a retry", f.Generation)
	case w.Kind == KindRefreshToken && f.Generation == w.Generation, w.Kind == KindAccessToken && w.token(f.JTI) == 0:
		return "it was answered again, to a retry"
	case w.Kind == KindRefreshToken && f.Generation == w.Generation+1:
		return fmt.Sprintf("it came again in time for a retry, and was answered with generation %d again", f.Generation)
	}
	return ""
}

// tellRestored tells of a loss of the log if it has ended something.
func (w *walk) tellRestored() string {
	for i, l := range w.Lineage {
		if w.known.ended(l) == WhyLogRestored {
			return "a loss of the log was accepted, which ended " + w.the(i, "")
		}
	}
	return ""
}

func revocation(f events.GrantRevoked) string {
	switch f.Reason {
	case events.ReasonRefreshTokenReuse:
		return fmt.Sprintf("the spent refresh token of generation %d came again", f.Generation)
	case events.ReasonCodeReuse:
		return "its code came again after it was redeemed"
	case events.ReasonClientRequest:
		return "its client asked for it"
	case events.ReasonUserRequest:
		return "its user asked for it"
	case events.ReasonAdminRequest:
		return "an administrator asked for it"
	}
	return f.Reason
}

// tellIssued tells of an access token that is issued.
func (w *walk) tellIssued(jti, how string) string {
	if i := w.token(jti); i >= 0 {
		return w.the(i, "") + " was issued " + how
	}
	return ""
}

// tellHolder tells what happened to a client or a user, if the token is of before
// that.
func (w *walk) tellHolder(f events.Fact, id string) string {
	ofClient := slices.IndexFunc(w.Lineage, func(l Link) bool { return l.Client == id && l.ClientEpoch < w.known.clients[id].Epoch })
	ofUser := slices.IndexFunc(w.Lineage, func(l Link) bool { return l.User == id && l.UserEpoch < w.known.users[id].Epoch })
	for _, one := range []struct {
		is   bool
		i    int
		what string
		did  string
	}{
		{isA[events.ClientDisabled](f), ofClient, "client", "was disabled, which ended all that it had"},
		{isA[events.ClientEnabled](f), ofClient, "client", "was enabled again, which revived nothing"},
		{isA[events.ClientCutOff](f), ofClient, "client", "was cut off: all that it had ended"},
		{isA[events.UserDisabled](f), ofUser, "user", "was disabled, which ended all that was issued in the user's name"},
		{isA[events.UserEnabled](f), ofUser, "user", "was enabled again, which revived nothing"},
		{isA[events.UserCutOff](f), ofUser, "user", "was cut off: all that was issued in the user's name ended"},
		{isA[events.UserDeleted](f), ofUser, "user", "was deleted, for good"},
	} {
		if one.is && one.i >= 0 {
			return w.the(one.i, one.what) + " " + one.did
		}
	}
	return ""
}

func isA[F events.Fact](f events.Fact) bool {
	_, ok := f.(F)
	return ok
}

// token is the link of an access token, or -1.
func (w *walk) token(jti string) int {
	return slices.IndexFunc(w.Lineage, func(l Link) bool { return l.JTI != "" && l.JTI == jti })
}

// the names what belongs to a link, or its token itself.
func (w *walk) the(i int, what string) string {
	whose := "a token that it was made from"
	switch {
	case i == 0 && (what == "" || what == "grant" && w.Kind == KindGrant):
		return "it"
	case i == 0:
		return "its " + what
	case w.Lineage[i].Actor:
		whose = "its actor's token"
	}
	if what == "" {
		return whose
	}
	return "the " + what + " of " + whose
}
