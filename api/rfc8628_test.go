package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/oauth2"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/limit"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const (
	devicePath      = "/oauth2/device"
	deviceStartPath = "/oauth2/device_authorization"
	deviceScope     = "openid profile read offline_access"
)

// beginDevice is what a device is told in the beginning.
func beginDevice(t testing.TB, r *apitest.Replica, c apitest.Client) apitest.Answer {
	t.Helper()
	scope := deviceScope
	if c != apitest.DemoCLI {
		scope = "read"
	}
	return wantOK(t, apitest.Settled(t, func() apitest.Answer {
		return r.Post(t, deviceStartPath, c, "scope", scope)
	}))
}

func pollWith(code string) []string {
	return []string{"grant_type", rules.GrantDeviceCode, "device_code", code}
}

func pollDevice(t testing.TB, r *apitest.Replica, c apitest.Client, begun apitest.Answer) apitest.Answer {
	t.Helper()
	return r.Token(t, c, pollWith(begun.Text("device_code"))...)
}

// signedIn is a person who signed in on the way to the page for devices.
func signedIn(t testing.TB, r *apitest.Replica) *apitest.Visitor {
	t.Helper()
	v := r.NewVisitor(t)
	wantPage(t, signIn(t, v, v.Open(devicePath)), http.StatusOK, "Connect a device")
	return v
}

// confirm is the page that asks about a device.
func confirm(t testing.TB, v *apitest.Visitor, userCode string) apitest.Page {
	t.Helper()
	p := v.Submit(v.Open(devicePath), "user_code", userCode)
	wantPage(t, p, http.StatusOK, "Connect this device?")
	return p
}

func allowDevice(t testing.TB, v *apitest.Visitor, begun apitest.Answer) {
	t.Helper()
	wantPage(t, v.Submit(confirm(t, v, begun.Text("user_code")), "decision", "allow"), http.StatusOK, "Your device is connected")
}

// TestDeviceFormAgain sends the form that allowed a device once more, after the
// person has revoked the application.
func TestDeviceFormAgain(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := registerAs(t, r, "tv", map[string]any{"grant_types": []string{rules.GrantDeviceCode}})
	begun := beginDevice(t, r, c)
	v := signedIn(t, r)
	p := confirm(t, v, begun.Text("user_code"))
	for range 2 { // the same answer again is no error
		wantPage(t, v.Submit(p, "decision", "allow"), http.StatusOK, "Your device is connected")
	}
	wantPage(t, v.Submit(openAccount(t, v), "revoke_application", "tv"), http.StatusOK, "Your account")
	if again := v.Submit(p, "decision", "allow"); again.Status != http.StatusBadRequest {
		t.Errorf("shows %d %q", again.Status, again.Heading())
	}
	wantError(t, pollDevice(t, r, c, begun), http.StatusBadRequest, "invalid_grant")
	user, err := r.Server.Authority().Account(t.Context(), mustUser(t, r, subject(t, r.Tokens(t, apitest.DemoSPA, "read"))))
	if err != nil || slices.ContainsFunc(user.Applications, func(a authority.Application) bool { return a.Client.ID == "tv" }) {
		t.Errorf("left: %+v, %v", user.Applications, err)
	}
}

// TestDeviceAuthorization is RFC 8628 from the beginning to a refresh.
func TestDeviceAuthorization(t *testing.T) {
	t.Parallel()
	r := single(t)
	begun := beginDevice(t, r, apitest.DemoCLI)
	page := apitest.Issuer + devicePath
	if begun.Text("verification_uri") != page || begun.Text("verification_uri_complete") != page+"?user_code="+begun.Text("user_code") ||
		begun.JSON["expires_in"] != 600.0 || begun.JSON["interval"] != 5.0 || begun.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("begun: %s", begun.Body)
	}
	wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")

	v := r.NewVisitor(t)
	p := signIn(t, v, v.Open(strings.TrimPrefix(begun.Text("verification_uri_complete"), apitest.Issuer)))
	wantPage(t, p, http.StatusOK, "Connect a device")
	if p.Fields.Get("user_code") != begun.Text("user_code") {
		t.Errorf("filled in: %v", p.Fields)
	}
	p = v.Submit(p)
	wantPage(t, p, http.StatusOK, "Connect this device?")
	for _, shown := range []string{begun.Text("user_code"), "Demo command line", "demo-cli", authority.DemoUser, "<code>read</code>"} {
		if !strings.Contains(string(p.Body), shown) {
			t.Errorf("%s is not shown: %s", shown, p.Body)
		}
	}
	wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
	wantPage(t, v.Submit(p, "decision", "allow"), http.StatusOK, "Your device is connected")
	wantPage(t, v.Submit(p, "decision", "allow"), http.StatusOK, "Your device is connected")

	tokens := wantOK(t, pollDevice(t, r, apitest.DemoCLI, begun))
	if tokens.Text("scope") != deviceScope || tokens.Text("refresh_token") == "" || tokens.Text("id_token") == "" {
		t.Errorf("tokens %s", tokens.Body)
	}
	if claims := apitest.Claims(t, tokens.Text("id_token")); claims["sid"] != nil || claims["auth_time"] == nil {
		t.Errorf("ID token %v", claims)
	}
	wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "invalid_grant")
	second := wantOK(t, r.Refresh(t, apitest.DemoCLI, tokens.Text("refresh_token")))
	wantOK(t, userInfo(t, r, http.MethodGet, second.Text("access_token")))
	wantEvents(t, r, grantOf(t, tokens), opened, redeemed, rotated)

	t.Run("answered already", func(t *testing.T) {
		wantPage(t, v.Submit(v.Open(devicePath), "user_code", begun.Text("user_code")), http.StatusUnprocessableEntity, "Connect a device")
		wantPage(t, v.Submit(p, "decision", "deny"), http.StatusBadRequest, "This page is no longer open")
	})
	t.Run("is asked again, although agreed", func(t *testing.T) {
		again := beginDevice(t, r, apitest.DemoCLI)
		allowDevice(t, v, again)
		wantOK(t, pollDevice(t, r, apitest.DemoCLI, again))
	})
	t.Run("after the client refreshed, a poll is a thief's", func(t *testing.T) {
		wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "invalid_grant")
		wantEvents(t, r, grantOf(t, tokens), opened, redeemed, rotated, revoked)
	})
}

// TestDeviceInLoginAPI polls in the other dialect.
func TestDeviceInLoginAPI(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := signedIn(t, r)
	poll := func(begun apitest.Answer) apitest.Answer {
		return r.Post(t, loginIssuePath, apitest.DemoCLI, pollWith(begun.Text("device_code"))...)
	}
	begun, denied := beginDevice(t, r, apitest.DemoCLI), beginDevice(t, r, apitest.DemoCLI)
	wantLoginError(t, poll(begun), http.StatusBadRequest, "0")
	allowDevice(t, v, begun)
	tokens := wantOK(t, poll(begun))
	if tokens.Text("token_type") != "bearer" || claim(t, tokens, "type") != "user" || tokens.Text("refresh_token") == "" {
		t.Errorf("tokens %s", tokens.Body)
	}
	wantLoginError(t, poll(begun), http.StatusBadRequest, "010-023")
	wantPage(t, v.Submit(confirm(t, v, denied.Text("user_code")), "decision", "deny"), http.StatusOK, "Access was denied")
	wantLoginError(t, poll(denied), http.StatusUnauthorized, "010-026")
}

// TestDeviceDenied has the device hear of it, and nobody change it.
func TestDeviceDenied(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := signedIn(t, r)
	begun := beginDevice(t, r, apitest.DemoCLI)
	p := confirm(t, v, begun.Text("user_code"))
	for range 2 {
		wantPage(t, v.Submit(p, "decision", "deny"), http.StatusOK, "Access was denied")
		wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "access_denied")
	}
	wantPage(t, v.Submit(p, "decision", "allow"), http.StatusBadRequest, "This page is no longer open")
	wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "access_denied")
}

// TestDeviceAsksForNothing it may have, and gets no more, whatever the client may
// have otherwise.
func TestDeviceAsksForNothing(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := signedIn(t, r)
	c := register(t, r, map[string]any{"grant_types": []string{rules.GrantDeviceCode}})
	begun := wantOK(t, r.Post(t, deviceStartPath, c, "scope", "offline_access"))
	p := confirm(t, v, begun.Text("user_code"))
	if strings.Contains(string(p.Body), "<code>read</code>") {
		t.Errorf("shown: %s", p.Body)
	}
	wantPage(t, v.Submit(p, "decision", "allow"), http.StatusOK, "Your device is connected")
	if tokens := wantOK(t, pollDevice(t, r, c, begun)); tokens.Text("scope") != "" {
		t.Errorf("tokens %s", tokens.Body)
	}
}

func TestDeviceRequestIsRefused(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, test := range []struct {
		name   string
		client apitest.Client
		pairs  []string
		status int
		code   string
	}{
		{"no client", apitest.Client{}, nil, 401, "invalid_client"},
		{"a wrong secret", apitest.Client{ID: "demo-web", Secret: "wrong"}, nil, 401, "invalid_client"},
		{"a client without the grant", apitest.DemoWeb, nil, 400, "unauthorized_client"},
		{"a scope beyond", apitest.DemoCLI, []string{"scope", "admin"}, 400, "invalid_scope"},
		{"a target beyond", apitest.DemoCLI, []string{"resource", "https://elsewhere.example"}, 400, "invalid_target"},
		{"twice the same", apitest.DemoCLI, []string{"scope", "read", "scope", "read"}, 400, "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, r.Post(t, deviceStartPath, test.client, test.pairs...), test.status, test.code)
		})
	}
	t.Run("too many", func(t *testing.T) {
		r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.DeviceLimit = anHour }})
		for range anHour.Burst {
			beginDevice(t, r, apitest.DemoCLI)
		}
		wantError(t, r.Post(t, deviceStartPath, apitest.DemoCLI), http.StatusTooManyRequests, "too_many_requests")
	})
}

func TestDevicePollIsRefused(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	v := signedIn(t, r)
	other := register(t, r, map[string]any{"grant_types": []string{rules.GrantDeviceCode}})
	begun := beginDevice(t, r, apitest.DemoCLI)
	code := begun.Text("device_code")
	wantError(t, pollDevice(t, r, other, begun), http.StatusBadRequest, "invalid_grant")
	wantError(t, pollDevice(t, r, apitest.DemoWeb, begun), http.StatusBadRequest, "unauthorized_client")
	wantError(t, r.Token(t, apitest.DemoCLI, "grant_type", rules.GrantDeviceCode), http.StatusBadRequest, "invalid_request")
	for _, text := range append(damaged(code), "chc_"+code[4:], "chr_"+code[4:]) {
		wantError(t, r.Token(t, apitest.DemoCLI, pollWith(text)...), http.StatusBadRequest, "invalid_grant")
	}
	wantError(t, r.Exchange(t, apitest.DemoWeb, "chc_"+code[4:]), http.StatusBadRequest, "invalid_grant")
	wantInactive(t, r, apitest.DemoService, code)
	wantOK(t, r.Post(t, revokePath, apitest.DemoCLI, "token", code))
	wantError(t, request{path: tokenPath + "?device_code=" + code, body: as(apitest.DemoCLI)}.send(t, r.URL), http.StatusBadRequest, "invalid_request")
	t.Run("expired", func(t *testing.T) {
		var key [credential.KeySize]byte
		copy(key[:], openVault(t, node.Conn())["mac.1"])
		ring, err := credential.NewRing(map[uint8][credential.KeySize]byte{1: key})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := ring.Parse(credential.DeviceCode, code)
		if err != nil {
			t.Fatal(err)
		}
		claims.Expires = time.Now().Add(-time.Second).Unix()
		expired, err := ring.Render(credential.DeviceCode, claims)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, r.Token(t, apitest.DemoCLI, pollWith(expired)...), http.StatusBadRequest, "expired_token")
	})
	t.Run("after all of that, not used up", func(t *testing.T) {
		allowDevice(t, v, begun)
		wantError(t, pollDevice(t, r, other, begun), http.StatusBadRequest, "invalid_grant")
		wantOK(t, pollDevice(t, r, apitest.DemoCLI, begun))
	})
}

// TestDeviceExpiresAtThePage has a request that nobody answered in time, whose
// record is still there.
func TestDeviceExpiresAtThePage(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	v := signedIn(t, r)
	begun := beginDevice(t, r, apitest.DemoCLI)
	p := confirm(t, v, begun.Text("user_code"))
	changeDevice(t, node, begun, func(d *authority.Device) { d.Expires = time.Now().Add(-time.Second).Unix() })
	wantPage(t, v.Submit(p, "decision", "allow"), http.StatusBadRequest, "This page is no longer open")
	wantPage(t, v.Submit(p, "decision", "deny"), http.StatusBadRequest, "This page is no longer open")
	wantPage(t, v.Submit(v.Open(devicePath), "user_code", begun.Text("user_code")), http.StatusUnprocessableEntity, "Connect a device")
	wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
}

// TestDeviceAllowedByHalf has an answer that was kept, and no grant, as after a
// crash: the device waits, and the same answer once more opens it.
func TestDeviceAllowedByHalf(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	v := signedIn(t, r)
	alices := subject(t, r.Tokens(t, apitest.DemoSPA, "read"))
	begun := beginDevice(t, r, apitest.DemoCLI)
	p := confirm(t, v, begun.Text("user_code"))
	changeDevice(t, node, begun, func(d *authority.Device) { d.Answer, d.User = "allowed", alices })
	wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
	wantPage(t, v.Submit(p, "decision", "deny"), http.StatusBadRequest, "This page is no longer open")
	wantPage(t, v.Submit(p, "decision", "allow"), http.StatusOK, "Your device is connected")
	wantOK(t, pollDevice(t, r, apitest.DemoCLI, begun))
}

// TestDeviceWithoutItsRecord is one whose bucket was lost: a grant that was
// opened is redeemed, and what waits goes on waiting.
func TestDeviceWithoutItsRecord(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	v := signedIn(t, r)
	allowed, waiting := beginDevice(t, r, apitest.DemoCLI), beginDevice(t, r, apitest.DemoCLI)
	allowDevice(t, v, allowed)
	js, err := jetstream.New(node.Conn())
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.Stream(t.Context(), "KV_MAIN_DEVICES")
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantOK(t, pollDevice(t, r, apitest.DemoCLI, allowed))
	wantError(t, pollDevice(t, r, apitest.DemoCLI, waiting), http.StatusBadRequest, "authorization_pending")
	wantPage(t, v.Submit(v.Open(devicePath), "user_code", waiting.Text("user_code")), http.StatusUnprocessableEntity, "Connect a device")
}

// TestDeviceAtAReplicaBehind polls where the read model stands still.
func TestDeviceAtAReplicaBehind(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	ahead := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	ahead.Seed(t)
	var gate apitest.Gate
	behind := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient, Gate: gate.Pass})
	v := signedIn(t, ahead)
	behind.WaitFolded(t)
	gate.Shut()
	begun := beginDevice(t, ahead, apitest.DemoCLI)
	wantError(t, pollDevice(t, behind, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
	allowDevice(t, v, begun)
	wantOK(t, pollDevice(t, behind, apitest.DemoCLI, begun))
	wantError(t, pollDevice(t, behind, apitest.DemoCLI, begun), http.StatusBadRequest, "invalid_grant")
	wantError(t, pollDevice(t, ahead, apitest.DemoCLI, begun), http.StatusBadRequest, "invalid_grant")
}

// changeDevice changes the record of a request.
func changeDevice(t *testing.T, node *embeddedtest.Node, begun apitest.Answer, change func(*authority.Device)) {
	t.Helper()
	js, err := jetstream.New(node.Conn())
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "MAIN_DEVICES")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := secret.ParseRing(secret.New(apitest.KeyRing))
	if err != nil {
		t.Fatal(err)
	}
	code, _ := secret.ParseUserCode(begun.Text("user_code"))
	name, sealer := secret.NewUserCodes(ring).Names(code)[0], ring.Sealer("device-request")
	entry, err := kv.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := sealer.Open(entry.Value(), []byte(name))
	if err != nil {
		t.Fatal(err)
	}
	var request authority.Device
	if err := json.Unmarshal(text, &request); err != nil {
		t.Fatal(err)
	}
	change(&request)
	if text, err = json.Marshal(request); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), name, sealer.Seal(text, []byte(name))); err != nil {
		t.Fatal(err)
	}
}

// TestDeviceSlowsDown tells one that polls too often, and no other.
func TestDeviceSlowsDown(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) {
		patient(s)
		s.DevicePollLimit = limit.Rate{N: 2, Per: time.Hour, Burst: 2}
	}})
	begun := beginDevice(t, r, apitest.DemoCLI)
	if begun.JSON["interval"] != 1800.0 {
		t.Errorf("interval %v", begun.JSON["interval"])
	}
	for range 2 {
		wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
	}
	slow := pollDevice(t, r, apitest.DemoCLI, begun)
	wantError(t, slow, http.StatusBadRequest, "slow_down")
	if slow.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	login := r.Post(t, loginIssuePath, apitest.DemoCLI, pollWith(begun.Text("device_code"))...)
	wantLoginError(t, login, http.StatusTooManyRequests, "0")
	if login.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	wantError(t, pollDevice(t, r, apitest.DemoCLI, beginDevice(t, r, apitest.DemoCLI)), http.StatusBadRequest, "authorization_pending")
	other := register(t, r, map[string]any{"grant_types": []string{rules.GrantDeviceCode}})
	wantError(t, pollDevice(t, r, other, begun), http.StatusBadRequest, "invalid_grant")
}

// TestUserCodeGuessing is slowed down for a person, and leaves others alone.
func TestUserCodeGuessing(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]func(*config.Settings){
		"by person":  func(s *config.Settings) { patient(s); s.FailureLimit = anHour },
		"by address": func(s *config.Settings) { patient(s); s.AddressFailureLimit = anHour },
	} {
		t.Run(name, func(t *testing.T) {
			r := apitest.Single(t, apitest.Options{Settings: settings})
			v := signedIn(t, r)
			begun := beginDevice(t, r, apitest.DemoCLI)
			for range anHour.Burst {
				p := v.Submit(v.Open(devicePath), "user_code", "BBBB-BBBB")
				wantPage(t, p, http.StatusUnprocessableEntity, "Connect a device")
				if p.Fields.Get("user_code") != "BBBB-BBBB" || !strings.Contains(string(p.Body), "This code is not right") {
					t.Errorf("page %s", p.Body)
				}
			}
			p := v.Submit(v.Open(devicePath), "user_code", begun.Text("user_code"))
			wantPage(t, p, http.StatusTooManyRequests, "Too many attempts")
			if p.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
		})
	}
}

// TestDevicePages are good for the browser and the person they were written for.
func TestDevicePages(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := signedIn(t, r)
	begun := beginDevice(t, r, apitest.DemoCLI)
	p := confirm(t, v, begun.Text("user_code"))
	t.Run("another browser", func(t *testing.T) {
		other := signedIn(t, r)
		mine := confirm(t, other, begun.Text("user_code"))
		wantPage(t, other.Submit(mine, "decision", "allow", "request", p.Fields.Get("request")), http.StatusBadRequest, "This page is no longer open")
		wantPage(t, other.Submit(p, "decision", "allow"), http.StatusForbidden, "We could not tell that this came from you")
	})
	t.Run("a form that was not written", func(t *testing.T) {
		for _, pairs := range [][]string{{"csrf", "wrong"}, {"csrf", ""}} {
			wantPage(t, v.Submit(p, append(pairs, "decision", "allow")...), http.StatusForbidden, "We could not tell that this came from you")
			wantPage(t, v.Submit(v.Open(devicePath), append(pairs, "user_code", begun.Text("user_code"))...), http.StatusForbidden, "We could not tell that this came from you")
		}
	})
	t.Run("another decision", func(t *testing.T) {
		if got := v.Submit(p, "decision", "maybe").Status; got != http.StatusBadRequest {
			t.Errorf("status %d", got)
		}
	})
	t.Run("a page of another request", func(t *testing.T) {
		wantPage(t, v.Open("/oauth2/continue?request="+p.Fields.Get("request")), http.StatusBadRequest, "This page is no longer open")
		sealed := v.Open(authorizeURL(apitest.DemoWeb, "prompt", "login"))
		wantPage(t, v.Submit(p, "decision", "allow", "request", sealed.Fields.Get("request")), http.StatusBadRequest, "This page is no longer open")
	})
	t.Run("signed out meanwhile", func(t *testing.T) {
		gone := r.NewVisitor(t)
		for _, c := range v.Cookies() {
			if c.Name != "chancery-session" {
				gone.SetCookie(c.Name, c.Value)
			}
		}
		back := signIn(t, gone, gone.Submit(p, "decision", "allow"))
		wantPage(t, back, http.StatusOK, "Connect a device")
		if back.Fields.Get("user_code") != begun.Text("user_code") {
			t.Errorf("fields %v", back.Fields)
		}
		wantPage(t, gone.Submit(p, "decision", "allow"), http.StatusOK, "Connect a device")
	})
	t.Run("as somebody else", func(t *testing.T) {
		wantPage(t, v.Submit(p, "decision", "switch"), http.StatusOK, "Sign in")
	})
	t.Run("what is not ours is not filled in", func(t *testing.T) {
		for _, code := range []string{"<script>", "BBBB-BBBA", strings.Repeat("B", 5000)} {
			if p := v.Open(devicePath + "?user_code=" + url.QueryEscape(code)); p.Fields.Get("user_code") != "" {
				t.Errorf("%s is filled in as %v", code, p.Fields)
			}
		}
	})
	wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
}

// TestDeviceOfTheDisabled ends what waits with whom it is about.
func TestDeviceOfTheDisabled(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := signedIn(t, r)
	client := func(t *testing.T) apitest.Client {
		t.Helper()
		return register(t, r, map[string]any{"grant_types": []string{rules.GrantDeviceCode}})
	}
	stop := func(t *testing.T, c apitest.Client) {
		t.Helper()
		for _, verb := range []string{"disable", "enable"} {
			wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+c.ID+"/"+verb, nil))
		}
	}
	t.Run("the client, before the page", func(t *testing.T) {
		c := client(t)
		begun := beginDevice(t, r, c)
		stop(t, c)
		wantPage(t, v.Submit(v.Open(devicePath), "user_code", begun.Text("user_code")), http.StatusBadRequest, "This page is no longer open")
		wantError(t, pollDevice(t, r, c, begun), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("the client, before the answer", func(t *testing.T) {
		c := client(t)
		begun := beginDevice(t, r, c)
		p := confirm(t, v, begun.Text("user_code"))
		stop(t, c)
		wantPage(t, v.Submit(p, "decision", "allow"), http.StatusBadRequest, "This page is no longer open")
	})
	t.Run("the client, after the answer", func(t *testing.T) {
		c := client(t)
		begun := beginDevice(t, r, c)
		allowDevice(t, v, begun)
		stop(t, c)
		wantError(t, pollDevice(t, r, c, begun), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("the user, after the answer", func(t *testing.T) {
		begun := beginDevice(t, r, apitest.DemoCLI)
		allowDevice(t, v, begun)
		alices := subject(t, r.Tokens(t, apitest.DemoSPA, "read"))
		wantOK(t, r.Admin(t, http.MethodPost, "/users/"+alices+"/cut-off", nil))
		wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "invalid_grant")
	})
}

// TestDeviceRaces begins at one of three replicas, answers at the next and polls
// at all of them.
func TestDeviceRaces(t *testing.T) {
	t.Parallel()
	const racers = 50
	c := apitest.NewCluster(t, 3)
	replica := func(i int) *apitest.Replica { return c.Replicas[i%len(c.Replicas)] }
	v := signedIn(t, replica(1))
	t.Run("polls", func(t *testing.T) {
		begun := beginDevice(t, replica(0), apitest.DemoCLI)
		wantError(t, pollDevice(t, replica(2), apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
		allowDevice(t, v, begun)
		var ledger apitest.Ledger
		var won apitest.Answer
		for _, a := range apitest.Race(racers, func(i int) apitest.Answer { return pollDevice(t, replica(i), apitest.DemoCLI, begun) }) {
			ledger.Redeemed(t, begun.Text("device_code"), a)
			switch {
			case a.Status == http.StatusOK:
				won = a
			case !a.Unavailable():
				wantError(t, a, http.StatusBadRequest, "invalid_grant")
			}
		}
		if won.Status != http.StatusOK {
			t.Fatal("nobody got anything")
		}
		wantEvents(t, replica(1), grantOf(t, won), opened, redeemed)
		wantOK(t, refreshed(t, replica(2), apitest.DemoCLI, won.Text("refresh_token")))
	})
	for range 5 {
		t.Run("allowed and denied", func(t *testing.T) {
			begun := beginDevice(t, replica(0), apitest.DemoCLI)
			p := confirm(t, v, begun.Text("user_code"))
			visitors := []*apitest.Visitor{v, v.At(replica(2)), v.At(replica(0))}
			told := map[string]int{}
			answers := make([]string, 12)
			apitest.Race(len(answers), func(i int) apitest.Answer {
				decision := []string{"allow", "deny"}[i%2]
				for range 100 {
					shown := visitors[i%len(visitors)].Submit(p, "decision", decision)
					if !shown.Unavailable() {
						answers[i] = shown.Heading()
						return shown.Answer
					}
				}
				return apitest.Answer{}
			})
			for _, heading := range answers {
				told[heading]++
			}
			want := "authorization_pending"
			switch {
			case told["Your device is connected"] > 0 && told["Access was denied"] == 0:
				wantOK(t, apitest.Settled(t, func() apitest.Answer { return pollDevice(t, replica(0), apitest.DemoCLI, begun) }))
				want = "invalid_grant"
			case told["Access was denied"] > 0 && told["Your device is connected"] == 0:
				want = "access_denied"
			default:
				t.Fatalf("told %v", told)
			}
			for i := range 3 {
				a := apitest.Settled(t, func() apitest.Answer { return pollDevice(t, replica(i), apitest.DemoCLI, begun) })
				wantError(t, a, http.StatusBadRequest, want)
			}
		})
	}
}

// TestDeviceWithAnothersClient goes the way with golang.org/x/oauth2.
func TestDeviceWithAnothersClient(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) {
		patient(s)
		s.DevicePollLimit = limit.Rate{N: 60, Per: time.Minute, Burst: 2}
	}})
	v := signedIn(t, r)
	cfg := oauth2.Config{
		ClientID: apitest.DemoCLI.ID, Scopes: strings.Fields(deviceScope),
		Endpoint: oauth2.Endpoint{DeviceAuthURL: r.URL + deviceStartPath, TokenURL: r.URL + tokenPath, AuthStyle: oauth2.AuthStyleInParams},
	}
	begin := func(t *testing.T) *oauth2.DeviceAuthResponse {
		t.Helper()
		begun, err := cfg.DeviceAuth(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return begun
	}
	t.Run("allowed", func(t *testing.T) {
		begun := begin(t)
		go func() { v.Submit(confirm(t, v, begun.UserCode), "decision", "allow") }()
		token, err := cfg.DeviceAccessToken(t.Context(), begun)
		if err != nil {
			t.Fatal(err)
		}
		if token.RefreshToken == "" || token.Extra("id_token") == nil {
			t.Errorf("token %+v", token)
		}
		token.Expiry = time.Now().Add(-time.Hour)
		if again, err := cfg.TokenSource(t.Context(), token).Token(); err != nil || again.AccessToken == token.AccessToken {
			t.Errorf("refreshed: %v", err)
		}
	})
	t.Run("denied", func(t *testing.T) {
		begun := begin(t)
		v.Submit(confirm(t, v, begun.UserCode), "decision", "deny")
		_, err := cfg.DeviceAccessToken(t.Context(), begun)
		if refused := new(oauth2.RetrieveError); !errors.As(err, &refused) || refused.ErrorCode != "access_denied" {
			t.Errorf("%v", err)
		}
	})
}

// TestDeviceInTheLog looks at what the log has of a device.
func TestDeviceInTheLog(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := signedIn(t, r)
	begun := beginDevice(t, r, apitest.DemoCLI)
	allowDevice(t, v, begun)
	tokens := wantOK(t, pollDevice(t, r, apitest.DemoCLI, begun))
	for id, history := range r.History(t) {
		if id.String() != grantOf(t, tokens) {
			continue
		}
		fact, ok := history[0].Fact.(events.GrantOpened)
		if !ok || fact.Code == nil || !fact.Code.Device || !fact.Session.IsZero() || fact.User == "" || len(history) != 2 {
			t.Errorf("history %+v", history)
		}
		return
	}
	t.Error("the log does not have the grant")
}
