package rules

import (
	"encoding/base64"
	"regexp"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Subject types (OIDC Core §8).
const (
	SubjectPublic   = "public"
	SubjectPairwise = fold.SubjectPairwise
)

var sectorPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

func checkSubjects(s events.ClientSettings) *Refusal {
	_, oneHost := fold.RedirectHost(s.RedirectURIs)
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
