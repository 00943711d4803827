package bench

import (
	"cmp"
	"context"
	"hash/maphash"
	"net/http"
	"strconv"
	"time"

	"github.com/chancery-authority/chancery/events"
)

const (
	// repeats is how often a refresh is repeated whose answer was lost, after a pause
	// that is failurePause first and doubles.
	repeats = 5
	// repeatWithin is how long after the first request it may be repeated: less than
	// Chancery goes on answering it (--retry-window, 30 s by default). Later it would be
	// taken for a theft of the token.
	repeatWithin = 20 * time.Second
)

// rotate presents the refresh token for an operation, and holds what came of it. A
// request without an answer, or with one of 5xx, is repeated as clients do. In the end
// the grant is given up: what became of it is not known.
func (w *worker) rotate(ctx context.Context, h *held, o Operation) (span, *failure) {
	began, lost := time.Now(), false
	for try, pause := 0, failurePause; ; try, pause = try+1, 2*pause {
		w.begin("grant_type=refresh_token")
		w.set("refresh_token", h.refresh)
		t, f := w.tokens(ctx, events.RefreshTokenRotated{}.Type(), false)
		lost = lost || t.from.lost()
		switch {
		case !t.from.lost() && (!lost || !t.from.unsent):
			return t.from.span, w.rotated(h, t, f)
		case try == repeats || time.Since(began)+pause > repeatWithin:
			h.dead = true
			return t.from.span, f
		}
		w.recorder.add(sample{o, t.from.span, f})
		<-time.After(pause) // also if ctx ends: the newest token is not to be lost
	}
}

// lost reports whether a request was sent and it is not known what came of it.
func (a answer) lost() bool {
	return !a.unsent && (a.status == 0 || a.status >= http.StatusInternalServerError)
}

// rotated holds what an answer to a refresh brought. A new refresh token counts whatever
// else is wrong with the answer; without one the grant is given up, but where that is as
// it may be.
func (w *worker) rotated(h *held, t tokenAnswer, f *failure) *failure {
	switch {
	case t.RefreshToken != "":
		return cmp.Or(f, w.take(h, t))
	case t.from.unsent:
		return f
	case t.from.status >= http.StatusBadRequest: // the token is not spent
		h.dead = f.what == strconv.Itoa(http.StatusBadRequest)+" invalid_grant"
		return f
	case f == nil && !w.chancery: // RFC 6749 §6 leaves it to the server
		h.access, h.expiry = t.AccessToken, t.expiry()
		return nil
	}
	h.dead = true
	return cmp.Or(f, wrong("no refresh_token"))
}

// take holds the tokens of an answer. A refresh token must be another than all before
// it; servers that are not Chancery may also leave it as it is.
func (w *worker) take(h *held, t tokenAnswer) *failure {
	if t.AccessToken != "" {
		h.access, h.expiry = t.AccessToken, t.expiry()
	}
	if h.seen == nil {
		h.seen = map[uint64]struct{}{}
		if h.refresh != "" {
			h.seen[maphash.String(w.hash, h.refresh)] = struct{}{}
		}
	}
	is := maphash.String(w.hash, t.RefreshToken)
	_, seen := h.seen[is]
	switch {
	case t.RefreshToken == "":
		return wrong("no refresh_token")
	case seen && t.RefreshToken == h.refresh && !w.chancery:
		return nil
	case seen:
		h.dead = true
		return wrong("a refresh token that was there before")
	}
	h.seen[is] = struct{}{}
	h.refresh = t.RefreshToken
	return nil
}
