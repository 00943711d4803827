package events

import (
	"encoding/json"
	"slices"
)

// A Fact is something that happened. Facts are versioned by type: the fields
// of a type never change, a change is a new version.
type Fact interface {
	// Type is the CloudEvents type with its version, grant.opened.v1.
	Type() string
}

// Issuance is one access token, and with it the refresh token of its
// generation if the grant is allowed one. It has all that is needed to render
// the same tokens again; it holds no secret.
type Issuance struct {
	// Generation counts the refresh tokens of the grant, from 1 with the code
	// exchange.
	Generation uint32 `json:"gen"`
	// JTI, IssuedAt and Expires (Unix seconds), Scope and Audience are the
	// access token's claims.
	JTI      string   `json:"jti"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	Scope    []string `json:"scope,omitempty"`
	Audience []string `json:"aud,omitempty"`
	// KID is the key that signed the access token.
	KID string `json:"kid"`
	// MACKey is the id of the key that authenticates the refresh token, and 0
	// when the issuance has none. The refresh token expires with the grant.
	MACKey uint8 `json:"mac,omitempty"`
	// Origin is a keyed hash of the address that asked. The retry of a public
	// client must come from the same one.
	Origin string `json:"origin,omitempty"`
	// LoginClaims says that the access token has the claims that clients of the
	// Login API read. Those about a person are in no event.
	LoginClaims bool `json:"login_claims,omitempty"`
}

// HasRefresh reports whether a refresh token was issued too.
func (i Issuance) HasRefresh() bool { return i.MACKey != 0 }

// Code is an authorization code, which is rendered from this and the grant id.
type Code struct {
	// MACKey is the id of the key that authenticates the code.
	MACKey uint8 `json:"mac"`
	// Expires is in Unix seconds.
	Expires int64 `json:"exp"`
	// RedirectURI is where the code was sent. RedirectGiven says that the
	// request named it, so the token request must repeat it (RFC 6749 §4.1.3).
	RedirectURI   string `json:"redirect_uri,omitempty"`
	RedirectGiven bool   `json:"redirect_given,omitempty"`
	// Challenge is the PKCE S256 challenge, or empty (RFC 7636 §4.2).
	Challenge string `json:"code_challenge,omitempty"`
	// Device says that a device code redeems the grant (RFC 8628 §3.4), which its
	// device has had since before the grant was opened.
	Device bool `json:"device,omitempty"`
}

// GrantOpened opens a grant: a resource owner authorized a client. It carries
// a code to redeem, or the first issuance where no code was asked for.
type GrantOpened struct {
	Client string `json:"client"`
	// User is the resource owner's id, the sub of its tokens but for Pairwise.
	User     string   `json:"user"`
	Scope    []string `json:"scope,omitempty"`
	Audience []string `json:"aud,omitempty"`
	// ClientEpoch and UserEpoch are those in force; the grant dies when either
	// is raised.
	ClientEpoch uint64 `json:"client_epoch"`
	UserEpoch   uint64 `json:"user_epoch"`
	// AuthTime is when the user authenticated and AMR how (OIDC Core §2).
	AuthTime int64    `json:"auth_time"`
	AMR      []string `json:"amr,omitempty"`
	// Expires, in Unix seconds, is the absolute end of the grant and of
	// everything issued from it.
	Expires int64 `json:"exp"`
	// Refreshable says that the code exchange issues a refresh token.
	Refreshable bool      `json:"refreshable,omitempty"`
	Code        *Code     `json:"code,omitempty"`
	Issued      *Issuance `json:"issued,omitempty"`
	// Session is the session that the user authorized the client in, if any.
	Session SessionID `json:"session,omitzero"`
	// SessionExpires, in Unix seconds, is when the session would expire. Until
	// then it is known that the client took part in it.
	SessionExpires int64 `json:"session_exp,omitempty"`
	// ACR is the level of the authentication, where one is claimed, and Nonce
	// what ties the first ID token to the client's request (OIDC Core §2).
	ACR   string `json:"acr,omitempty"`
	Nonce string `json:"nonce,omitempty"`
	// Pairwise is the sub of the grant's tokens where the client is not told the
	// user's id (OIDC Core §8.1).
	Pairwise string `json:"pairwise_sub,omitempty"`
}

// Type is grant.opened.v1.
func (GrantOpened) Type() string { return "grant.opened.v1" }

// CodeRedeemed spends the grant's code. It issues generation 1.
type CodeRedeemed struct{ Issuance }

// Type is code.redeemed.v1.
func (CodeRedeemed) Type() string { return "code.redeemed.v1" }

// RefreshTokenRotated spends one refresh token and issues its only successor.
type RefreshTokenRotated struct{ Issuance }

// Type is refresh_token.rotated.v1.
func (RefreshTokenRotated) Type() string { return "refresh_token.rotated.v1" }

// RefreshTokenRepeated records the first retry inside the retry window: the
// current generation was answered again, nothing new was issued.
type RefreshTokenRepeated struct {
	// Generation is the one that was answered again.
	Generation uint32 `json:"gen"`
	JTI        string `json:"jti"`
	KID        string `json:"kid"`
}

// Type is refresh_token.repeated.v1.
func (RefreshTokenRepeated) Type() string { return "refresh_token.repeated.v1" }

// Reasons for which a grant or a session ends, or all of a user's do.
const (
	ReasonRefreshTokenReuse = "refresh_token_reuse"
	ReasonCodeReuse         = "code_reuse"
	ReasonClientRequest     = "client_request" // RFC 7009
	ReasonUserRequest       = "user_request"
	ReasonAdminRequest      = "admin_request"
	// ReasonSignedInAgain is a session's that another one takes the place of.
	ReasonSignedInAgain = "signed_in_again"
	// ReasonLogRestored is of what was there before a loss of the log was accepted.
	ReasonLogRestored = "log_restored"
)

// GrantRevoked ends a grant and everything derived from it.
type GrantRevoked struct {
	Reason string `json:"reason"`
	// Generation is the one presented, where a refresh token was.
	Generation uint32 `json:"gen,omitempty"`
}

// Type is grant.revoked.v1.
func (GrantRevoked) Type() string { return "grant.revoked.v1" }

// AccessTokenIssued is an access token outside a grant's rotation.
type AccessTokenIssued struct {
	JTI         string   `json:"jti"`
	Client      string   `json:"client"`
	ClientEpoch uint64   `json:"client_epoch"`
	Subject     string   `json:"sub"`
	IssuedAt    int64    `json:"iat"`
	Expires     int64    `json:"exp"`
	Scope       []string `json:"scope,omitempty"`
	Audience    []string `json:"aud,omitempty"`
	KID         string   `json:"kid"`
	// Origin is a keyed hash of the address that asked.
	Origin string `json:"origin,omitempty"`
	// LoginClaims is as in Issuance.
	LoginClaims bool `json:"login_claims,omitempty"`
}

// Type is access_token.issued.v1.
func (AccessTokenIssued) Type() string { return "access_token.issued.v1" }

// TokenExchanged is an access token that was made from another (RFC 8693). Its
// partition is that of the token at its root, whatever the client.
type TokenExchanged struct {
	// Client, here, is the one that asked for the exchange.
	AccessTokenIssued
	// Grant is the grant of the root token, and UserEpoch that of its resource
	// owner, Subject. Both are zero where the root is a client's own token.
	Grant     GrantID `json:"grant,omitzero"`
	UserEpoch uint64  `json:"user_epoch,omitempty"`
	// Act is who acts for the subject, or nil for impersonation.
	Act *Actor `json:"act,omitempty"`
	// MayAct says who alone may exchange the token further (RFC 8693 §4.4), as
	// claims that must all hold of the party; empty is anybody.
	MayAct map[string]string `json:"may_act,omitempty"`
	// Chain is what the token was made from, the root token first.
	Chain []Ancestor `json:"chain"`
	// User is the resource owner's id where Subject is not, because it is
	// pairwise.
	User string `json:"user,omitempty"`
}

// Type is token.exchanged.v1.
func (TokenExchanged) Type() string { return "token.exchanged.v1" }

// An Actor acts for a subject (RFC 8693 §4.1). It says who, and no more.
type Actor struct {
	Subject string `json:"sub"`
	// Client is the client that the actor's token was issued to.
	Client string `json:"client_id,omitempty"`
	// Act is who acted before, which is history and decides nothing.
	Act *Actor `json:"act,omitempty"`
}

// An Ancestor is a token that another was made from: the subject token of an
// exchange or, with Actor, its actor token. What ends it ends what was made
// from it. Subject tokens share grant, user and partition with what was made
// from them.
type Ancestor struct {
	JTI         string      `json:"jti"`
	Client      string      `json:"client"`
	ClientEpoch uint64      `json:"client_epoch"`
	Actor       *ActorToken `json:"actor,omitempty"`
}

// An ActorToken is what an actor token has of its own.
type ActorToken struct {
	// Partition is where the token's revocation would be.
	Partition Partition `json:"part"`
	// Grant, User and UserEpoch are zero for a client's own token.
	Grant     GrantID `json:"grant,omitzero"`
	User      string  `json:"user,omitempty"`
	UserEpoch uint64  `json:"user_epoch,omitempty"`
}

// SessionOpened says that a person signed in at a user agent. The session
// lasts until it expires or is ended; signing in again opens another one.
type SessionOpened struct {
	User      string `json:"user"`
	UserEpoch uint64 `json:"user_epoch"`
	// AuthTime is when the user authenticated and AMR how (OIDC Core §2).
	AuthTime int64    `json:"auth_time"`
	AMR      []string `json:"amr,omitempty"`
	// Expires is in Unix seconds.
	Expires int64 `json:"exp"`
	// MACKey is the id of the key that authenticates the session's cookie.
	MACKey uint8 `json:"mac"`
	// ACR is the level of the authentication, where one is claimed.
	ACR string `json:"acr,omitempty"`
}

// Type is session.opened.v1.
func (SessionOpened) Type() string { return "session.opened.v1" }

// SessionEnded ends a session, which is what signing out does, and leaves the
// grants that were opened in it alone. It is stored where every replica follows
// it.
type SessionEnded struct {
	Session SessionID `json:"session"`
	User    string    `json:"user"`
	Reason  string    `json:"reason"`
	// Until, in Unix seconds, is when the session would have expired and its end
	// stops to matter.
	Until int64 `json:"until"`
}

// Type is session.ended.v1.
func (SessionEnded) Type() string { return "session.ended.v1" }

// A LogoutOutcome is how it went to tell a client that a session has ended
// (OpenID Connect Back-Channel Logout 1.0 §2.5).
type LogoutOutcome struct {
	Session SessionID `json:"session"`
	Client  string    `json:"client"`
	User    string    `json:"user"`
	// Attempts is how often the end of the session had come up for delivery by
	// then. Status is the client's last answer, 0 if there was none.
	Attempts uint64 `json:"attempts"`
	Status   int    `json:"status,omitempty"`
	// Until, in Unix seconds, is when the session would have expired and the
	// outcome stops to matter.
	Until int64 `json:"until"`
}

// LogoutDelivered says that a client took the logout token of a session.
type LogoutDelivered struct{ LogoutOutcome }

// Type is logout.delivered.v1.
func (LogoutDelivered) Type() string { return "logout.delivered.v1" }

// LogoutFailed says that a client was given up: it would not take the logout
// token of a session.
type LogoutFailed struct{ LogoutOutcome }

// Type is logout.failed.v1.
func (LogoutFailed) Type() string { return "logout.failed.v1" }

// AccessTokenRevoked ends one access token and leaves its grant alone. It is
// stored where every replica follows it.
type AccessTokenRevoked struct {
	JTI    string `json:"jti"`
	Client string `json:"client"`
	// Until, in Unix seconds, is when the token would have expired and the
	// revocation stops to matter.
	Until int64 `json:"until"`
}

// Type is access_token.revoked.v1.
func (AccessTokenRevoked) Type() string { return "access_token.revoked.v1" }

// GrantRevocationMarked tells every replica that the access tokens of a grant
// are dead. It is committed as one unit with the GrantRevoked it marks.
type GrantRevocationMarked struct {
	Grant GrantID `json:"grant"`
	// Until, in Unix seconds, is when the last access token of the grant
	// expires.
	Until int64 `json:"until"`
}

// Type is grant.revocation_marked.v1.
func (GrantRevocationMarked) Type() string { return "grant.revocation_marked.v1" }

// RequestRefused says that a replica refused requests, alike ones in one event.
// It changes nothing. The event's Meta is that of the last one; its actor is
// missing where the client was not authenticated.
type RequestRefused struct {
	// What was asked for: a grant type (RFC 6749 §4, RFC 8693 §2.1, RFC 8628 §3.4),
	// "token" for one that is not known, "login", "revocation", "introspection" or
	// "device_authorization".
	What string `json:"what"`
	// Client is the one that asked, or said it was, if there is such a client.
	Client string `json:"client,omitempty"`
	// Grant is what was presented for, if it proved to be a token of one, and
	// User the resource owner or who tried to log in.
	Grant GrantID `json:"grant,omitzero"`
	User  string  `json:"user,omitempty"`
	// Reason says why, Parameter at which parameter, and Detail what the caller
	// was not told. All are fixed texts and hold nothing that was sent.
	Reason    string `json:"reason"`
	Parameter string `json:"parameter,omitempty"`
	Detail    string `json:"detail,omitempty"`
	// Count is how many were refused, the first and the last of them at First
	// and Last, in Unix seconds.
	Count int64 `json:"count"`
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

// Type is request.refused.v1.
func (RequestRefused) Type() string { return "request.refused.v1" }

// FeedTicked is written by a replica to prove, by reading it back, that its
// feed is fresh.
type FeedTicked struct{}

// Type is feed.ticked.v1.
func (FeedTicked) Type() string { return "feed.ticked.v1" }

// LogRestored says that an operator takes the log as it is, although more of it
// was signed or acknowledged: it was restored from a backup, or has lost something.
// What was lost is not known, so what was there before ends, in every stream that
// is named: grants but those of Keep, sessions, and access tokens. No MAC key that
// was announced before renders anything any more, so that no generation is derived
// twice under one key.
//
// It is appended to every partition that it names, and last to the registry, which
// it then counts from.
type LogRestored struct {
	// Streams are those of which something may be lost. With the registry, all
	// partitions are among them: whoever was cut off in it was so everywhere.
	Streams []RestoredStream `json:"streams"`
	// Keep are the clients whose grants go on. Nobody can tell which of them were
	// revoked, or refreshed, in what was lost.
	Keep []string `json:"keep,omitempty"`
}

// Type is log.restored.v1.
func (LogRestored) Type() string { return "log.restored.v1" }

// Of is what f says of a stream, if it does.
func (f LogRestored) Of(stream string) (RestoredStream, bool) {
	for _, s := range f.Streams {
		if s.Stream == stream {
			return s, true
		}
	}
	return RestoredStream{}, false
}

// Ended are the streams of which something ends. With the registry that is every
// partition there can be: of one that is not named nothing was left, and it may be
// made again.
func (f LogRestored) Ended(r Realm) []RestoredStream {
	if _, ok := f.Of(r.RegistryStream()); !ok {
		return f.Streams
	}
	all := slices.Clone(f.Streams)
	for p := range MaxPartitions {
		stream := r.PartitionStream(Partition(p))
		if _, named := f.Of(stream); !named {
			all = append(all, RestoredStream{Stream: stream})
		}
	}
	return all
}

// RestoredStream is what of a stream is there and what was.
type RestoredStream struct {
	Stream string `json:"stream"`
	// Signed is the last sequence that was signed, or folded, 0 for a partition that
	// only ends because the registry does.
	Signed uint64 `json:"signed,omitempty"`
	// Size is the last sequence that the log has. What is up to there, or in its
	// place was lost, is what ends.
	Size uint64 `json:"size"`
}

// ClientSettings are what an operator decides about a client. Names follow
// RFC 7591 §2 where it has one. Durations are in seconds; 0 is the default.
type ClientSettings struct {
	Name string `json:"client_name,omitempty"`
	// Public clients cannot keep a secret (RFC 6749 §2.1).
	Public       bool     `json:"public,omitempty"`
	GrantTypes   []string `json:"grant_types,omitempty"`
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	// Scope is what the client may be granted; Audience what its tokens may be
	// for.
	Scope    []string `json:"scope,omitempty"`
	Audience []string `json:"audience,omitempty"`
	// SigningAlg is the JWS algorithm of the client's access and ID tokens.
	SigningAlg string `json:"access_token_signing_alg,omitempty"`
	// RequirePKCE asks for a challenge of a confidential client too. Public
	// clients always need one.
	RequirePKCE bool `json:"require_pkce,omitempty"`
	// PKCEOptional lets a confidential client that does not know PKCE come to the
	// authorization endpoint without a challenge.
	PKCEOptional bool `json:"pkce_optional,omitempty"`
	// IntrospectAny lets the client introspect tokens of every audience.
	IntrospectAny bool `json:"introspect_any,omitempty"`
	// FirstParty clients are the installation's own: people are not asked whether
	// they may have what they ask for.
	FirstParty bool `json:"first_party,omitempty"`
	// RequirePAR asks for requests that were pushed (RFC 9126 §6).
	RequirePAR bool `json:"require_pushed_authorization_requests,omitempty"`
	// PasswordLogin lets a first-party public client send a user's password.
	PasswordLogin bool `json:"password_login,omitempty"`
	// TokenExchange is what the client may do if it has that grant type.
	TokenExchange ExchangeSettings `json:"token_exchange,omitzero"`
	// SubjectType is public or pairwise (OIDC Core §8); empty is public. Clients of
	// one SectorIdentifier, a host, are told one pairwise subject of a user;
	// empty is the host that all redirect URIs have.
	SubjectType      string `json:"subject_type,omitempty"`
	SectorIdentifier string `json:"sector_identifier,omitempty"`
	// AllowedOrigins are the web origins (RFC 6454 §6.2) whose scripts may read
	// answers to the client.
	AllowedOrigins []string `json:"allowed_origins,omitempty"`
	// PostLogoutRedirectURIs are where people may be sent once they have signed
	// out (OpenID Connect RP-Initiated Logout 1.0 §3.1).
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	// BackchannelLogoutURI is told when a session that the client took part in
	// ends, empty for a client that does not want to know (OpenID Connect
	// Back-Channel Logout 1.0 §2.2). BackchannelLogoutSession says that it needs
	// the sid, which every logout token has.
	BackchannelLogoutURI     string `json:"backchannel_logout_uri,omitempty"`
	BackchannelLogoutSession bool   `json:"backchannel_logout_session_required,omitempty"`

	CodeLifetime            int64 `json:"code_lifetime,omitempty"`
	AccessTokenLifetime     int64 `json:"access_token_lifetime,omitempty"`
	RefreshIdleLifetime     int64 `json:"refresh_token_idle_lifetime,omitempty"`
	RefreshAbsoluteLifetime int64 `json:"refresh_token_absolute_lifetime,omitempty"`
	// RetryWindow is a pointer because 0 is a choice: no retries.
	RetryWindow *int64 `json:"refresh_token_retry_window,omitempty"`
}

// ExchangeSettings are what a client may do by token exchange (RFC 8693). The
// zero value allows nothing.
type ExchangeSettings struct {
	// Impersonation allows exchanges without an actor token: the new token is
	// the subject's, and does not tell who uses it.
	Impersonation bool `json:"impersonation,omitempty"`
	// Delegation allows exchanges with an actor token, which act names.
	Delegation bool `json:"delegation,omitempty"`
	// Public allows a public client to exchange, which proves nothing of itself.
	Public bool `json:"public,omitempty"`
	// Audiences are what exchanged tokens may be for beyond the client's own.
	Audiences []string `json:"audiences,omitempty"`
	// MaxDepth is how many exchanges may lie between a token at the root and
	// the client's, its own included; 0 is 1.
	MaxDepth int `json:"max_depth,omitempty"`
	// MayAct is the client that alone may exchange the client's exchanged tokens
	// further; empty is any that is allowed to.
	MayAct string `json:"may_act,omitempty"`
}

// ClientRegistered creates a client, with its first secret if it is
// confidential.
type ClientRegistered struct {
	ClientSettings
	Secret *ClientSecretAdded `json:"secret,omitempty"`
	// OriginKey is the public key that origins of the client's own requests
	// are sealed for (Meta.Origin).
	OriginKey string `json:"origin_key,omitempty"`
}

// Type is client.registered.v1.
func (ClientRegistered) Type() string { return "client.registered.v1" }

// ClientUpdated replaces a client's settings whole.
type ClientUpdated struct{ ClientSettings }

// Type is client.updated.v1.
func (ClientUpdated) Type() string { return "client.updated.v1" }

// ClientDisabled stops a client and raises its epoch.
type ClientDisabled struct{}

// Type is client.disabled.v1.
func (ClientDisabled) Type() string { return "client.disabled.v1" }

// ClientEnabled lets a client start again. What it held before stays dead.
type ClientEnabled struct{}

// Type is client.enabled.v1.
func (ClientEnabled) Type() string { return "client.enabled.v1" }

// ClientCutOff ends all that was issued to a client, by raising the epoch, and
// stops nobody: the client may ask for tokens again at once.
type ClientCutOff struct {
	// Reason is ReasonAdminRequest.
	Reason string `json:"reason"`
}

// Type is client.cut_off.v1.
func (ClientCutOff) Type() string { return "client.cut_off.v1" }

// ClientSecretAdded gives a client a further secret.
type ClientSecretAdded struct {
	// ID names the secret; it is no part of it.
	ID string `json:"id"`
	// Hash is base64url of the HMAC of the secret, KeyID the key it was made
	// with. That key is never in the log.
	Hash  string `json:"hash"`
	KeyID string `json:"key_id"`
}

// Type is client.secret_added.v1.
func (ClientSecretAdded) Type() string { return "client.secret_added.v1" }

// ClientSecretDropped ends a secret.
type ClientSecretDropped struct {
	ID string `json:"id"`
}

// Type is client.secret_dropped.v1.
func (ClientSecretDropped) Type() string { return "client.secret_dropped.v1" }

// UserRegistered makes a person's record a user. It holds nothing of the
// person; the id is the subject's.
type UserRegistered struct {
	// OriginKey is the public key that origins of requests in the user's name
	// are sealed for (Meta.Origin). Its private half is in the record.
	OriginKey string `json:"origin_key,omitempty"`
}

// Type is user.registered.v1.
func (UserRegistered) Type() string { return "user.registered.v1" }

// UserDisabled stops a user and raises the epoch.
type UserDisabled struct{}

// Type is user.disabled.v1.
func (UserDisabled) Type() string { return "user.disabled.v1" }

// UserEnabled lets a user start again. Earlier grants stay dead.
type UserEnabled struct{}

// Type is user.enabled.v1.
func (UserEnabled) Type() string { return "user.enabled.v1" }

// UserCutOff ends all that was issued in a user's name, by raising the epoch,
// and stops nobody: the user may log in again at once.
type UserCutOff struct {
	// Reason is ReasonUserRequest or ReasonAdminRequest.
	Reason string `json:"reason"`
}

// Type is user.cut_off.v1.
func (UserCutOff) Type() string { return "user.cut_off.v1" }

// UserDeleted ends a user for good: it raises the epoch, and nothing is issued in
// the user's name again. The id is not given to anybody else.
type UserDeleted struct{}

// Type is user.deleted.v1.
func (UserDeleted) Type() string { return "user.deleted.v1" }

// UserErased says that the person's record is gone, and with it the private half
// of the key that origins were sealed for, and their user name. It is appended
// when that is done, after UserDeleted, and nothing comes after it.
type UserErased struct{}

// Type is user.erased.v1.
func (UserErased) Type() string { return "user.erased.v1" }

// ConsentGiven says what a user agreed that a client may have from now on. It
// takes the place of what was agreed before.
type ConsentGiven struct {
	Scope    []string `json:"scope"`
	Audience []string `json:"aud,omitempty"`
}

// Type is consent.given.v1.
func (ConsentGiven) Type() string { return "consent.given.v1" }

// ConsentWithdrawn ends a user's consent to a client.
type ConsentWithdrawn struct{}

// Type is consent.withdrawn.v1.
func (ConsentWithdrawn) Type() string { return "consent.withdrawn.v1" }

// PartitionAdded says that a partition is there, in a stream of its own. Nothing is
// stored in one before that, but ticks. The number is the subject's. Partition 0
// is there from the beginning and has no such event.
type PartitionAdded struct{}

// Type is partition.added.v1.
func (PartitionAdded) Type() string { return "partition.added.v1" }

// Uses of a key.
const (
	KeyUseSignature = "sig" // signs access and ID tokens (RFC 7517 §4.2)
	KeyUseMAC       = "mac" // authenticates codes and refresh tokens
)

// KeyAnnounced publishes a key before it is used. The private part is in a
// bucket, encrypted.
type KeyAnnounced struct {
	Use string `json:"use"`
	// Alg is the JWS algorithm of a signing key (RFC 7518 §3.1).
	Alg string `json:"alg,omitempty"`
	// PublicJWK is the public part of a signing key (RFC 7517).
	PublicJWK json.RawMessage `json:"jwk,omitempty"`
	// MACKey is the id of a MAC key, 1 to 255. It is never used again.
	MACKey uint8 `json:"mac,omitempty"`
}

// Type is key.announced.v1.
func (KeyAnnounced) Type() string { return "key.announced.v1" }

// KeyActivated makes a key the one that new tokens are made with.
type KeyActivated struct{}

// Type is key.activated.v1.
func (KeyActivated) Type() string { return "key.activated.v1" }

// KeyRetired stops a key from making tokens; it still verifies.
type KeyRetired struct{}

// Type is key.retired.v1.
func (KeyRetired) Type() string { return "key.retired.v1" }

// KeyDropped ends a key: nothing made with it verifies.
type KeyDropped struct{}

// Type is key.dropped.v1.
func (KeyDropped) Type() string { return "key.dropped.v1" }
