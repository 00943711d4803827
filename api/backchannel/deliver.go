package backchannel

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// atOnce is how many clients of one end are told at the same time.
const atOnce = 16

// deliver does one round of an end: it tells each client that is not waited for,
// and records the outcomes. again is when the next round is due, zero if nobody
// is left.
func (d *Deliverer) deliver(ctx context.Context, e end) (again time.Duration, err error) {
	reading, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	all, err := d.ended(reading, e)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	if err := d.cfg.Feed.RegistryFresh(reading); err != nil {
		return 0, fmt.Errorf("prove the registry fresh: %w", err)
	}
	var round round
	slots := make(chan struct{}, atOnce)
	for _, p := range all {
		client, ok := d.cfg.Feed.Client(p.Client)
		if !ok || client.BackchannelLogoutURI == "" {
			continue
		}
		slots <- struct{}{}
		round.busy.Go(func() {
			defer func() { <-slots }()
			round.add(d.tell(ctx, e, p, client))
		})
	}
	round.busy.Wait()
	return round.again, round.err
}

// A round is what became of the clients of an end.
type round struct {
	busy sync.WaitGroup

	mu    sync.Mutex
	again time.Duration
	err   error
}

func (r *round) add(again time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.err = err
	}
	if again > 0 && (r.again == 0 || again < r.again) {
		r.again = again
	}
}

// tell tells one client, unless it is waited for. again is zero for a client
// that is done with.
func (d *Deliverer) tell(ctx context.Context, e end, p fold.Participant, client fold.Client) (again time.Duration, err error) {
	status, tried := d.paces.lastStatus(client.ID), false
	again, failing := d.paces.enter(client.ID, time.Now())
	if again == 0 {
		tried = true
		status, err = d.send(ctx, p, client)
		if err != nil && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err != nil {
			d.cfg.Logger.Warn("a client was not told of the end of a session",
				"client", client.ID, "session", p.Session.String(), "attempt", e.attempt, "status", status, "reason", err)
		}
		again = max(d.paces.leave(client.ID, status, time.Now(), err != nil), backoff(e.attempt))
	}
	outcome := events.LogoutOutcome{
		Session: p.Session, Client: p.Client, User: p.User, Attempts: e.attempt, Status: status, Until: p.Expires,
	}
	switch {
	case tried && err == nil:
		return 0, d.record(ctx, events.LogoutDelivered{LogoutOutcome: outcome}, p)
	case (tried || failing > d.giveUp) && d.cfg.Feed.Now(p.Session.Partition()).Sub(e.Stored) > d.giveUp:
		d.cfg.Logger.Error("a client is given up: it was not told of the end of a session",
			"client", client.ID, "session", p.Session.String(), "status", status)
		return 0, d.record(ctx, events.LogoutFailed{LogoutOutcome: outcome}, p)
	}
	return again, nil
}

// send sends the logout token (§2.5). status is 0 where there was no answer.
func (d *Deliverer) send(ctx context.Context, p fold.Participant, client fold.Client) (status int, err error) {
	now := d.cfg.Feed.Now(p.Session.Partition())
	token, err := d.cfg.Sign(client, jose.LogoutClaims{
		Issuer: d.cfg.Issuer, Subject: p.Subject, ClientID: client.ID, Session: p.Session, JTI: d.once("jti", p),
		IssuedAt: now.Unix(), Expires: now.Add(tokenLifetime).Unix(),
	})
	if err != nil {
		return 0, fmt.Errorf("sign a logout token: %w", err)
	}
	return post(ctx, d.http, client.BackchannelLogoutURI, token)
}

// record makes an outcome durable. Twice the same one is stored once, if it comes
// soon.
func (d *Deliverer) record(ctx context.Context, f events.Fact, p fold.Participant) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	part := p.Session.Partition()
	_, err := d.cfg.Log.Append(ctx, eventlog.Unit{Event: events.Event{
		ID: d.once(f.Type(), p), Source: d.cfg.Issuer, Time: d.cfg.Feed.Now(part),
		Subject: d.cfg.Log.Realm().LogoutSubject(part), Meta: events.Meta{Actor: "system"}, Fact: f,
	}})
	if err != nil {
		return fmt.Errorf("record the outcome: %w", err)
	}
	return nil
}

// once is an id that is always the same for a client of a session, so that
// whoever gets it again knows it.
func (d *Deliverer) once(purpose string, p fold.Participant) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + d.cfg.Issuer + "\x00" + p.Session.String() + "\x00" + p.Client))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Bounds of the time between attempts.
const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// backoff is how long to wait after so many attempts.
func backoff(attempts uint64) time.Duration {
	if attempts > 6 {
		return maxPause
	}
	return min(firstPause<<(max(1, attempts)-1), maxPause)
}
