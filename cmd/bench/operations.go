package bench

import (
	"context"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// next are the tokens whose turn it is, of the first so many, or nil if there are
// none.
func (w *worker) next(of int) *held {
	for len(w.held) > 0 {
		w.turn = (w.turn + 1) % min(of, len(w.held))
		h := w.held[w.turn]
		if !h.dead {
			return h
		}
		w.held[w.turn] = w.held[len(w.held)-1]
		w.held = w.held[:len(w.held)-1]
	}
	return nil
}

// hold gets what the worker is to hold.
func (w *worker) hold(ctx context.Context) *failure {
	h, f := w.obtain(ctx)
	if f == nil {
		w.held = append(w.held, h)
	}
	return f
}

// holdPatiently is for before anything is measured: a server that is not available yet
// is asked again for some time.
func (w *worker) holdPatiently(ctx context.Context) *failure {
	for began := time.Now(); ; {
		f := w.hold(ctx)
		if f == nil || f.kind != failedStatus || !strings.HasPrefix(f.what, "503") || time.Since(began) > prepareTimeout {
			return f
		}
		select {
		case <-time.After(failurePause):
		case <-ctx.Done():
			return f
		}
	}
}

// refreshOne refreshes what is next.
func (w *worker) refreshOne(ctx context.Context) (s sample, more bool) {
	h := w.next(len(w.held))
	if h == nil || h.refresh == "" { // of the client itself: there was no grant left for access tokens
		if w.person.username == "" {
			return s, false
		}
		if f := w.hold(ctx); f != nil {
			return failed(Refresh, f), true
		}
		h = w.held[0]
	}
	at, f := w.rotate(ctx, h, Refresh)
	return sample{Refresh, at, f}, true
}

// redeemOne redeems a code that it gets before.
func (w *worker) redeemOne(ctx context.Context) sample {
	code, f := w.authorize()
	if f != nil {
		return failed(Code, f)
	}
	h, at, f := w.redeem(ctx, code)
	if f == nil && len(w.spare) < maxSpare {
		w.spare = append(w.spare, h)
	}
	return sample{Code, at, f}
}

// active is an access token that lives for some time yet, for an operation.
func (w *worker) active(ctx context.Context, o Operation) (*held, *failure) {
	h := w.next(w.grants)
	if h == nil {
		if f := w.hold(ctx); f != nil {
			return nil, f
		}
		h = w.held[0]
	}
	if h.expiry.after(time.Now().Add(renewBefore)) {
		return h, nil
	}
	if h.refresh != "" {
		_, f := w.rotate(ctx, h, o)
		return h, f
	}
	fresh, f := w.obtain(ctx)
	if f == nil {
		*h = *fresh
	}
	return h, f
}

func (w *worker) introspectOne(ctx context.Context) sample {
	h, f := w.active(ctx, Introspection)
	if f != nil {
		return failed(Introspection, f)
	}
	w.begin("token_type_hint=access_token")
	w.set("token", h.access)
	a, f := w.post(w.at.Introspection, "")
	if f == nil {
		f = a.active(w.client.ID, h.expiry, w.chancery)
	}
	return sample{Introspection, a.span, f}
}

func (w *worker) exchangeOne(ctx context.Context) sample {
	h, f := w.active(ctx, Exchange)
	if f != nil {
		return failed(Exchange, f)
	}
	w.begin("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange" +
		"&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token")
	w.set("subject_token", h.access)
	w.form = append(w.form, w.targets...)
	t, f := w.tokens(ctx, events.TokenExchanged{}.Type(), true)
	if f == nil && t.IssuedTokenType == "" { // RFC 8693 §2.2.1
		f = wrong("no issued_token_type")
	}
	return sample{Exchange, t.from.span, f}
}

// revokeOne revokes a grant by its refresh token, or an access token of the client
// itself; it gets it before.
func (w *worker) revokeOne(ctx context.Context) sample {
	var h *held
	if n := len(w.spare); n > 0 {
		h, w.spare = w.spare[n-1], w.spare[:n-1]
	} else {
		var f *failure
		if h, f = w.obtain(ctx); f != nil {
			return failed(Revocation, f)
		}
	}
	if h.refresh == "" {
		return w.revoke("token_type_hint=access_token", h.access, events.AccessTokenRevoked{}.Type())
	}
	return w.revoke("token_type_hint=refresh_token", h.refresh, events.GrantRevoked{}.Type())
}

func (w *worker) revoke(hint, token, fact string) sample {
	w.begin(hint)
	w.set("token", token)
	a, f := w.post(w.at.Revocation, fact)
	if f == nil {
		f = a.revoked()
	}
	return sample{Revocation, a.span, f}
}
