package rules

import (
	"slices"

	"github.com/chancery-authority/chancery/projector/fold"
)

// CheckPostLogoutRedirect refuses to send a person anywhere but to a registered
// address, compared character by character (OpenID Connect RP-Initiated Logout
// 1.0 §3). An address without a client is nobody's.
func CheckPostLogoutRedirect(c fold.Client, uri string) *Refusal {
	switch {
	case uri == "":
		return nil
	case !c.Exists():
		return refuse(MissingParameter, "client_id", "nobody's redirect URI")
	case !slices.Contains(c.PostLogoutRedirectURIs, uri):
		return refuse(RedirectNotAllowed, "post_logout_redirect_uri", "not registered")
	}
	return nil
}
