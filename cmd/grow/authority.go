package grow

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Where requests seem to come from: a person's browser and an application's server. The latter is where chancery bench
// is, for a refresh from another address than the one before seals an origin, which is the dearest step of it.
var (
	person = secret.Origin{
		Address:   netip.MustParseAddr("203.0.113.17"),
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
	}
	application = secret.Origin{Address: netip.MustParseAddr("127.0.0.1"), UserAgent: "Go-http-client/2.0"}
)

const redirectURI = "https://app.example/callback"

// An authority decides as the API does, with its rules and the keys of the realm. It may be used from many goroutines.
type authority struct {
	issuer    string
	log       *eventlog.Log
	feed      *projector.Feed
	keys      *keys.Manager
	secrets   *secret.ClientSecrets
	addresses *secret.Addresses
	policy    rules.Policy
	client    fold.Client
	// personSize and applicationSize are how long sealed origins of the two are, in bytes.
	personSize, applicationSize int
}

// An owner is a resource owner, with the key that origins of their requests are sealed for.
type owner struct {
	id, originKey string
}

// openAuthority makes the keys of the realm. Close its feed.
func openAuthority(ctx context.Context, issuer string, log *eventlog.Log, ring *secret.Ring) (*authority, error) {
	feed, err := projector.OpenFeed(ctx, log, projector.FeedConfig{Source: issuer, NewID: rand.Text})
	if err != nil {
		return nil, err
	}
	manager, err := keys.Open(ctx, keys.Config{
		Log: log, Ring: ring, Issuer: issuer, Algs: []jose.Alg{jose.ES256}, Keys: feed.Keys, NewID: rand.Text,
		Wait: func(ctx context.Context, seq uint64) error {
			return feed.Wait(ctx, log.Realm().RegistryStream(), seq)
		},
	})
	if err != nil {
		feed.Close()
		return nil, err
	}
	a := &authority{
		issuer: issuer, log: log, feed: feed, keys: manager, policy: rules.DefaultPolicy(),
		secrets: secret.NewClientSecrets(ring), addresses: secret.NewAddresses(ring),
	}
	return a, errors.Join(sealedSize(person, &a.personSize), sealedSize(application, &a.applicationSize))
}

// sealedSize tells how long an origin is once it is sealed.
func sealedSize(o secret.Origin, size *int) error {
	key, err := secret.NewOriginKey()
	if err != nil {
		return err
	}
	sealed, err := secret.SealOrigin(key.Public(), rand.Text(), o)
	*size = base64.RawURLEncoding.DecodedLen(len(sealed))
	return err
}

// unreadable takes the place of a sealed origin. There are no records of people that could open one, and sealing would
// be most of the work.
func unreadable(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// registerClient registers a confidential client for the code flow, and gives its secret.
func (a *authority) registerClient(ctx context.Context) (secret.Secret, error) {
	text := secret.NewClientSecret()
	added := events.ClientSecretAdded{ID: rand.Text()[:8]}
	added.Hash, added.KeyID = a.secrets.Hash(ClientID, text)
	fact, refusal := rules.RegisterClient(fold.Client{}, ClientID, events.ClientSettings{
		Name: "Grow", GrantTypes: []string{rules.GrantAuthorizationCode, rules.GrantRefreshToken},
		RedirectURIs: []string{redirectURI}, Scope: []string{"read", "write"}, FirstParty: true,
	}, &added, []string{string(jose.ES256)})
	if refusal != nil {
		return secret.Secret{}, refusal
	}
	e := a.event(a.log.Realm().ClientSubject(ClientID), "admin", *fact)
	seq, err := a.append(ctx, e, 0)
	if err != nil {
		return secret.Secret{}, err
	}
	a.client, err = fold.Client{}.Apply(events.Recorded{Event: e, Seq: seq, Stored: e.Time})
	return text, err
}

// registerUser registers somebody of whom there is no record.
func (a *authority) registerUser(ctx context.Context) (owner, error) {
	key, err := secret.NewOriginKey()
	if err != nil {
		return owner{}, err
	}
	u := owner{uuid.NewString(), key.Public()}
	e := a.event(a.log.Realm().UserSubject(u.id), "user:"+u.id, events.UserRegistered{OriginKey: u.originKey})
	e.Meta.Origin = unreadable(a.personSize)
	_, err = a.append(ctx, e, 0)
	return u, err
}

// grant opens a grant of a user with a code, redeems the code, and gives the refresh token.
func (a *authority) grant(ctx context.Context, p events.Partition, u owner) (string, error) {
	ring, mac := a.keys.MAC()
	signer, err := a.keys.Signer(string(jose.ES256))
	if err != nil {
		return "", err
	}
	var random [16]byte
	_, _ = rand.Read(random[:])
	user, verifier := fold.User{ID: u.id, Seq: 1, OriginKey: u.originKey}, newVerifier()
	now := time.Now()
	opened, refusal := rules.OpenWithCode(rules.Authorization{
		Client: a.client, User: user, Scope: []string{"read", rules.ScopeOfflineAccess},
		RedirectURI: redirectURI, Challenge: challenge(verifier), AuthTime: now, AMR: []string{"pwd"}, Now: now, Policy: a.policy,
	}, rules.Minting{MACKey: mac})
	if refusal != nil {
		return "", refusal
	}
	g := fold.Grant{ID: events.NewGrantID(p, random)}
	if g, err = a.advance(ctx, g, "user:"+u.id, a.personSize, *opened); err != nil {
		return "", err
	}
	out := rules.RedeemCode(g, rules.CodeExchange{
		Holder: rules.Holder{Client: a.client, User: user, Policy: a.policy},
		MACKey: mac, RedirectURI: redirectURI, Verifier: verifier, Issuer: a.issuer, Now: time.Now(),
		Origin: a.addresses.Hash(g.ID.String(), application.Address),
	}, rules.Minting{JTI: rand.Text(), KID: signer.Public().ID, MACKey: mac})
	if out.Refusal != nil {
		return "", out.Refusal
	}
	if g, err = a.advance(ctx, g, "client:"+a.client.ID, a.applicationSize, out.Fact); err != nil {
		return "", err
	}
	return ring.Render(credential.RefreshToken, credential.Claims{
		Grant: g.ID, Generation: g.Current.Generation, Expires: g.Expires, MACKey: g.Current.MACKey,
	})
}

// advance appends what comes next to a grant.
func (a *authority) advance(ctx context.Context, g fold.Grant, actor string, originSize int, f events.Fact) (fold.Grant, error) {
	e := a.event(a.log.Realm().GrantSubject(g.ID), actor, f)
	e.Meta.Origin = unreadable(originSize)
	seq, err := a.append(ctx, e, g.Seq)
	if err != nil {
		return g, err
	}
	return g.Apply(events.Recorded{Event: e, Seq: seq, Stored: e.Time})
}

func (a *authority) event(s events.Subject, actor string, f events.Fact) events.Event {
	return events.Event{
		ID: rand.Text(), Source: a.issuer, Time: time.Now(), Subject: s,
		Meta: events.Meta{Request: rand.Text(), Actor: actor}, Fact: f,
	}
}

func (a *authority) append(ctx context.Context, e events.Event, expect uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	receipt, err := a.log.Append(ctx, eventlog.Unit{Event: e, Expect: expect})
	if err != nil {
		return 0, fmt.Errorf("append %s: %w", e.Fact.Type(), err)
	}
	return receipt.Seq, nil
}

// newVerifier makes a PKCE verifier (RFC 7636 §4.1), and challenge its challenge by S256.
func newVerifier() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
