package events_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// samples has a fact of every type and version that was ever written, as it is
// decoded today. They are by the names of their golden files: the type, and a
// plus and a word once optional fields were added. Of each type, the one whose
// name sorts last has all its fields set.
func samples() map[string]events.Fact {
	issuance := events.Issuance{
		Generation: 3, JTI: "jti-1", IssuedAt: 1767323045, Expires: 1767326645,
		Scope: []string{"read", "write"}, Audience: []string{"https://api.example"},
		KID: "kid-1", MACKey: 7, Origin: "b3JpZ2lu",
	}
	window := int64(0)
	settings := events.ClientSettings{
		Name: "Web <shop> & söns", Public: true,
		GrantTypes:   []string{"authorization_code", "refresh_token"},
		RedirectURIs: []string{"https://web.example/callback?a=1&b=2"},
		Scope:        []string{"read"}, Audience: []string{"https://api.example"},
		SigningAlg: "ES256", RequirePKCE: true, IntrospectAny: true, PasswordLogin: true,
		CodeLifetime: 60, AccessTokenLifetime: 3600,
		RefreshIdleLifetime: 2592000, RefreshAbsoluteLifetime: 7776000, RetryWindow: &window,
	}
	facts := []events.Fact{
		events.GrantOpened{
			Client: "web", User: "u1", Scope: []string{"read", "write"}, Audience: []string{"https://api.example"},
			ClientEpoch: 2, UserEpoch: 3, AuthTime: 1767323040, AMR: []string{"pwd"}, Expires: 1775099045, Refreshable: true,
			Code: &events.Code{
				MACKey: 7, Expires: 1767323105, RedirectURI: "https://web.example/callback", RedirectGiven: true,
				Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
			},
			Issued: &issuance,
		},
		events.CodeRedeemed{Issuance: issuance},
		events.RefreshTokenRotated{Issuance: issuance},
		events.RefreshTokenRepeated{Generation: 3, JTI: "jti-1", KID: "kid-1"},
		events.GrantRevoked{Reason: events.ReasonRefreshTokenReuse, Generation: 2},
		events.SessionOpened{
			User: "u1", UserEpoch: 3, AuthTime: 1767323040, AMR: []string{"pwd"}, Expires: 1767409445, MACKey: 7,
		},
		events.SessionEnded{Session: grantID(), User: "u1", Reason: events.ReasonUserRequest, Until: 1767409445},
		events.LogoutDelivered{LogoutOutcome: logoutOutcome()},
		events.LogoutFailed{LogoutOutcome: logoutOutcome()},
		events.AccessTokenIssued{
			JTI: "jti-2", Client: "service", ClientEpoch: 1, Subject: "service", IssuedAt: 1767323045, Expires: 1767326645,
			Scope: []string{"read"}, Audience: []string{"https://api.example"}, KID: "kid-1", Origin: "b3JpZ2lu",
		},
		exchanged(),
		events.AccessTokenRevoked{JTI: "jti-2", Client: "service", Until: 1767326645},
		events.GrantRevocationMarked{Grant: grantID(), Until: 1767326645},
		events.RequestRefused{
			What: "refresh_token", Client: "web", Grant: grantID(), User: "u1", Reason: "invalid_refresh_token",
			Parameter: "refresh_token", Detail: "grant expired", Count: 12, First: 1767323045, Last: 1767323056,
		},
		events.FeedTicked{},
		events.LogRestored{
			Streams: []events.RestoredStream{{Stream: "MAIN_REGISTRY", Signed: 7, Size: 5}, {Stream: "MAIN_EVENTS_0", Signed: 0, Size: 9}},
			Keep:    []string{"web"},
		},
		events.ClientRegistered{
			ClientSettings: settings,
			Secret:         &events.ClientSecretAdded{ID: "s1", Hash: "aGFzaA", KeyID: "pepper-1"},
			OriginKey:      "cHVibGlj",
		},
		events.ClientUpdated{ClientSettings: settings},
		events.ClientDisabled{},
		events.ClientEnabled{},
		events.ClientCutOff{Reason: events.ReasonAdminRequest},
		events.ClientSecretAdded{ID: "s1", Hash: "aGFzaA", KeyID: "pepper-1"},
		events.ClientSecretDropped{ID: "s1"},
		events.UserRegistered{OriginKey: "cHVibGlj"},
		events.UserDisabled{},
		events.UserEnabled{},
		events.UserCutOff{Reason: events.ReasonUserRequest},
		events.UserDeleted{},
		events.UserErased{},
		events.ConsentGiven{Scope: []string{"openid", "read"}, Audience: []string{"https://api.example"}},
		events.ConsentWithdrawn{},
		events.KeyAnnounced{Use: events.KeyUseSignature, Alg: "ES256", PublicJWK: json.RawMessage(`{"kty":"EC","crv":"P-256"}`), MACKey: 7},
		events.KeyActivated{},
		events.KeyRetired{},
		events.KeyDropped{},
		events.PartitionAdded{},
	}
	byName := map[string]events.Fact{}
	for _, f := range facts {
		byName[f.Type()] = f
	}
	opened := byName["grant.opened.v1"].(events.GrantOpened)
	opened.Session = grantID()
	byName["grant.opened.v1+session"] = opened
	addLoginClaims(byName, opened, issuance)
	addOpenID(byName)
	settings.TokenExchange = events.ExchangeSettings{
		Impersonation: true, Delegation: true, Public: true, Audiences: []string{"https://files.example"}, MaxDepth: 3, MayAct: "gateway",
	}
	byName["client.registered.v1+token_exchange"] = events.ClientRegistered{
		ClientSettings: settings, Secret: &events.ClientSecretAdded{ID: "s1", Hash: "aGFzaA", KeyID: "pepper-1"}, OriginKey: "cHVibGlj",
	}
	byName["client.updated.v1+token_exchange"] = events.ClientUpdated{ClientSettings: settings}
	settings.AllowedOrigins = []string{"https://app.example", "http://localhost:3000"}
	byName["client.registered.v1+token_exchange+allowed_origins"] = events.ClientRegistered{
		ClientSettings: settings, Secret: &events.ClientSecretAdded{ID: "s1", Hash: "aGFzaA", KeyID: "pepper-1"}, OriginKey: "cHVibGlj",
	}
	byName["client.updated.v1+token_exchange+allowed_origins"] = events.ClientUpdated{ClientSettings: settings}
	settings.FirstParty, settings.RequirePAR = true, true
	byName["client.registered.v1+token_exchange+allowed_origins+first_party"] = events.ClientRegistered{
		ClientSettings: settings, Secret: &events.ClientSecretAdded{ID: "s1", Hash: "aGFzaA", KeyID: "pepper-1"}, OriginKey: "cHVibGlj",
	}
	byName["client.updated.v1+token_exchange+allowed_origins+first_party"] = events.ClientUpdated{ClientSettings: settings}
	addPairwise(byName, settings)
	addLogout(byName)
	return byName
}

func addLogout(byName map[string]events.Fact) {
	registered := byName["client.registered.v1+token_exchange+pkce_optional"].(events.ClientRegistered)
	registered.PostLogoutRedirectURIs = []string{"https://web.example/goodbye"}
	byName["client.registered.v1+token_exchange+post_logout"] = registered
	byName["client.updated.v1+token_exchange+post_logout"] = events.ClientUpdated{ClientSettings: registered.ClientSettings}
	registered.BackchannelLogoutURI, registered.BackchannelLogoutSession = "https://web.example/logout", true
	byName["client.registered.v1+token_exchange+post_logout+backchannel"] = registered
	byName["client.updated.v1+token_exchange+post_logout+backchannel"] = events.ClientUpdated{ClientSettings: registered.ClientSettings}
	opened := byName["grant.opened.v1+session+pairwise+device"].(events.GrantOpened)
	opened.SessionExpires = 1767409445
	byName["grant.opened.v1+session+session_exp"] = opened
}

func logoutOutcome() events.LogoutOutcome {
	return events.LogoutOutcome{Session: grantID(), Client: "web", User: "u1", Attempts: 3, Status: 200, Until: 1767409445}
}

func addLoginClaims(byName map[string]events.Fact, opened events.GrantOpened, i events.Issuance) {
	i.LoginClaims = true
	opened.Issued = &i
	issued := byName["access_token.issued.v1"].(events.AccessTokenIssued)
	issued.LoginClaims = true
	swapped := exchanged()
	swapped.LoginClaims = true
	byName["grant.opened.v1+session+login_claims"] = opened
	byName["code.redeemed.v1+login_claims"] = events.CodeRedeemed{Issuance: i}
	byName["refresh_token.rotated.v1+login_claims"] = events.RefreshTokenRotated{Issuance: i}
	byName["access_token.issued.v1+login_claims"] = issued
	byName["token.exchanged.v1+login_claims"] = swapped
}

func addOpenID(byName map[string]events.Fact) {
	opened := byName["grant.opened.v1+session+login_claims"].(events.GrantOpened)
	opened.ACR, opened.Nonce = "urn:example:silver", "n-0S6_WzA2Mj"
	byName["grant.opened.v1+session+openid"] = opened
	session := byName["session.opened.v1"].(events.SessionOpened)
	session.ACR = "urn:example:silver"
	byName["session.opened.v1+acr"] = session
}

func addPairwise(byName map[string]events.Fact, settings events.ClientSettings) {
	const sub = "kvGsDeypW8d4cQjCP9jcKl2oL2TpC3HTTkoSoKaPV_M"
	opened := byName["grant.opened.v1+session+openid"].(events.GrantOpened)
	opened.Pairwise = sub
	byName["grant.opened.v1+session+pairwise"] = opened
	code := *opened.Code
	code.Device, opened.Code = true, &code
	byName["grant.opened.v1+session+pairwise+device"] = opened
	swapped := byName["token.exchanged.v1+login_claims"].(events.TokenExchanged)
	swapped.Subject, swapped.User = sub, "u1"
	byName["token.exchanged.v1+pairwise"] = swapped
	settings.SubjectType, settings.SectorIdentifier = "pairwise", "web.example"
	byName["client.registered.v1+token_exchange+pairwise"] = events.ClientRegistered{
		ClientSettings: settings, Secret: &events.ClientSecretAdded{ID: "s1", Hash: "aGFzaA", KeyID: "pepper-1"}, OriginKey: "cHVibGlj",
	}
	byName["client.updated.v1+token_exchange+pairwise"] = events.ClientUpdated{ClientSettings: settings}
	settings.PKCEOptional = true
	byName["client.registered.v1+token_exchange+pkce_optional"] = events.ClientRegistered{
		ClientSettings: settings, Secret: &events.ClientSecretAdded{ID: "s1", Hash: "aGFzaA", KeyID: "pepper-1"}, OriginKey: "cHVibGlj",
	}
	byName["client.updated.v1+token_exchange+pkce_optional"] = events.ClientUpdated{ClientSettings: settings}
}

func exchanged() events.TokenExchanged {
	return events.TokenExchanged{
		AccessTokenIssued: events.AccessTokenIssued{
			JTI: "jti-4", Client: "gateway", ClientEpoch: 1, Subject: "u1", IssuedAt: 1767323045, Expires: 1767326645,
			Scope: []string{"read"}, Audience: []string{"https://files.example"}, KID: "kid-1", Origin: "b3JpZ2lu",
		},
		Grant: grantID(), UserEpoch: 3,
		Act:    &events.Actor{Subject: "service", Client: "service", Act: &events.Actor{Subject: "u2", Client: "web"}},
		MayAct: map[string]string{"sub": "service"},
		Chain: []events.Ancestor{
			{JTI: "jti-1", Client: "web", ClientEpoch: 2},
			{JTI: "jti-3", Client: "web", ClientEpoch: 2, Actor: &events.ActorToken{Partition: 1, Grant: grantID(), User: "u2", UserEpoch: 1}},
		},
	}
}

func grantID() events.GrantID {
	return events.NewGrantID(0, [16]byte{15: 0xab, 1: 0xcd})
}

// sampleSubject is where a fact of that type is stored.
func sampleSubject(typ string) events.Subject {
	r := events.DefaultRealm
	switch kind, _, _ := strings.Cut(typ, "."); {
	case kind == "client":
		return r.ClientSubject("web")
	case kind == "user":
		return r.UserSubject("u1")
	case kind == "consent":
		return r.ConsentSubject("u1", "web")
	case kind == "key":
		return r.KeySubject("kid-1")
	case kind == "partition":
		return r.PartitionSubject(3)
	case strings.HasPrefix(typ, "access_token.issued"), kind == "token":
		return r.IssuedSubject(0, "service")
	case strings.HasPrefix(typ, "access_token.revoked"), strings.HasPrefix(typ, "grant.revocation_marked"),
		strings.HasPrefix(typ, "session.ended"), kind == "feed":
		return r.RevokedSubject(0)
	case kind == "session":
		return r.SessionSubject(grantID())
	case kind == "request":
		return r.RefusedSubject(0)
	case kind == "logout":
		return r.LogoutSubject(0)
	default:
		return r.GrantSubject(grantID())
	}
}

func sampleEvent(typ string, f events.Fact) events.Event {
	return events.Event{
		ID: "01JGFJ5Z5H0000000000000000", Source: "https://issuer.example",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), Subject: sampleSubject(typ), Fact: f,
		Meta: events.Meta{
			Request: "req-1", Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			Actor: "client:web", Origin: "c2VhbGVk",
		},
	}
}

// TestGolden pins every type and version for ever: what was written then is
// what is written now, byte for byte, and reads as the same event. A type
// without a file fails; to make the file, and only a missing one, run with
// CHANCERY_NEW_GOLDEN=1. A file that exists is never to be changed: a change is
// a new version.
func TestGolden(t *testing.T) {
	facts := samples()
	for _, typ := range events.Types() {
		if _, ok := facts[typ]; !ok {
			t.Errorf("no sample of %s", typ)
		}
	}
	for name, fact := range facts {
		t.Run(name, func(t *testing.T) {
			typ, _, _ := strings.Cut(name, "+")
			if !slices.Contains(events.Types(), typ) {
				t.Fatal("a sample of a type that cannot be decoded")
			}
			want := sampleEvent(typ, fact)
			stored := golden(t, name, want)
			got, err := events.Decode(stored)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("decoded\n%+v, want\n%+v", got, want)
			}
			if fact.Type() != typ {
				return // superseded: it is read, but not written any more
			}
			now, err := events.Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			if render(now) != render(stored) {
				t.Errorf("encoded as\n%s, want\n%s", render(now), render(stored))
			}
		})
	}
}

// golden reads the file of a sample.
func golden(t *testing.T, name string, e events.Event) events.Message {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CHANCERY_NEW_GOLDEN") != "" {
		m, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		b = []byte(render(m))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatal(err)
	}
	m, err := parse(string(b))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

// render is a message as text: its subject, its sorted headers, an empty line,
// its data.
func render(m events.Message) string {
	var b strings.Builder
	fmt.Fprintln(&b, m.Subject)
	for _, h := range m.Header {
		fmt.Fprintf(&b, "%s: %s\n", h[0], h[1])
	}
	fmt.Fprintf(&b, "\n%s\n", m.Data)
	return b.String()
}

func parse(s string) (events.Message, error) {
	head, data, ok := strings.Cut(strings.TrimSuffix(s, "\n"), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok {
		return events.Message{}, errors.New("no empty line before the data")
	}
	m := events.Message{Subject: lines[0], Data: []byte(data)}
	for _, line := range lines[1:] {
		name, v, ok := strings.Cut(line, ": ")
		if !ok {
			return events.Message{}, fmt.Errorf("no header: %q", line)
		}
		m.Header = append(m.Header, [2]string{name, v})
	}
	return m, nil
}

// A field that the sample leaves out would not be pinned.
func TestSamplesSetEveryField(t *testing.T) {
	facts, latest := samples(), map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		latest[facts[name].Type()] = name
	}
	for _, name := range latest {
		checkSet(t, name, reflect.ValueOf(facts[name]))
	}
}

func checkSet(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	if v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Struct {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		if v.IsZero() {
			t.Errorf("%s is not set", path)
		}
		return
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if end := v.Field(i); end.Kind() == reflect.Pointer && end.IsNil() && field.Type.Elem() == v.Type() {
			continue // the last of a list
		}
		checkSet(t, path+"."+field.Name, v.Field(i))
	}
}

// The canonical form is what checkpoints are compared by, so it is pinned too.
func TestCanonicalIsPinned(t *testing.T) {
	m, err := events.Encode(sampleEvent("grant.revoked.v1", events.GrantRevoked{Reason: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	const first = "1f0fde165fd67745c3c457cf27a201bbf439ec273c0dc008129141046700ae62"
	const second = "734fbb0172fa4fcb1a0ff3dee134ee4b073dd929c5059b3e1e91d61fb00b4e27"
	h := events.Hash{}.Next(7, m)
	if got := hex.EncodeToString(h[:]); got != first {
		t.Errorf("the hash of one message is %s, was %s", got, first)
	}
	h = h.Next(8, m)
	if got := hex.EncodeToString(h[:]); got != second {
		t.Errorf("the hash of two messages is %s, was %s", got, second)
	}
}
