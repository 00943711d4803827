package authority

import (
	"context"
	"fmt"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// newOriginKey makes the key that origins of an owner's requests are sealed
// for: the public half for the log, the private one encrypted for the record.
func (a *Authority) newOriginKey(owner string) (public string, private []byte, err error) {
	key, err := secret.NewOriginKey()
	if err != nil {
		return "", nil, err
	}
	raw, err := key.Bytes()
	if err != nil {
		return "", nil, fmt.Errorf("encode origin key: %w", err)
	}
	return key.Public(), a.OriginKeys.Seal(raw, []byte(owner)), nil
}

// seal adds the caller's address and user agent to an event, readable only
// with the record that public is from. An event does without rather than fail.
func (a *Authority) seal(e *events.Event, public string, c Caller) {
	if public == "" || !c.Address.IsValid() {
		return
	}
	sealed, err := secret.SealOrigin(public, e.ID, secret.Origin{Address: c.Address, UserAgent: c.UserAgent})
	if err != nil {
		a.Logger.Error("an event has no origin", "event", e.ID, "error", err)
		return
	}
	e.Meta.Origin = sealed
}

// sameOrigin reports whether a fact comes from the address that the grant's
// last issuance came from. Sealing is the dearest step of a refresh, and the
// keyed hashes tell an auditor as much.
func sameOrigin(g fold.Grant, f events.Fact) bool {
	rotated, ok := f.(events.RefreshTokenRotated)
	return ok && rotated.Origin != "" && rotated.Origin == g.Current.Origin
}

// sealClient is seal for a client's own token. It is done when the client
// comes from another address than its last event here, which the caller notes
// once this one is durable.
func (a *Authority) sealClient(e *events.Event, client fold.Client, origin string, c Caller) {
	if last, ok := a.lastOrigin.Load(client.ID); ok && last == origin {
		return
	}
	a.seal(e, client.OriginKey, c)
}

// putClientKey stores the private half of a client's origin key, under its
// public half, so that two who register one client id do not overwrite.
func (r *records) putClientKey(ctx context.Context, client, public string, private []byte) error {
	_, err := r.bucket.Put(ctx, "client."+client+"."+public, private)
	return err
}
