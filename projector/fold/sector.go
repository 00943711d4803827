package fold

import (
	"net/url"
	"strings"

	"github.com/chancery-authority/chancery/events"
)

// SubjectPairwise is the subject type of clients that are not told the ids of users
// (OIDC Core §8).
const SubjectPairwise = "pairwise"

// Sector is the host that a client shares with those that are told the same
// pairwise subjects (OIDC Core §8.1).
func Sector(s events.ClientSettings) string {
	if s.SectorIdentifier != "" {
		return s.SectorIdentifier
	}
	host, _ := RedirectHost(s.RedirectURIs)
	return host
}

// RedirectHost is the host of all redirect URIs, if they have one. An
// application's own scheme has none.
func RedirectHost(uris []string) (host string, ok bool) {
	for i, raw := range uris {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" {
			return "", false
		}
		if i > 0 && strings.ToLower(u.Hostname()) != host {
			return "", false
		}
		host = strings.ToLower(u.Hostname())
	}
	return host, host != ""
}
