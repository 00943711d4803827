package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
)

func TestRoundTrip(t *testing.T) {
	for _, a := range Algs() {
		k := testKey(t, a)
		c := testClaims()
		got, err := testVerifier(t, k).Verify(sign(t, k, c), testNow)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: got %+v, %v, want %+v", a, got, err, c)
		}
	}
}

// RFC 9068 §2.1 and §2.2: what is in the token, by name and type.
func TestRFC9068(t *testing.T) {
	k := testKey(t, ES256)
	header, payload := split(t, sign(t, k, testClaims()))
	if got, want := members(t, header), (map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": k.Public().ID}); !reflect.DeepEqual(got, want) {
		t.Errorf("header: got %v, want %v", got, want)
	}
	want := map[string]any{
		"iss": testIssuer, "sub": "4c0f6b4e", "aud": []any{"https://api.example"},
		"exp": 1_800_000_300.0, "iat": 1_800_000_000.0, "jti": "jti-1", "client_id": "demo-web",
		"scope": "read write", "auth_time": 1_799_999_990.0, "amr": []any{"pwd"},
		"grant": "02000000000000000000000000000001", "part": 2.0, "cep": 3.0, "uep": 4.0,
		"username": "alice <&>", "groups": []any{"a"},
	}
	if got := members(t, payload); !reflect.DeepEqual(got, want) {
		t.Errorf("payload: got %v, want %v", got, want)
	}
}

// A client's own token has no grant, user or authentication.
func TestClientToken(t *testing.T) {
	k := testKey(t, EdDSA)
	c := testClaims()
	c.Grant, c.Partition, c.UserEpoch, c.ClientEpoch = events.GrantID{}, 0, 0, 0
	c.AuthTime, c.AMR, c.Scope, c.Extra = 0, nil, nil, nil
	text := sign(t, k, c)
	_, payload := split(t, text)
	for _, name := range []string{"grant", "uep", "cep", "auth_time", "amr", "scope"} {
		if _, ok := members(t, payload)[name]; ok {
			t.Errorf("%s is there", name)
		}
	}
	if got, err := testVerifier(t, k).Verify(text, testNow); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, %v, want %+v", got, err, c)
	}
}

// RFC 8693 §4: who acts is nested, and has nothing but names.
func TestExchangedToken(t *testing.T) {
	k := testKey(t, EdDSA)
	c := testClaims()
	c.Act = &events.Actor{Subject: "service", Client: "service", Act: &events.Actor{Subject: "other"}}
	c.MayAct = map[string]string{"sub": "service"}
	c.Chain = []events.Ancestor{
		{JTI: "a", Client: "demo-web", ClientEpoch: 3},
		{JTI: "b", Client: "service", Actor: &events.ActorToken{Partition: 1}},
	}
	text := sign(t, k, c)
	_, payload := split(t, text)
	got := members(t, payload)
	for name, want := range map[string]any{
		"act":     map[string]any{"sub": "service", "client_id": "service", "act": map[string]any{"sub": "other"}},
		"may_act": map[string]any{"sub": "service"},
	} {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if got, err := testVerifier(t, k).Verify(text, testNow); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, %v, want %+v", got, err, c)
	}
}

// TestUserIsNoClaim: a token has of its user what was sealed before.
func TestUserIsNoClaim(t *testing.T) {
	k := testKey(t, EdDSA)
	c := testClaims()
	c.SealedUser, c.User = "c2VhbGVk", "alice's id"
	text := sign(t, k, c)
	_, payload := split(t, text)
	if strings.Contains(payload, c.User) || members(t, payload)["usr"] != "c2VhbGVk" {
		t.Errorf("payload %s", payload)
	}
	c.User = ""
	if got, err := testVerifier(t, k).Verify(text, testNow); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, %v, want %+v", got, err, c)
	}
}

// TestReadWhateverTheTime proves a token that is long dead, by its own key alone.
func TestReadWhateverTheTime(t *testing.T) {
	k := testKey(t, ES256)
	c := testClaims()
	text := sign(t, k, c)
	v := testVerifier(t, k)
	if _, err := v.Verify(text, testNow.AddDate(1, 0, 0)); !errors.Is(err, ErrExpired) {
		t.Fatalf("it has not expired: %v", err)
	}
	if got, kid, err := v.Read(text); err != nil || kid != k.Public().ID || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, %q, %v", got, kid, err)
	}
	c.Issuer = "https://elsewhere.example"
	for name, bad := range map[string]string{"another issuer's": sign(t, k, c), "tampered": text[:len(text)-8] + "AAAAAAAA"} {
		if got, kid, err := v.Read(bad); !errors.Is(err, ErrInvalid) || kid != "" || got.JTI != "" {
			t.Errorf("%s: %+v, %q, %v", name, got, kid, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	for what, change := range map[string]func(*Claims){
		"no iss":            func(c *Claims) { c.Issuer = "" },
		"no sub":            func(c *Claims) { c.Subject = "" },
		"no aud":            func(c *Claims) { c.Audience = nil },
		"an empty aud":      func(c *Claims) { c.Audience = []string{"a", ""} },
		"aud of none":       func(c *Claims) { c.Audience = []string{} },
		"no exp":            func(c *Claims) { c.Expires = 0 },
		"no iat":            func(c *Claims) { c.IssuedAt = 0 },
		"no jti":            func(c *Claims) { c.JTI = "" },
		"no client_id":      func(c *Claims) { c.ClientID = "" },
		"no life":           func(c *Claims) { c.Expires = c.IssuedAt },
		"too long a life":   func(c *Claims) { c.Expires = c.IssuedAt + 24*3600 + 1 },
		"no ancestor's jti": func(c *Claims) { c.Chain = []events.Ancestor{{Client: "x"}} },
		"act of nothing":    func(c *Claims) { c.Act = &events.Actor{Subject: "x"} },
		"extra exp":         func(c *Claims) { c.Extra = map[string]any{"exp": 1} },
		"extra grant":       func(c *Claims) { c.Grant, c.Extra = events.GrantID{}, map[string]any{"grant": "x"} },
		"over the size cap": func(c *Claims) { c.Extra = map[string]any{"x": strings.Repeat("x", MaxSize)} },
		"not JSON":          func(c *Claims) { c.Extra = map[string]any{"x": func() {}} },
	} {
		c := testClaims()
		change(&c)
		if _, err := Sign(testKey(t, ES256), c); err == nil {
			t.Errorf("%s: signed", what)
		}
	}
	if _, err := Sign(SigningKey{}, testClaims()); err == nil {
		t.Error("signed without a key")
	}
	c := testClaims()
	c.Expires = c.IssuedAt + int64(MaxLifetime/time.Second)
	sign(t, testKey(t, ES256), c)
}

func TestTime(t *testing.T) {
	k := testKey(t, ES256)
	v, text := testVerifier(t, k), sign(t, k, testClaims())
	for _, try := range []struct {
		after time.Duration
		want  error
	}{
		{-3 * time.Second, ErrInvalid}, // issued in the future
		{-2 * time.Second, nil},        // by a replica whose clock is ahead
		{0, nil},
		{299 * time.Second, nil},
		{300*time.Second - 1, nil},
		{300 * time.Second, ErrExpired},
		{time.Hour, ErrExpired},
	} {
		if _, err := v.Verify(text, testNow.Add(try.after)); !errors.Is(err, try.want) {
			t.Errorf("%v after: got %v, want %v", try.after, err, try.want)
		}
	}
}

func TestEveryByteCounts(t *testing.T) {
	for _, a := range Algs() {
		k := testKey(t, a)
		v, text := testVerifier(t, k), sign(t, k, testClaims())
		for i := range text {
			wantInvalid(t, v, text[:i], fmt.Sprintf("%s: cut to %d", a, i))
			wantInvalid(t, v, text[:i]+text[i+1:], fmt.Sprintf("%s: byte %d dropped", a, i))
			for _, b := range []string{"A", ".", "=", "\n"} {
				wantInvalid(t, v, text[:i]+b+text[i:], fmt.Sprintf("%s: %q added at %d", a, b, i))
				if text[i:i+1] != b {
					wantInvalid(t, v, text[:i]+b+text[i+1:], fmt.Sprintf("%s: byte %d changed to %q", a, i, b))
				}
			}
		}
	}
}

// The spare bits of the last character must be zero, in every part.
func TestCanonicalBase64(t *testing.T) {
	k := testKey(t, ES256)
	v := testVerifier(t, k)
	header, payload := split(t, sign(t, k, testClaims()))
	for pad := range 3 {
		h, p := header+strings.Repeat(" ", pad), payload+strings.Repeat(" ", pad)
		text := forge(t, k, h, p)
		if _, err := v.Verify(text, testNow); err != nil {
			t.Fatalf("white space after JSON: %v", err)
		}
		for i, part := range strings.Split(text, ".") {
			if len(part)%4 == 0 {
				continue
			}
			parts := strings.Split(text, ".")
			parts[i] = part[:len(part)-1] + string(part[len(part)-1]+1)
			input := parts[0] + "." + parts[1]
			signature, err := k.public.Alg.method().Sign(input, k.private)
			if err != nil {
				t.Fatal(err)
			}
			if i < 2 { // signed as it stands
				parts[2] = encode(signature)
			}
			wantInvalid(t, v, strings.Join(parts, "."), fmt.Sprintf("spare bits in part %d", i))
		}
	}
}

// Everything a token could say to be verified with something else than its key
// (CVE-2026-11800, CVE-2025-59420 and RFC 8725).
func TestAlgorithmConfusion(t *testing.T) {
	es, rs, ed := testKey(t, ES256), testKey(t, RS256), testKey(t, EdDSA)
	v := testVerifier(t, es, rs, ed)
	_, payload := split(t, sign(t, es, testClaims()))
	header := func(alg string, k SigningKey) string {
		return fmt.Sprintf(`{"alg":%q,"typ":"at+jwt","kid":%q}`, alg, k.Public().ID)
	}
	for _, k := range []SigningKey{es, rs, ed} {
		if _, err := v.Verify(forge(t, k, header(string(k.public.Alg), k), payload), testNow); err != nil {
			t.Fatalf("the untouched token: %v", err)
		}
		own := string(k.public.Alg)
		for _, alg := range []string{
			"none", "None", "NONE", "nOnE", "", " ", "HS256", "HS384", "HS512", "PS256", "RS384", "ES384", "Ed25519",
			strings.ToLower(own), own + " ", own + "\x00", "ES256", "RS256", "EdDSA",
		} {
			if alg != own {
				wantInvalid(t, v, forge(t, k, header(alg, k), payload), own+" key, alg "+alg)
				wantInvalid(t, v, encode([]byte(header(alg, k)))+"."+encode([]byte(payload))+".", own+" key, no signature, alg "+alg)
			}
		}
		for _, other := range []SigningKey{es, rs, ed} {
			if other.public.ID != k.public.ID {
				wantInvalid(t, v, forge(t, k, header(own, other), payload), own+" key, kid of another key")
				wantInvalid(t, v, forge(t, k, header(string(other.public.Alg), other), payload), own+" key, kid and alg of another key")
			}
		}
	}
	wantInvalid(t, testVerifier(t, rs), sign(t, es, testClaims()), "key not known")
	wantInvalid(t, testVerifier(t), sign(t, es, testClaims()), "no keys")
}

// The public key as HMAC secret, in every form an attacker can get.
func TestHMACWithPublicKey(t *testing.T) {
	for _, a := range Algs() {
		k := testKey(t, a)
		v := testVerifier(t, k)
		_, payload := split(t, sign(t, k, testClaims()))
		header := fmt.Sprintf(`{"alg":"HS256","typ":"at+jwt","kid":%q}`, k.Public().ID)
		for what, secret := range publicForms(t, k) {
			wantInvalid(t, v, forgeHMAC(header, payload, secret), fmt.Sprintf("%s: HS256 with the %s", a, what))
		}
	}
}

func TestHeader(t *testing.T) {
	k := testKey(t, ES256)
	v := testVerifier(t, k)
	_, payload := split(t, sign(t, k, testClaims()))
	kid := k.Public().ID
	jwk, err := json.Marshal(k.Public().JWK())
	if err != nil {
		t.Fatal(err)
	}
	with := func(member string) string {
		return fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":%q,%s}`, kid, member)
	}
	kidIs := func(kid string) string { return fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":%s}`, kid) }
	for what, header := range map[string]string{
		"crit":               with(`"crit":["exp"],"exp":1`),
		"unknown crit":       with(`"crit":["x"],"x":1`),
		"empty crit":         with(`"crit":[]`),
		"null crit":          with(`"crit":null`),
		"b64":                with(`"b64":false`),
		"b64 and crit":       with(`"b64":false,"crit":["b64"]`),
		"its own jwk":        with(`"jwk":` + string(jwk)),
		"jku":                with(`"jku":"https://attacker.example/keys"`),
		"x5u":                with(`"x5u":"https://attacker.example/cert"`),
		"x5c":                with(`"x5c":["AA"]`),
		"alg twice":          with(`"alg":"ES256"`),
		"alg escaped twice":  with(`"\u0061lg":"ES256"`),
		"duplicate deep":     with(`"x":{"a":1,"a":1}`),
		"too deep":           with(`"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20)),
		"not UTF-8":          with("\"x\":\"\xff\""),
		"alg in another":     fmt.Sprintf(`{"ALG":"ES256","typ":"at+jwt","kid":%q}`, kid),
		"alg not a text":     fmt.Sprintf(`{"alg":["ES256"],"typ":"at+jwt","kid":%q}`, kid),
		"alg null":           fmt.Sprintf(`{"alg":null,"typ":"at+jwt","kid":%q}`, kid),
		"no alg":             fmt.Sprintf(`{"typ":"at+jwt","kid":%q}`, kid),
		"no kid":             `{"alg":"ES256","typ":"at+jwt"}`,
		"empty kid":          kidIs(`""`),
		"null kid":           kidIs(`null`),
		"number kid":         kidIs(`1`),
		"kid of a path":      kidIs(`"../../etc/passwd"`),
		"kid and path":       kidIs(`"../` + kid + `"`),
		"kid and NUL":        kidIs(`"` + kid + `\u0000"`),
		"kid lower case":     kidIs(`"` + strings.ToLower(kid) + `x"`),
		"kid of 8 KiB":       kidIs(`"` + strings.Repeat("k", 8<<10) + `"`),
		"kid of 1 MiB":       kidIs(`"` + strings.Repeat("k", 1<<20) + `"`),
		"an array":           `[]`,
		"a text":             `"x"`,
		"null":               `null`,
		"empty":              ``,
		"two values":         kidIs(`"`+kid+`"`) + `{}`,
		"unfinished":         `{"alg":"ES256"`,
		"no typ":             fmt.Sprintf(`{"alg":"ES256","kid":%q}`, kid),
		"typ of an ID token": fmt.Sprintf(`{"alg":"ES256","typ":"JWT","kid":%q}`, kid),
		"typ of DPoP":        fmt.Sprintf(`{"alg":"ES256","typ":"dpop+jwt","kid":%q}`, kid),
		"typ with spaces":    fmt.Sprintf(`{"alg":"ES256","typ":" at+jwt","kid":%q}`, kid),
	} {
		wantInvalid(t, v, forge(t, k, header, payload), what)
	}
	for _, typ := range []string{"at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"} {
		text := forge(t, k, fmt.Sprintf(`{"alg":"ES256","typ":%q,"kid":%q,"unknown":1}`, typ, kid), payload)
		if _, err := v.Verify(text, testNow); err != nil {
			t.Errorf("typ %s: %v", typ, err)
		}
	}
}

func TestPayload(t *testing.T) {
	k := testKey(t, ES256)
	v := testVerifier(t, k)
	header, good := split(t, sign(t, k, testClaims()))
	set := func(name string, value any) string {
		m := members(t, good)
		m[name] = value
		if value == nil {
			delete(m, name)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	payloads := map[string]string{
		"another issuer":     set("iss", "https://other.example"),
		"issuer and a slash": set("iss", testIssuer+"/"),
		"aud a text":         set("aud", "https://api.example"),
		"aud of nothing":     set("aud", []string{}),
		"exp a text":         set("exp", "1800000300"),
		"exp a fraction":     set("exp", 1_800_000_300.5),
		"exp before iat":     set("exp", 1_799_999_999),
		"lives too long":     set("exp", 1_800_000_000+24*3600+1),
		"iat far ahead":      set("iat", 1_800_000_003),
		"partition 256":      set("part", 256),
		"grant of another":   set("grant", "xyz"),
		"grant upper case":   set("grant", "0A000000000000000000000000000001"),
		"negative epoch":     set("cep", -1),
		"exp null":           strings.Replace(good, `"exp":1800000300`, `"exp":null`, 1),
		"exp twice":          strings.Replace(good, `"exp":1800000300`, `"exp":1800000300,"exp":1800000300`, 1),
		"EXP only":           strings.Replace(good, `"exp"`, `"EXP"`, 1),
		"a JSON text":        `"x"`,
		"nothing":            ``,
		"not JSON":           `foo`,
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "part"} {
		payloads["no "+name] = set(name, nil)
	}
	for what, payload := range payloads {
		if payload == good {
			t.Fatalf("%s: nothing was changed", what)
		}
		wantInvalid(t, v, forge(t, k, header, payload), what)
	}
	// Another case is another name, and stays one.
	c, err := v.Verify(forge(t, k, header, set("SUB", "mallory")), testNow)
	if err != nil || c.Subject != testClaims().Subject || c.Extra["SUB"] != "mallory" {
		t.Errorf("SUB: got %q, %v", c.Subject, err)
	}
}

func TestHugeInput(t *testing.T) {
	k := testKey(t, ES256)
	v := testVerifier(t, k)
	for what, text := range map[string]string{
		"empty":        "",
		"one dot":      ".",
		"two dots":     "..",
		"1 MB of dots": strings.Repeat(".", 1<<20),
		"dots":         strings.Repeat(".", MaxSize),
		"1 MB of A":    strings.Repeat("A", 1<<20),
		"four parts":   sign(t, k, testClaims()) + ".",
		"five parts":   "e30.e30.e30.e30.e30",
		"deep":         encode([]byte(strings.Repeat("[", MaxSize/2))) + ".e30.AA",
		"JSON":         `{"payload":"Zm9v","signatures":[]}`,
	} {
		wantInvalid(t, v, text, what)
	}
}
