package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// change makes one decision about a client or user durable and waits until
// this replica's own feed has it, so that the next request sees it. decide
// gives nil for no change, and sign puts into the event who asked for it.
func change[S folder[S]](
	ctx context.Context, a *Authority, s events.Subject, state S, seq func(S) uint64,
	decide func(S) (events.Fact, *rules.Refusal), sign func(*events.Event, S),
) (S, error) {
	for range maxDecisions {
		state, err := catchUp(ctx, a.Log, s, state, seq(state))
		if err != nil {
			return state, unavailable("read the registry", err)
		}
		fact, refusal := decide(state)
		if refusal != nil {
			return state, refusal
		}
		if fact == nil {
			return state, wrapUnavailable("follow the registry", a.Feed.Wait(ctx, a.Log.Realm().RegistryStream(), seq(state)))
		}
		e := a.event(s, events.Meta{}, fact)
		sign(&e, state)
		if _, err := foldable(state, seq(state), e); err != nil {
			return state, err
		}
		receipt, err := a.Log.Append(ctx, eventlog.Unit{Event: e, Expect: seq(state)})
		if errors.Is(err, eventlog.ErrConflict) {
			continue
		}
		if err != nil {
			return state, unavailable("append "+fact.Type(), err)
		}
		if err := a.Feed.Wait(ctx, a.Log.Realm().RegistryStream(), receipt.Seq); err != nil {
			return state, unavailable("follow the registry", err)
		}
		state, err = catchUp(ctx, a.Log, s, state, seq(state))
		return state, wrapUnavailable("read the registry", err)
	}
	return state, unavailable("decide on the registry", errors.New("others keep writing to it"))
}

func (a *Authority) changeClient(ctx context.Context, id string, caller Caller, decide func(fold.Client) (events.Fact, *rules.Refusal)) (fold.Client, error) {
	if !events.ValidID(id) {
		return fold.Client{}, &rules.Refusal{Reason: rules.BadParameter, Parameter: "client_id", Detail: "not a client id"}
	}
	known, _ := a.Feed.Client(id)
	seq := func(c fold.Client) uint64 { return c.Seq }
	return change(ctx, a, a.Log.Realm().ClientSubject(id), known, seq, decide, func(e *events.Event, _ fold.Client) {
		e.Meta = caller.meta(adminActor)
	})
}

// RegisterClient creates a client. A confidential one gets a secret, which is
// told once: the one given, or a generated one if that is zero.
func (a *Authority) RegisterClient(ctx context.Context, id string, s events.ClientSettings, given secret.Secret, caller Caller) (fold.Client, secret.Secret, error) {
	if _, ok := a.Feed.Client(id); ok {
		return fold.Client{}, secret.Secret{}, &rules.Refusal{Reason: rules.AlreadyExists, Parameter: "client_id"}
	}
	if _, ok := a.Feed.User(id); ok { // a sub must not be anybody else's client_id (RFC 9068 §5)
		return fold.Client{}, secret.Secret{}, &rules.Refusal{Reason: rules.BadParameter, Parameter: "client_id", Detail: "a user's id"}
	}
	text, added := a.newSecret(id, given)
	originKey, private, err := a.newOriginKey(id)
	if err != nil {
		return fold.Client{}, secret.Secret{}, err
	}
	if events.ValidID(id) { // the record first, as of a person; of no client it is no harm
		if err := a.records.putClientKey(ctx, id, originKey, private); err != nil {
			return fold.Client{}, secret.Secret{}, unavailable("write the client's record", err)
		}
	}
	client, err := a.changeClient(ctx, id, caller, func(c fold.Client) (events.Fact, *rules.Refusal) {
		registered, refusal := rules.RegisterClient(c, id, s, &added, a.SigningAlgs)
		if refusal != nil {
			return nil, refusal
		}
		registered.OriginKey = originKey
		return *registered, nil
	})
	if err != nil || s.Public {
		return client, secret.Secret{}, err
	}
	return client, text, nil
}

func (a *Authority) newSecret(client string, given secret.Secret) (secret.Secret, events.ClientSecretAdded) {
	if given.IsZero() {
		given = secret.NewClientSecret()
	}
	hash, keyID := a.Secrets.Hash(client, given)
	return given, events.ClientSecretAdded{ID: rand.Text()[:8], Hash: hash, KeyID: keyID}
}

// UpdateClient replaces a client's settings.
func (a *Authority) UpdateClient(ctx context.Context, id string, s events.ClientSettings, caller Caller) (fold.Client, error) {
	return a.changeClient(ctx, id, caller, func(c fold.Client) (events.Fact, *rules.Refusal) {
		return rules.UpdateClient(c, s, a.SigningAlgs)
	})
}

// DisableClient stops a client and ends everything it holds.
func (a *Authority) DisableClient(ctx context.Context, id string, caller Caller) (fold.Client, error) {
	return a.changeClient(ctx, id, caller, rules.DisableClient)
}

// EnableClient lets a client start again, with nothing of what it held.
func (a *Authority) EnableClient(ctx context.Context, id string, caller Caller) (fold.Client, error) {
	return a.changeClient(ctx, id, caller, rules.EnableClient)
}

// CutOffClient ends everything issued to a client, and lets it ask for tokens
// again at once.
func (a *Authority) CutOffClient(ctx context.Context, id string, caller Caller) (fold.Client, error) {
	return a.changeClient(ctx, id, caller, rules.CutOffClient)
}

// AddClientSecret gives a client a second secret and tells it once.
func (a *Authority) AddClientSecret(ctx context.Context, id string, caller Caller) (secretID string, text secret.Secret, err error) {
	text, added := a.newSecret(id, secret.Secret{})
	_, err = a.changeClient(ctx, id, caller, func(c fold.Client) (events.Fact, *rules.Refusal) {
		return rules.AddClientSecret(c, added)
	})
	return added.ID, text, err
}

// DropClientSecret ends a secret.
func (a *Authority) DropClientSecret(ctx context.Context, id, secretID string, caller Caller) error {
	_, err := a.changeClient(ctx, id, caller, func(c fold.Client) (events.Fact, *rules.Refusal) {
		return rules.DropClientSecret(c, secretID)
	})
	return err
}

func (a *Authority) changeUser(ctx context.Context, id, actor string, caller Caller, decide func(fold.User) (events.Fact, *rules.Refusal)) (fold.User, error) {
	if !events.ValidID(id) {
		return fold.User{}, fmt.Errorf("change user: %w", &rules.Refusal{Reason: rules.BadParameter, Parameter: "user_id"})
	}
	known, _ := a.Feed.User(id)
	seq := func(u fold.User) uint64 { return u.Seq }
	return change(ctx, a, a.Log.Realm().UserSubject(id), known, seq, decide, func(e *events.Event, u fold.User) {
		e.Meta = caller.meta(actor)
		if actor == userActor(id) {
			a.seal(e, u.OriginKey, caller)
		}
	})
}

// DisableUser stops a user and ends everything issued in their name.
func (a *Authority) DisableUser(ctx context.Context, id string, caller Caller) (fold.User, error) {
	return a.changeUser(ctx, id, adminActor, caller, rules.DisableUser)
}

// EnableUser lets a user start again, with nothing of what was issued before.
func (a *Authority) EnableUser(ctx context.Context, id string, caller Caller) (fold.User, error) {
	return a.changeUser(ctx, id, adminActor, caller, rules.EnableUser)
}

// EraseUser ends a user for good, and erases the person: the record, and with it
// the key to the origins in the log. The user name is free again. Deleted comes
// first, so that nothing is issued to nobody; erased comes last, so that it is
// true. What a crash leaves undone in between, eraser does.
func (a *Authority) EraseUser(ctx context.Context, id string, caller Caller) (fold.User, error) {
	u, err := a.changeUser(ctx, id, adminActor, caller, rules.DeleteUser)
	if err != nil || u.Erased {
		return u, err
	}
	return a.finishErasure(ctx, id, adminActor, caller)
}

// finishErasure does what is left to do for a deleted user. Of several who do it
// at once one appends the event.
func (a *Authority) finishErasure(ctx context.Context, id, actor string, caller Caller) (fold.User, error) {
	if err := a.records.erase(ctx, id); err != nil {
		return fold.User{}, err
	}
	return a.changeUser(ctx, id, actor, caller, rules.EraseUser)
}

// CutOffUser ends everything issued in a user's name, and lets them log in again
// at once. The reason says who asked: events.ReasonUserRequest, or
// events.ReasonAdminRequest.
func (a *Authority) CutOffUser(ctx context.Context, id, reason string, caller Caller) (fold.User, error) {
	actor := adminActor
	if reason == events.ReasonUserRequest {
		actor = userActor(id)
	}
	return a.changeUser(ctx, id, actor, caller, func(u fold.User) (events.Fact, *rules.Refusal) {
		return rules.CutOffUser(u, reason)
	})
}

// Clients are all that are registered, by id.
func (a *Authority) Clients() []fold.Client { return a.Feed.Clients() }

// Client is one client as this replica knows it.
func (a *Authority) Client(id string) (fold.Client, error) {
	c, ok := a.Feed.Client(id)
	if !ok {
		return c, &rules.Refusal{Reason: rules.NotFound, Parameter: "client_id"}
	}
	return c, nil
}
