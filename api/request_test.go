package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/rules"
)

const formType = "application/x-www-form-urlencoded"

func formRequest(query, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/oauth2/token"+query, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestParseForm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                     string
		query, contentType, body string
		reason                   rules.Reason
		parameter                string
	}{
		{"plain", "", formType, "grant_type=x&scope=a+b", "", ""},
		{"with charset", "", formType + "; charset=UTF-8", "a=b", "", ""},
		{"another charset", "", formType + "; charset=latin1", "a=b", wrongContentType, ""},
		{"no content type", "", "", "a=b", wrongContentType, ""},
		{"JSON", "", "application/json", `{"a":"b"}`, wrongContentType, ""},
		{"multipart", "", "multipart/form-data; boundary=x", "--x--", wrongContentType, ""},
		{"a list of types", "", formType + ", text/plain", "a=b", wrongContentType, ""},
		{"twice", "", formType, "code=a&code=a", duplicateParameter, "code"},
		{"twice, once empty", "", formType, "code=a&code=", duplicateParameter, "code"},
		{"unknown, twice", "", formType, "x=a&x=b", duplicateParameter, "x"},
		{"markup as a name, twice", "", formType, "<b>=a&<b>=b", duplicateParameter, ""},
		{"resource twice", "", formType, "resource=a&resource=b&audience=c&audience=d", "", ""},
		{"a secret in the query", "?client_secret=x", formType, "a=b", queryParameter, "client_secret"},
		{"the client in the query", "?client_id=x", formType, "a=b", queryParameter, "client_id"},
		{"an empty secret in the query", "?code", formType, "a=b", queryParameter, "code"},
		{"something else in the query", "?engine=unity&sdk=1", formType, "a=b", "", ""},
		{"a query that cannot be read", "?a=%zz", formType, "a=b", malformedRequest, ""},
		{"a body that cannot be read", "", formType, "a=%zz", malformedRequest, ""},
		{"semicolons", "", formType, "a=b;c=d", malformedRequest, ""},
		{"NUL", "", formType, "code=a%00b", rules.BadParameter, "code"},
		{"a line break", "", formType, "code=a%0d%0ab", rules.BadParameter, "code"},
		{"not UTF-8", "", formType, "code=%ff", rules.BadParameter, "code"},
		{"64 KiB", "", formType, "a=" + strings.Repeat("b", maxBody-2), "", ""},
		{"more", "", formType, "a=" + strings.Repeat("b", maxBody-1), bodyTooLarge, ""},
		{"20,000 parameters", "", formType, strings.Repeat("a&", 20000), malformedRequest, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, refusal := parseForm(httptest.NewRecorder(), formRequest(test.query, test.contentType, test.body))
			wantRefusal(t, refusal, test.reason, test.parameter)
		})
	}
}

func wantRefusal(t *testing.T, got *rules.Refusal, reason rules.Reason, parameter string) {
	t.Helper()
	switch {
	case got == nil && reason != "":
		t.Errorf("accepted, want %s", reason)
	case got != nil && (got.Reason != reason || got.Parameter != parameter):
		t.Errorf("refused with %v, want %q (%s)", got, reason, parameter)
	}
}

func TestEmptyParametersAreOmitted(t *testing.T) {
	t.Parallel()
	f, refusal := parseForm(httptest.NewRecorder(), formRequest("", formType, "code=&resource=&resource=a"))
	if refusal != nil {
		t.Fatal(refusal)
	}
	if _, refusal := f.require("code"); refusal == nil {
		t.Error("an empty code is no code")
	}
	if got := f.all("resource"); len(got) != 1 {
		t.Errorf("resource = %q", got)
	}
}

func TestParseJSON(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, contentType, body string
		reason                  rules.Reason
	}{
		{"an object", "application/json", `{"username":"a"}`, ""},
		{"with charset", "application/json; charset=utf-8", `{"username":"a"}`, ""},
		{"an unknown member", "application/json", `{"username":"a","fields":{"x":[1]}}`, ""},
		{"a form", formType, "username=a", wrongContentType},
		{"a member twice", "application/json", `{"username":"a","username":"b"}`, duplicateParameter},
		{"a member twice, in another case", "application/json", `{"username":"a","Username":"b"}`, duplicateParameter},
		{"a member twice, with a long s", "application/json", `{"password":"a","pa\u017fsword":"b"}`, duplicateParameter},
		{"an array", "application/json", `["a"]`, malformedRequest},
		{"two objects", "application/json", `{}{}`, malformedRequest},
		{"cut off", "application/json", `{"username":`, malformedRequest},
		{"a number for a text", "application/json", `{"username":1}`, malformedRequest},
		{"not UTF-8", "application/json", "{\"username\":\"\xff\"}", malformedRequest},
		{"too deep", "application/json", strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), bodyTooLarge},
		{"empty", "application/json", "", malformedRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			var body credentials
			r := formRequest("", test.contentType, test.body)
			refusal := parseJSON(httptest.NewRecorder(), r, &body, false)
			if refusal != nil {
				refusal.Parameter = ""
			}
			wantRefusal(t, refusal, test.reason, "")
		})
	}
}

func TestBasicCredentialIsFormDecoded(t *testing.T) {
	t.Parallel()
	const odd = "a-b_c.d~e+f/g%h:i é"
	r := formRequest("", formType, "")
	r.SetBasicAuth("client", url.QueryEscape(odd))
	cred, refusal := clientCredential(r, form{})
	if refusal != nil || cred.Secret != odd || !cred.Basic {
		t.Errorf("secret = %q, %v", cred.Secret, refusal)
	}
}

func TestClientCredential(t *testing.T) {
	t.Parallel()
	basic := func(r *http.Request) { r.SetBasicAuth("a", "s") }
	for _, test := range []struct {
		name   string
		header func(*http.Request)
		body   url.Values
		reason rules.Reason
	}{
		{"basic", basic, nil, ""},
		{"basic, and the same id", basic, url.Values{"client_id": {"a"}}, ""},
		{"basic, and another id", basic, url.Values{"client_id": {"b"}}, manyAuthentications},
		{"basic and post", basic, url.Values{"client_secret": {"s"}}, manyAuthentications},
		{"post", nil, url.Values{"client_id": {"a"}, "client_secret": {"s"}}, ""},
		{"id alone", nil, url.Values{"client_id": {"a"}}, ""},
		{"nothing", nil, nil, "client_authentication_failed"},
		{"secret alone", nil, url.Values{"client_secret": {"s"}}, rules.MissingParameter},
		{"bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, nil, "client_authentication_failed"},
		{"basic that is no base64", func(r *http.Request) { r.Header.Set("Authorization", "Basic %") }, nil, "client_authentication_failed"},
		{"basic with a bad escape", func(r *http.Request) { r.SetBasicAuth("a", "%zz") }, nil, "client_authentication_failed"},
		{"two headers", func(r *http.Request) { basic(r); r.Header.Add("Authorization", "Basic YTpi") }, nil, manyAuthentications},
		{"an assertion", basic, url.Values{"client_assertion": {"x"}}, "client_authentication_failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := formRequest("", formType, "")
			if test.header != nil {
				test.header(r)
			}
			_, refusal := clientCredential(r, form{test.body})
			if refusal != nil {
				refusal.Parameter = ""
			}
			wantRefusal(t, refusal, test.reason, "")
		})
	}
}

// FuzzParseForm looks for a body that is read in two ways: whatever is
// accepted has each parameter once and no control character.
func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a=b&a=c", "a=%00", "%61=b&a=c", "resource=x&resource=y", "a=b;c=d", "&&=&"} {
		f.Add("", seed)
		f.Add(seed, "a=b")
	}
	f.Fuzz(func(t *testing.T, query, body string) {
		r := formRequest("", formType, body)
		r.URL.RawQuery = query
		parsed, refusal := parseForm(httptest.NewRecorder(), r)
		if refusal != nil {
			if strings.ContainsAny(refusal.Parameter, "<>\"'&\r\n") {
				t.Errorf("the refusal echoes %q", refusal.Parameter)
			}
			return
		}
		for name, values := range parsed.values {
			if len(values) > 1 && name != "resource" && name != "audience" {
				t.Errorf("%q is there %d times", name, len(values))
			}
			if strings.ContainsAny(parsed.get(name), "\x00\r\n") {
				t.Errorf("%q has a control character", name)
			}
		}
		if q, err := url.ParseQuery(query); err == nil && q.Has("client_secret") {
			t.Error("a secret in the query was let through")
		}
	})
}
