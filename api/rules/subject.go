package rules

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"

	"github.com/chancery-authority/chancery/events"
)

// Subject types (OIDC Core §8).
const (
	SubjectPublic   = "public"
	SubjectPairwise = "pairwise"
)

// Sector is the host that a client shares with those that are told the same
// pairwise subjects (OIDC Core §8.1).
func Sector(s events.ClientSettings) string {
	if s.SectorIdentifier != "" {
		return s.SectorIdentifier
	}
	host, _ := redirectHost(s.RedirectURIs)
	return host
}

// redirectHost is the host of all redirect URIs, if they have one. An
// application's own scheme has none.
func redirectHost(uris []string) (host string, ok bool) {
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

var sectorPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

func checkSubjects(s events.ClientSettings) *Refusal {
	_, oneHost := redirectHost(s.RedirectURIs)
	switch {
	case s.SubjectType != "" && s.SubjectType != SubjectPublic && s.SubjectType != SubjectPairwise:
		return refuse(BadParameter, "subject_type", "want public or pairwise")
	case s.SectorIdentifier != "" && s.SubjectType != SubjectPairwise:
		return refuse(BadParameter, "sector_identifier", "only with pairwise subjects")
	case s.SectorIdentifier != "" && !sectorPattern.MatchString(s.SectorIdentifier):
		return refuse(BadParameter, "sector_identifier", "want a host, in lower case")
	case s.SubjectType == SubjectPairwise && s.SectorIdentifier == "" && !oneHost:
		return refuse(BadParameter, "sector_identifier", "required: the redirect URIs have not exactly one host")
	}
	return nil
}

// looksPairwise tells what could be a pairwise subject: 256 bits in base64url.
func looksPairwise(id string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(id)
	return err == nil && len(b) == 32
}
