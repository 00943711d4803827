package jose

import (
	"reflect"
	"testing"

	"github.com/chancery-authority/chancery/events"
)

func testLogoutClaims() LogoutClaims {
	return LogoutClaims{
		Issuer: testIssuer, Subject: "4c0f6b4e", ClientID: "demo-web", IssuedAt: testNow.Unix(), Expires: testNow.Unix() + 120,
		JTI: "j", Session: events.NewGrantID(2, [16]byte{15: 1}),
	}
}

// TestLogoutToken has exactly the claims of OpenID Connect Back-Channel Logout
// 1.0 §2.4, and passes for no other token.
func TestLogoutToken(t *testing.T) {
	for _, a := range Algs() {
		k := testKey(t, a)
		text, err := SignLogoutToken(k, testLogoutClaims())
		if err != nil {
			t.Fatal(err)
		}
		header, payload := split(t, text)
		want := map[string]any{
			"iss": testIssuer, "sub": "4c0f6b4e", "aud": "demo-web", "iat": 1_800_000_000.0, "exp": 1_800_000_120.0, "jti": "j",
			"sid":    events.NewGrantID(2, [16]byte{15: 1}).String(),
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		}
		if got := members(t, payload); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: claims %v, want %v", a, got, want)
		}
		if h := members(t, header); h["typ"] != "logout+jwt" || h["alg"] != string(a) || h["kid"] != k.Public().ID || len(h) != 3 {
			t.Errorf("%s: header %v", a, h)
		}
		v := testVerifier(t, k)
		wantInvalid(t, v, text, "a logout token")
		if c, err := v.VerifyIDToken(text); err == nil {
			t.Errorf("a logout token passes for an ID token: %+v", c)
		}
	}
	for name, drop := range map[string]func(*LogoutClaims){
		"iss": func(c *LogoutClaims) { c.Issuer = "" },
		"sub": func(c *LogoutClaims) { c.Subject = "" },
		"aud": func(c *LogoutClaims) { c.ClientID = "" },
		"jti": func(c *LogoutClaims) { c.JTI = "" },
		"exp": func(c *LogoutClaims) { c.Expires = c.IssuedAt },
		"sid": func(c *LogoutClaims) { c.Session = events.SessionID{} },
	} {
		c := testLogoutClaims()
		drop(&c)
		if _, err := SignLogoutToken(testKey(t, ES256), c); err == nil {
			t.Errorf("signed without %s", name)
		}
	}
}
