package hammer

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// revoke revokes the grant by its client, and then watches how long each replica
// accepts the access token.
func (w *worker) revoke(ctx context.Context, g *grant, s step, over <-chan struct{}) {
	for i := range w.balancer.ready { // so that all of them know it as active
		w.introspect(ctx, g, i)
	}
	o := w.settled(over, func(i int) Op {
		o, _ := w.do(ctx, Op{Kind: Revoke, Grant: g.number, Presented: fingerprint(g.current())}, request{
			method: http.MethodPost, path: "/oauth2/revoke", form: url.Values{"token": {g.current()}}.Encode(),
			basic: w.clients.web, preferred: s.replica + i,
		})
		return o
	})
	if o.Outcome != OK {
		return
	}
	w.race(func(i int) {
		for deadline := time.Now().Add(5 * revocationBound); time.Now().Before(deadline); {
			if o := w.introspect(ctx, g, i); o.Outcome != OK || !o.Active {
				return
			}
		}
	})
	w.present(ctx, g, len(g.refresh), Op{}, w.clients.web, s.replica)
}

// reuse presents a refresh token that was superseded twice, as a thief does: it
// must end the grant, for the one that is current too.
func (w *worker) reuse(ctx context.Context, g *grant, s step, over <-chan struct{}) {
	if len(g.refresh) < 3 {
		w.keep(g)
		return
	}
	w.settled(over, func(i int) Op { return w.present(ctx, g, len(g.refresh)-2, Op{}, w.clients.web, s.replica+i) })
	w.present(ctx, g, len(g.refresh), Op{}, w.clients.web, s.replica)
}

// replayCode redeems the code once more, which ends the grant if its first
// refresh token has been used.
func (w *worker) replayCode(ctx context.Context, g *grant, s step) {
	w.do(ctx, Op{Kind: Redeem, Grant: g.number, Presented: fingerprint(g.code), Late: true}, w.redeemRequest(w.clients.web, s.replica, g.code, verifier))
	w.present(ctx, g, len(g.refresh), Op{}, w.clients.web, s.replica)
}

// keep holds on to a grant until the end. The oldest ones are let go of.
func (w *worker) keep(g *grant) {
	w.kept = append(w.kept, g)
	if len(w.kept) > maxGrants {
		w.kept = w.kept[1:]
	}
}

// final refreshes what was kept, once all faults are over: it must work. That a
// refusal is wrong is for the model to find.
func (w *worker) final(ctx context.Context) (v violations) {
	for _, g := range w.kept {
		n := len(g.refresh)
		o := w.settled(ctx.Done(), func(i int) Op { return w.present(ctx, g, n, Op{}, w.clients.web, i) })
		if ctx.Err() != nil {
			return v
		}
		if o.Outcome != OK && o.Outcome != Refused {
			v.add(NotRecovered, "grant %d: generation %d is not refreshed after all faults: %s %d %s by %s", g.number, n, o.Outcome, o.Status, o.Error, o.Replica)
		}
		w.introspect(ctx, g, n%len(w.balancer.ready))
	}
	return v
}

// probe asks for tokens by client credentials every so often, whatever became of
// the one before, until ctx ends: each is one event, so it shows when nothing can be
// written.
func (w *worker) probe(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	for i := 0; ; i++ {
		asking.Go(func() {
			_, a := w.do(context.WithoutCancel(ctx), Op{Kind: Issue}, w.tokenRequest(w.clients.service, i, "grant_type", "client_credentials"))
			if token := a.text("access_token"); token != "" {
				w.plant(token)
			}
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
