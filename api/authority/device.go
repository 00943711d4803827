package authority

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// deviceRecordAge is how long requests of devices are kept after they were last
// written. What counts is when they expire.
const deviceRecordAge = 2 * rules.DeviceCodeLifetime

// Answers of a person to a device.
const (
	deviceAllowed = "allowed"
	deviceDenied  = "denied"
)

// A Device is a device authorization request (RFC 8628 §3.1) that waits for a
// person. Like a Pending it has the id of the grant that it will open, which the
// log opens once.
type Device struct {
	Grant  events.GrantID `json:"grant"`
	Client string         `json:"client"`
	// ClientEpoch is the one it was made under, and dies with.
	ClientEpoch uint64   `json:"client_epoch"`
	Scope       []string `json:"scope,omitempty"`
	Audience    []string `json:"aud,omitempty"`
	// MACKey is the id of the key that authenticates the device code.
	MACKey uint8 `json:"mac"`
	// Expires is in Unix seconds.
	Expires int64 `json:"exp"`
	// Answer is empty until User has given one.
	Answer string `json:"answer,omitempty"`
	User   string `json:"user,omitempty"`
}

// devices are the requests of devices, encrypted, under names that only who
// knows a user code can make.
type devices struct {
	bucket jetstream.KeyValue
	sealer *secret.Sealer
	codes  *secret.UserCodes
}

// A deviceEntry is where a request was found.
type deviceEntry struct {
	Device
	name     string
	revision uint64
}

func (d *devices) encode(name string, request Device) ([]byte, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the device's request: %w", err)
	}
	return d.sealer.Seal(text, []byte(name)), nil
}

// create keeps a new request. False is that its user code is another's.
func (d *devices) create(ctx context.Context, code secret.UserCode, request Device) (bool, error) {
	name := d.codes.Names(code)[0]
	value, err := d.encode(name, request)
	if err != nil {
		return false, err
	}
	_, err = d.bucket.Create(ctx, name, value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	return err == nil, wrapUnavailable("keep the device's request", err)
}

// find is the request of a user code. That there is none proves nothing, as with
// the log: the leader that was asked may be cut off.
func (d *devices) find(ctx context.Context, code secret.UserCode) (found deviceEntry, ok bool, err error) {
	for _, name := range d.codes.Names(code) {
		entry, err := d.bucket.Get(ctx, name)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return found, false, unavailable("read the device's request", err)
		}
		text, err := d.sealer.Open(entry.Value(), []byte(name))
		if err != nil {
			return found, false, fmt.Errorf("open the device's request: %w", err)
		}
		if err := json.Unmarshal(text, &found.Device); err != nil {
			return found, false, fmt.Errorf("decode the device's request: %w", err)
		}
		found.name, found.revision = name, entry.Revision()
		return found, true, nil
	}
	return found, false, nil
}

// ofGrant is find for the grant that the request is to open.
func (d *devices) ofGrant(ctx context.Context, id events.GrantID) (found deviceEntry, ok bool, err error) {
	for _, code := range d.codes.For(id.String()) {
		if found, ok, err = d.find(ctx, code); err != nil || ok && found.Grant == id {
			return found, ok, err
		}
	}
	return deviceEntry{}, false, nil
}

// A DeviceVisit is a person who was shown the request of a device, and is asked
// for an answer. The browser keeps it, encrypted.
type DeviceVisit struct {
	Code  secret.UserCode `json:"code"`
	Grant events.GrantID  `json:"grant"`
	// Session is whose answer it is, and Browser as in Pending.
	Session events.SessionID `json:"session"`
	Browser string           `json:"browser"`
}

const deviceContext = "device"

// SealDeviceVisit is the text that OpenDeviceVisit reads.
func (a *Authority) SealDeviceVisit(v DeviceVisit) (string, error) {
	return a.sealPending(v, deviceContext)
}

// OpenDeviceVisit reads what the browser kept. The refusal is RequestExpired.
func (a *Authority) OpenDeviceVisit(text, browser string) (DeviceVisit, error) {
	var v DeviceVisit
	if err := a.openPending(text, deviceContext, &v); err != nil {
		return v, err
	}
	if v.Browser != browser {
		return DeviceVisit{}, &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "another browser's"}
	}
	return v, nil
}

// A DeviceAuthorization is what a device is told (RFC 8628 §3.2). Its codes are
// secrets.
type DeviceAuthorization struct {
	DeviceCode string
	UserCode   secret.UserCode
	ExpiresIn  time.Duration
}

// BeginDevice begins a device authorization (RFC 8628 §3.1) of an authenticated
// client. RedirectURI, Challenge, Nonce and Grant are not in use.
func (a *Authority) BeginDevice(ctx context.Context, r AuthorizationRequest) (_ *DeviceAuthorization, err error) {
	asked, refusal := a.authorization(r, Authentication{}, 0).CheckDeviceRequest()
	if refusal != nil {
		return nil, refusal
	}
	ring, mac := a.Keys.MAC()
	if mac == 0 {
		return nil, unavailable("choose a MAC key", errors.New("none is active here"))
	}
	if r.Client, err = a.newestClient(ctx, r.Client, ClientAuthenticationFailed); err != nil {
		return nil, err
	}
	for range maxDecisions {
		id := a.newGrantID()
		request := Device{
			Grant: id, Client: r.Client.ID, ClientEpoch: r.Client.Epoch, Scope: asked.Scope, Audience: asked.Audience,
			MACKey: mac, Expires: a.Feed.Now(id.Partition()).Add(rules.DeviceCodeLifetime).Unix(),
		}
		text, err := ring.Render(credential.DeviceCode, credential.Claims{Grant: id, Expires: request.Expires, MACKey: mac})
		if err != nil {
			return nil, fmt.Errorf("render device code: %w", err)
		}
		code := a.devices.codes.For(id.String())[0]
		if created, err := a.devices.create(ctx, code, request); created || err != nil {
			return &DeviceAuthorization{DeviceCode: text, UserCode: code, ExpiresIn: rules.DeviceCodeLifetime}, err
		}
	}
	return nil, unavailable("draw a user code", errors.New("all of them are taken"))
}

// FindDevice is the request that a user's code is of, while nobody has answered
// it. The refusal is UnknownUserCode, or Busy for who tries too many.
func (a *Authority) FindDevice(ctx context.Context, typed string, u fold.User, caller Caller) (Device, secret.UserCode, error) {
	end, wait := a.Failures.Begin("device "+u.ID, caller.Address, a.Feed.Now(0))
	if end == nil {
		return Device{}, "", &rules.Refusal{Reason: Busy, Detail: "too many wrong user codes", RetryAfter: wait}
	}
	request, code, err := a.findDevice(ctx, typed)
	end(isRefusal(err, rules.UnknownUserCode))
	return request, code, err
}

func (a *Authority) findDevice(ctx context.Context, typed string) (Device, secret.UserCode, error) {
	code, ok := secret.ParseUserCode(typed)
	if !ok {
		return Device{}, "", &rules.Refusal{Reason: rules.UnknownUserCode, Parameter: "user_code", Detail: "cannot be one"}
	}
	found, ok, err := a.devices.find(ctx, code)
	switch {
	case err != nil:
		return Device{}, "", err
	case !ok, found.Answer != "", a.Feed.Now(found.Grant.Partition()).Unix() >= found.Expires:
		return Device{}, "", &rules.Refusal{Reason: rules.UnknownUserCode, Parameter: "user_code", Detail: "unknown, answered or expired"}
	}
	return found.Device, code, nil
}

// AllowDevice opens the grant of a request for a user who has authenticated and
// agreed, and records that they did. To allow it again is no error.
func (a *Authority) AllowDevice(ctx context.Context, code secret.UserCode, id events.GrantID, auth Authentication, caller Caller) (fold.Client, error) {
	found, err := a.pendingDevice(ctx, code, id)
	if err != nil {
		return fold.Client{}, err
	}
	client, err := a.DeviceClient(ctx, found.Device)
	if err != nil {
		return client, err
	}
	r := AuthorizationRequest{Client: client, Scope: found.Scope, Audience: found.Audience, Exact: true}
	decision := a.authorization(r, auth, id.Partition())
	asked, refusal := decision.CheckDeviceRequest()
	if refusal != nil {
		return client, refusal
	}
	fact, refusal := rules.OpenWithDeviceCode(decision, rules.Minting{MACKey: found.MACKey}, time.Unix(found.Expires, 0))
	if refusal != nil {
		return client, refusal
	}
	if err := a.partition(ctx, id.Partition()); err != nil {
		return client, err
	}
	// The record is written first: whichever of two answers is in it is the one.
	if err := a.answerDevice(ctx, code, id, deviceAllowed, auth.User.ID); err != nil {
		return client, err
	}
	// The form that comes again must not agree again to what was ended since.
	last, opened, err := a.Log.Last(ctx, a.Log.Realm().GrantSubject(id))
	if err != nil {
		return client, unavailable("look for the device's grant", err)
	}
	if _, revoked := last.Fact.(events.GrantRevoked); revoked {
		return client, &rules.Refusal{Reason: RequestUsed}
	}
	if !client.FirstParty && !opened {
		if err := a.GiveConsent(ctx, client, auth.User, asked, caller); err != nil {
			return client, err
		}
	}
	err = a.open(ctx, id, *fact, auth.User, caller)
	if errors.Is(err, eventlog.ErrConflict) { // opened before, by the same answer
		err = nil
	}
	if err == nil {
		err = a.stillConsented(ctx, id, AuthorizationRequest{Client: client, Caller: caller}, auth.User, *fact)
	}
	return client, err
}

// DenyDevice has a device told that a user did not agree. To deny it again is no
// error.
func (a *Authority) DenyDevice(ctx context.Context, code secret.UserCode, id events.GrantID, u fold.User) (fold.Client, error) {
	found, err := a.pendingDevice(ctx, code, id)
	if err != nil {
		return fold.Client{}, err
	}
	if err := a.answerDevice(ctx, code, id, deviceDenied, u.ID); err != nil {
		return fold.Client{}, err
	}
	return a.client(ctx, found.Client)
}

// DeviceClient is the client of a request, unless it was disabled or cut off since, whatever
// became of it then.
func (a *Authority) DeviceClient(ctx context.Context, request Device) (fold.Client, error) {
	client, err := a.FindClient(ctx, request.Client)
	if err == nil {
		client, err = a.newestClient(ctx, client, NoSuchClient)
	}
	if err == nil && client.Epoch > request.ClientEpoch {
		err = &rules.Refusal{Reason: RequestExpired, Parameter: "user_code", Detail: "the client was disabled or cut off since"}
	}
	return client, err
}

// pendingDevice is the request of a code that was shown to a person. It may have
// been answered.
func (a *Authority) pendingDevice(ctx context.Context, code secret.UserCode, id events.GrantID) (deviceEntry, error) {
	found, ok, err := a.devices.find(ctx, code)
	if err == nil && (!ok || found.Grant != id || a.Feed.Now(id.Partition()).Unix() >= found.Expires) {
		err = &rules.Refusal{Reason: RequestExpired, Parameter: "user_code", Detail: "expired"}
	}
	return found, err
}

// answerDevice keeps a user's answer, which is written only over none, so there
// is one whatever others do at the same time. RequestUsed refuses another one.
func (a *Authority) answerDevice(ctx context.Context, code secret.UserCode, id events.GrantID, answer, user string) error {
	for range maxDecisions {
		found, err := a.pendingDevice(ctx, code, id)
		switch {
		case err != nil:
			return err
		case found.Answer == answer && found.User == user:
			return nil
		case found.Answer != "":
			return &rules.Refusal{Reason: RequestUsed, Parameter: "user_code", Detail: "answered otherwise"}
		}
		found.Answer, found.User = answer, user
		value, err := a.devices.encode(found.name, found.Device)
		if err != nil {
			return err
		}
		_, err = a.devices.bucket.Update(ctx, found.name, value, found.revision)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return wrapUnavailable("keep the answer to the device", err)
		}
	}
	return unavailable("keep the answer to the device", errors.New("others keep writing it"))
}

// PollDevice answers a device that polls with its code (RFC 8628 §3.4).
//
// While nobody has answered, the record says so and nothing else is read. That
// it is not found, or has no answer, proves nothing, and costs another poll at
// most. What is answered with tokens is the log's to decide.
func (a *Authority) PollDevice(ctx context.Context, r TokenRequest, deviceCode string) (*Tokens, error) {
	claims, err := a.parse(credential.DeviceCode, deviceCode)
	if errors.Is(err, errExpired) {
		return nil, &rules.Refusal{Reason: rules.DeviceCodeExpired, Parameter: "device_code", Detail: "expired", Grant: claims.Grant}
	}
	if err != nil {
		return nil, badCredential(err, rules.InvalidDeviceCode, "device_code", claims.Grant)
	}
	if wait := a.Polls.Name(r.Client.ID+" "+claims.Grant.String(), a.Feed.Now(claims.Grant.Partition())); wait > 0 {
		return nil, &rules.Refusal{Reason: rules.SlowDown, Grant: claims.Grant, RetryAfter: wait}
	}
	found, ok, err := a.devices.ofGrant(ctx, claims.Grant)
	if err != nil {
		return nil, err
	}
	if ok {
		if refusal := polled(found.Device, r.Client); refusal != nil {
			return nil, refusal.About(claims.Grant, found.User)
		}
	}
	return a.issueFromGrant(ctx, claims, rules.InvalidDeviceCode, r, func(g fold.Grant, h rules.Holder, now time.Time, m rules.Minting) rules.Outcome {
		return rules.RedeemDeviceCode(g, rules.DeviceExchange{
			CodeExchange: rules.CodeExchange{
				Holder: h, Scope: r.Scope, Audience: r.Audience,
				Origin: a.origin(claims.Grant, r.Caller), Issuer: a.Issuer, Now: now,
			},
			SameOrigin: a.Addresses.Matches(g.Current.Origin, claims.Grant.String(), r.Caller.Address),
		}, m)
	})
}

// polled is what a request's record has to say to a client that polls, or nil if
// the log has.
func polled(request Device, c fold.Client) *rules.Refusal {
	switch {
	case request.Client != c.ID:
		return &rules.Refusal{Reason: rules.InvalidDeviceCode, Parameter: "device_code", Detail: "of another client"}
	case c.Epoch > request.ClientEpoch:
		return &rules.Refusal{Reason: rules.InvalidDeviceCode, Parameter: "device_code", Detail: "the client was disabled or cut off since"}
	case request.Answer == deviceDenied:
		return &rules.Refusal{Reason: rules.DeviceDenied, Detail: "by the person"}
	case request.Answer == "":
		return &rules.Refusal{Reason: rules.AuthorizationPending}
	}
	return nil
}
