package pages

import "slices"

// A Problem is why a form is shown again.
type Problem string

// The problems there are words for.
const (
	WrongCredentials Problem = "wrong_credentials" //nolint:gosec // the name of a problem
	TooManyAttempts  Problem = "too_many_attempts"
	AccountDisabled  Problem = "account_disabled"
	UsernameInvalid  Problem = "username_invalid"
	UsernameTaken    Problem = "username_taken"
	EmailInvalid     Problem = "email_invalid"
	PasswordInvalid  Problem = "password_invalid"
	CodeUnknown      Problem = "code_unknown"
)

// Field is the id and name of the field that a problem is about. Problems with
// the whole form are said at its first field.
func (p Problem) Field() string {
	switch p {
	case EmailInvalid:
		return "email"
	case PasswordInvalid:
		return "password"
	case CodeUnknown:
		return "user_code"
	default:
		return "username"
	}
}

// Wrong is the problem of a field, empty if there is none.
func (f Form) Wrong(field string) Problem {
	for _, p := range f.Problems {
		if p.Field() == field {
			return p
		}
	}
	return ""
}

// Focus reports whether a field is where a person goes on: the first with a
// problem, or else the first that is still empty. Fields come in pairs of name
// and value.
func (f Form) Focus(field string, fields ...string) bool {
	for pair := range slices.Chunk(fields, 2) {
		if name, value := pair[0], pair[1]; f.Wrong(name) != "" || len(f.Problems) == 0 && value == "" {
			return name == field
		}
	}
	return false
}

// A Notice is what the account page says has just been done.
type Notice string

// The notices there are words for. The zero value is none.
const (
	SessionEnded       Notice = "session_ended"
	ApplicationRevoked Notice = "application_revoked"
)

// A Failure is why there is nothing to go on with.
type Failure string

// The failures there are words for.
const (
	// UnknownClient, BadRedirect and BadRequest are a client's mistakes.
	UnknownClient Failure = "unknown_client"
	BadRedirect   Failure = "bad_redirect"
	BadRequest    Failure = "bad_request"
	// Expired is a pending request that is over, used or never was.
	Expired Failure = "expired"
	// ForgedForm is a form without the token that was given with it.
	ForgedForm Failure = "forged_form"
	TooMany    Failure = "too_many"
	NotFound   Failure = "not_found"
	// Unavailable is over by itself; ServerError is all else.
	Unavailable Failure = "unavailable"
	ServerError Failure = "server_error"
)
