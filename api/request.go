package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/chancery-authority/chancery/api/rules"
)

// maxBody bounds every request body.
const maxBody = 64 << 10

// A form is what a client sent in an application/x-www-form-urlencoded body.
// Parameters without a value count as omitted (RFC 6749 §3.2).
type form struct{ values url.Values }

func (f form) get(name string) string { return f.values.Get(name) }

// all is every value of a parameter that may be repeated.
func (f form) all(name string) []string {
	return slices.DeleteFunc(slices.Clone(f.values[name]), func(v string) bool { return v == "" })
}

// require is get, and a refusal if there is no value.
func (f form) require(name string) (string, *rules.Refusal) {
	v := f.get(name)
	if v == "" {
		return "", &rules.Refusal{Reason: rules.MissingParameter, Parameter: name}
	}
	return v, nil
}

// repeatable are the parameters that may be sent several times (RFC 8707 §2,
// RFC 8693 §2.1).
var repeatable = []string{"resource", "audience"}

// secretParameters are never taken from a query, where logs and histories
// would keep them (RFC 6749 §2.3.1).
var secretParameters = []string{
	"client_secret", "code", "code_verifier", "refresh_token", "token", "access_token", "assertion",
	"client_assertion", "subject_token", "actor_token", "device_code", "username", "password", "grant_type",
}

// parseForm reads the body of a token, introspection or revocation request.
// Body only, one content type, nothing twice: net/http's and Echo's form
// readers mix in the query and drop what they cannot read.
func parseForm(w http.ResponseWriter, r *http.Request) (form, *rules.Refusal) {
	if refusal := checkQuery(r, "client_id", "scope", "redirect_uri"); refusal != nil {
		return form{}, refusal
	}
	body, refusal := readBody(w, r, "application/x-www-form-urlencoded")
	if refusal != nil {
		return form{}, refusal
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return form{}, &rules.Refusal{Reason: malformedRequest, Detail: "form encoding"}
	}
	return form{values}, checkValues(values)
}

// parseQuery reads the query of a Login API call, whose parameters are there.
func parseQuery(r *http.Request) (form, *rules.Refusal) {
	if refusal := checkQuery(r); refusal != nil {
		return form{}, refusal
	}
	values, _ := url.ParseQuery(r.URL.RawQuery)
	return form{values}, checkValues(values)
}

// checkQuery refuses a query that cannot be read, or that holds a secret or
// one of the other names.
func checkQuery(r *http.Request, names ...string) *rules.Refusal {
	if r.URL.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &rules.Refusal{Reason: malformedRequest, Detail: "query encoding"}
	}
	for _, name := range append(names, secretParameters...) {
		if values.Has(name) {
			return &rules.Refusal{Reason: queryParameter, Parameter: name}
		}
	}
	return nil
}

func checkValues(values url.Values) *rules.Refusal {
	for name, vs := range values {
		if len(vs) > 1 && !slices.Contains(repeatable, name) {
			return &rules.Refusal{Reason: duplicateParameter, Parameter: known(name)}
		}
		for _, v := range vs {
			if !utf8.ValidString(v) || strings.ContainsFunc(v, isControl) {
				return &rules.Refusal{Reason: rules.BadParameter, Parameter: known(name), Detail: "control character or not UTF-8"}
			}
		}
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// known is a parameter's name if it looks like one; an error never repeats
// arbitrary text of the request.
func known(name string) string {
	if len(name) > 40 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return name
}

func readBody(w http.ResponseWriter, r *http.Request, contentType string) ([]byte, *rules.Refusal) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, hasCharset := params["charset"]
	if err != nil || media != contentType || r.Header.Get("Content-Encoding") != "" ||
		len(r.Header.Values("Content-Type")) > 1 ||
		hasCharset && !strings.EqualFold(charset, "utf-8") {
		return nil, &rules.Refusal{Reason: wrongContentType, Cause: "want " + contentType}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, &rules.Refusal{Reason: bodyTooLarge}
	}
	if err != nil {
		return nil, &rules.Refusal{Reason: malformedRequest, Detail: "body could not be read"}
	}
	return body, nil
}

// parseJSON reads a JSON object into v. Members that v does not know are
// refused if strict, and a member given twice always is, since two readers
// could take different ones.
func parseJSON(w http.ResponseWriter, r *http.Request, v any, strict bool) *rules.Refusal {
	body, refusal := readBody(w, r, "application/json")
	if refusal != nil {
		return refusal
	}
	if refusal := checkMembers(body); refusal != nil {
		return refusal
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v); err != nil {
		r := &rules.Refusal{Reason: malformedRequest, Detail: "JSON body"}
		if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
			r.Parameter = known(wrong.Field)
		}
		return r
	}
	return nil
}

// checkMembers refuses what is not one JSON object, and repeated members of
// it. Members are compared as encoding/json matches them, without case.
func checkMembers(body []byte) *rules.Refusal {
	malformed := &rules.Refusal{Reason: malformedRequest, Detail: "JSON body"}
	if !json.Valid(body) || !utf8.Valid(body) {
		return malformed
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return malformed
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return malformed
		}
		if seen[folded(name)] {
			return &rules.Refusal{Reason: duplicateParameter, Parameter: known(name)}
		}
		seen[folded(name)] = true
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return malformed
		}
	}
	return nil
}

// folded is a member's name as encoding/json compares it, to which the long s
// and the Kelvin sign are letters like others.
func folded(name string) string { return strings.ToUpper(strings.ToLower(name)) }
