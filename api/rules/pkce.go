package rules

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"regexp"
)

// ChallengeMethodS256 is the only code_challenge_method there is here: plain
// protects nothing that the challenge itself does not give away (RFC 9700
// §2.1.1).
const ChallengeMethodS256 = "S256"

var (
	verifierPattern  = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`) // RFC 7636 §4.1
	challengePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)       // base64url of 32 bytes
)

// ParseChallenge checks code_challenge and code_challenge_method as sent. Both
// empty is no challenge. A missing method means plain (RFC 7636 §4.3), which
// is refused.
func ParseChallenge(challenge, method string) *Refusal {
	switch {
	case challenge == "" && method == "":
		return nil
	case challenge == "":
		return refuse(MissingParameter, "code_challenge", "")
	case method != ChallengeMethodS256:
		return refuse(BadParameter, "code_challenge_method", "only S256 is known")
	case !challengePattern.MatchString(challenge):
		return refuse(BadParameter, "code_challenge", "not base64url of 32 bytes")
	}
	return nil
}

// ParseVerifier checks the form of code_verifier.
func ParseVerifier(verifier string) *Refusal {
	if verifier != "" && !verifierPattern.MatchString(verifier) {
		return refuse(BadParameter, "code_verifier", "want 43 to 128 unreserved characters")
	}
	return nil
}

// verifierMatches reports whether the verifier is present exactly if the
// challenge was, and matches it (RFC 7636 §4.6, RFC 9700 §4.8.2).
func verifierMatches(challenge, verifier string) bool {
	if challenge == "" || verifier == "" {
		return challenge == verifier
	}
	sum := sha256.Sum256([]byte(verifier))
	computed := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(computed), []byte(challenge)) == 1
}
