package api_test

import (
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// placeholders are what stands in examples for earlier answers. Each is made
// once for a request, so that those that belong together do.
type placeholders struct {
	t     *testing.T
	r     *apitest.Replica
	known map[string]string
}

// fill is a value with every {{name}} in it replaced.
func (p *placeholders) fill(value any) any {
	switch v := value.(type) {
	case string:
		for {
			before, rest, found := strings.Cut(v, "{{")
			if !found {
				return v
			}
			name, after, _ := strings.Cut(rest, "}}")
			v = before + p.get(name) + after
		}
	case map[string]any:
		filled := maps.Clone(v)
		for name, one := range v {
			filled[name] = p.fill(one)
		}
		return filled
	case []any:
		filled := make([]any, len(v))
		for i, one := range v {
			filled[i] = p.fill(one)
		}
		return filled
	}
	return value
}

// authorization is the Authorization header of an example, or another one.
func (p *placeholders) authorization(e *openapi3.Example, other string) string {
	if header, ok := p.fill(e.Extensions["x-authorization"]).(string); ok {
		return header
	}
	return other
}

func (p *placeholders) get(name string) string {
	p.t.Helper()
	if _, ok := p.known[name]; !ok {
		p.make(name)
	}
	value, ok := p.known[name]
	if !ok {
		p.t.Fatalf("{{%s}} is not known", name)
	}
	return value
}

// make makes a placeholder, and those that come with it.
func (p *placeholders) make(name string) {
	p.t.Helper()
	t, r := p.t, p.r
	switch name {
	case "code":
		p.known[name] = r.Login(t, apitest.DemoWeb, "read offline_access")
	case "spa_code":
		p.known[name] = r.Login(t, apitest.DemoSPA, "read offline_access")
	case "openid_code":
		p.known[name] = r.Login(t, apitest.DemoSPA, "openid read")
	case "access_token", "refresh_token":
		tokens := r.Tokens(t, apitest.DemoWeb, "openid profile email read offline_access")
		p.known["access_token"], p.known["refresh_token"] = tokens.Text("access_token"), tokens.Text("refresh_token")
	case "device_code", "allowed_device_code":
		begun := wantOK(t, r.Post(t, deviceStartPath, apitest.DemoCLI, "scope", "read offline_access"))
		p.known[name] = begun.Text("device_code")
		if name != "device_code" {
			allowDevice(t, signedIn(t, r), begun)
		}
	case "browser", "pending":
		p.beginAuthorization()
	case "csrf":
		q := sentExample{method: http.MethodGet, url: r.URL + "/oauth2/login?request=" + url.QueryEscape(p.get("pending")), cookie: p.get("browser")}
		_, after, _ := strings.Cut(string(wantOK(t, apitest.Do(t, q.http(t))).Body), `name="csrf" value="`)
		p.known[name], _, _ = strings.Cut(after, `"`)
	case "session":
		cookie, _, _ := strings.Cut(r.LoginAnswer(t, apitest.DemoSPA, "read").Header.Get("Set-Cookie"), ";")
		p.known[name] = cookie
	case "token_without_openid":
		p.known[name] = r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	case "revoked_refresh_token":
		p.known[name] = r.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token")
		wantOK(t, r.Post(t, revokePath, apitest.DemoWeb, "token", p.known[name]))
	case "exchanger", "exchanger_secret", "exchanger_token":
		c := exchanger(t, r, nil, nil)
		p.known["exchanger"], p.known["exchanger_secret"], p.known["exchanger_token"] = c.ID, c.Secret, own(t, r, c)
	case "exchanged_token":
		c := apitest.Client{ID: p.get("exchanger"), Secret: p.get("exchanger_secret")}
		p.known[name] = wantOK(t, swap(t, r, c, p.get("access_token"), actingBy(p.get("exchanger_token"))...)).Text("access_token")
	case "grant":
		p.known[name] = r.GrantOf(t, p.get("access_token"))
	case "unknown_grant":
		p.known[name] = unknownGrant(p.get("grant"))
	case "revocation":
		p.known[name] = begin(t, r, map[string]any{"client": p.get("client")}).ID
	case "client":
		p.known[name] = register(t, r, map[string]any{}).ID
	case "new_client":
		p.known[name] = "new-" + register(t, r, map[string]any{}).ID[:12]
	case "secret_id":
		p.known[name] = r.Admin(t, http.MethodPost, "/clients/"+p.get("client")+"/secrets", nil).Text("id")
	case "username":
		p.known[name] = register(t, r, map[string]any{}).ID
	case "user":
		p.known[name] = p.newUser(p.get("username"))
	case "signed_in_pending":
		v := r.NewVisitor(t)
		page := v.Submit(v.Open(authorizeURL(register(t, r, map[string]any{}))), "username", authority.DemoUser, "password", authority.DemoPassword)
		wantPage(t, page, http.StatusOK, "Allow access?")
		p.known[name] = page.Fields.Get("request")
	case "session_id":
		p.get("user")
		embeddedtest.Eventually(t, "the session to be listed", func() bool {
			listed, _ := wantOK(t, r.Admin(t, http.MethodGet, "/users/"+p.get("user")+"/sessions", nil)).JSON["sessions"].([]any)
			if len(listed) > 0 {
				p.known[name], _ = listed[0].(map[string]any)["session_id"].(string)
			}
			return len(listed) > 0
		})
	case "signed_stream":
		stream := r.Log.Realm().RegistryStream()
		embeddedtest.Eventually(t, "a checkpoint of "+stream, func() bool {
			listed, _ := wantOK(t, r.Admin(t, http.MethodGet, "/checkpoints", nil)).JSON["checkpoints"].([]any)
			return slices.ContainsFunc(listed, func(one any) bool { return member(one, "stream") == stream })
		})
		p.known[name] = stream
	case "new_key", "key_in_use", "older_key":
		p.known[name] = p.keyFor(name)
	case "model", "built_model", "compared_model", "switched_model":
		p.known[name] = "MAIN_EVENTS_0"
		p.rebuildFor(name, p.known[name])
	case "disabled_username":
		wantOK(t, r.Admin(t, http.MethodPost, "/users/"+p.newUser(p.get("username"))+"/disable", nil))
		p.known[name] = p.get("username")
	}
}

// unknownGrant is the id of a grant like another one, in the same partition.
func unknownGrant(id string) string {
	last := "0"
	if strings.HasSuffix(id, last) {
		last = "1"
	}
	return id[:len(id)-1] + last
}

// newUser registers a user and gives the id.
func (p *placeholders) newUser(name string) string {
	p.t.Helper()
	body := map[string]string{"username": name, "password": "oh-my-ears", "email": "rabbit@example.com"}
	code := apitest.CodeOf(p.t, p.r.JSON(p.t, registerPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), body))
	return subject(p.t, wantOK(p.t, p.r.Exchange(p.t, apitest.DemoSPA, code)))
}

// beginAuthorization has a browser come to the authorization endpoint.
func (p *placeholders) beginAuthorization() {
	t, r := p.t, p.r
	t.Helper()
	q := sentExample{method: http.MethodGet, url: r.URL + "/oauth2/authorize?" + apitest.CodeQuery("demo-spa", "read").Encode()}
	a := apitest.Do(t, q.http(t))
	next, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.Status != http.StatusSeeOther {
		t.Fatalf("authorize: %d %s", a.Status, a.Body)
	}
	p.known["pending"] = next.Query().Get("request")
	p.known["browser"], _, _ = strings.Cut(a.Header.Get("Set-Cookie"), ";")
}

// rebuildFor rebuilds a read model as far as the name of a placeholder says.
func (p *placeholders) rebuildFor(name, model string) {
	t, r := p.t, p.r
	t.Helper()
	embeddedtest.Eventually(t, "nothing is beside it", func() bool {
		return operate(t, r, model, "drop", nil).Text("error_description") == "nothing is built beside the live read model: rebuild first"
	})
	if name == "model" {
		return
	}
	operate(t, r, model, "rebuild", map[string]any{"rate": 0})
	projectionIs(t, r, model, "built", func(p any) bool { return member(p, "beside", "state") == "built" })
	if name == "built_model" {
		return
	}
	operate(t, r, model, "diff", nil)
	projectionIs(t, r, model, "compared", func(p any) bool { return member(p, "diff", "same") == true })
	if name == "switched_model" {
		wantOK(t, operate(t, r, model, "switch", nil))
	}
}

// keyFor is a signing key as the name of a placeholder says: a new one, the one in
// use, or one that another has followed.
func (p *placeholders) keyFor(name string) string {
	t, r := p.t, p.r
	if name == "key_in_use" {
		return keyInUse(t, r, "")
	}
	older := keyInUse(t, r, "")
	made := r.Admin(t, http.MethodPost, "/keys", map[string]any{"use": "sig", "alg": "ES256"})
	if name == "new_key" || made.Status != http.StatusCreated {
		return made.Text("id")
	}
	// By a command it would be waited for until all replicas know it.
	subject := r.Log.Realm().KeySubject(made.Text("id"))
	announced, _, err := r.Log.Last(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	e := events.Event{ID: rand.Text(), Source: apitest.Issuer, Time: time.Now(), Subject: subject, Fact: events.KeyActivated{}}
	if _, err := r.Log.Append(t.Context(), eventlog.Unit{Event: e, Expect: announced.Seq}); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Eventually(t, "the new key is in use", func() bool { return keyStates(t, r)[made.Text("id")] == "active" })
	return older
}
