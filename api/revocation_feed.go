package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	revocationsPath = "/oauth2/revocations"

	// maxEntries is how many entries one event of a feed has.
	maxEntries = 1000
	// feedBeat is how often a feed is marked fresh. It costs a tick for each stream.
	feedBeat = time.Second
	// feedWriteTimeout is how long a reader may take to take in what was written.
	// One that is slower is disconnected; nobody waits for it.
	feedWriteTimeout = 10 * time.Second
	// feedLife is how long a feed lasts at most. Readers come back, perhaps to
	// another replica, and the clocks that marks are measured by do not drift apart.
	feedLife = 15 * time.Minute
	// feedRetry is about how long readers wait before they come back.
	feedRetry = 500 * time.Millisecond
)

// feeds are the revocation feeds that are being read.
type feeds struct {
	most int
	// patience is how long a write may take.
	patience time.Duration
	// ended is closed when no more are served.
	ended chan struct{}

	mu      sync.Mutex
	open    int
	byName  map[string]int
	closing sync.Once
}

func newFeeds(most int) *feeds {
	return &feeds{most: most, patience: feedWriteTimeout, ended: make(chan struct{}), byName: map[string]int{}}
}

// begin counts a feed of a client, which may not have more than a quarter of all.
func (f *feeds) begin(client string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open >= f.most || f.byName[client] >= max(1, f.most/4) {
		return false
	}
	f.open++
	f.byName[client]++
	return true
}

func (f *feeds) end(client string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	if f.byName[client]--; f.byName[client] == 0 {
		delete(f.byName, client)
	}
}

// EndFeeds ends the revocation feeds and serves no more, so that their readers go
// on elsewhere while everything else is drained.
func (s *Server) EndFeeds() { s.feeds.closing.Do(func() { close(s.feeds.ended) }) }

// revocationFeed tells a resource server of everything that ends access tokens
// before their time, for as long as it listens.
func (s *Server) revocationFeed(c echo.Context) error {
	arrived := time.Now()
	client, err := s.feedReader(c)
	if err != nil {
		return err
	}
	if !s.feeds.begin(client.ID) {
		return asError(&rules.Refusal{Reason: authority.Busy, Detail: "too many revocation feeds", RetryAfter: 5 * time.Second})
	}
	defer s.feeds.end(client.ID)
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy that collects makes the feed stale
	c.Response().WriteHeader(http.StatusOK)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	stream := &feedStream{s: s, to: c.Response(), arrived: arrived, places: parsePlaces(c.Request().Header.Get("Last-Event-ID"))}
	if err := stream.run(c.Request().Context(), client); err != nil {
		s.parts.Logger.Debug("a revocation feed was cut short", "request", requestID(c), "client", client.ID, "reason", err)
	}
	return nil
}

// feedReader is the client that asks for a feed, by Basic. It may if it may
// introspect tokens of others: it is named for it, or tokens are for it.
func (s *Server) feedReader(c echo.Context) (fold.Client, error) {
	if refusal := checkQuery(c.Request(), "client_id"); refusal != nil {
		return fold.Client{}, asError(refusal)
	}
	endless := c.Request()
	ctx, cancel := context.WithTimeout(endless.Context(), s.parts.RequestTimeout)
	defer cancel()
	c.SetRequest(endless.WithContext(ctx))
	defer c.SetRequest(endless)
	client, err := s.authenticate(c, form{})
	if err == nil && !rules.MayFollowRevocations(client, s.feed.Clients()) {
		err = asError(&rules.Refusal{Reason: rules.UnauthorizedClient, Detail: "no introspector, and in no token's audience"})
	}
	if err != nil {
		s.refused(c, "revocation_feed", client.Exists(), err)
	}
	return client, err
}

// A feedStream is one reader's feed. It keeps nothing for the reader but where it
// is: what it has not got yet is looked up when it can be written.
type feedStream struct {
	s       *Server
	to      *echo.Response
	arrived time.Time
	places  map[string]projector.Place
	// marked is when the last mark was written, and proved the proof that it told.
	marked, proved time.Time
}

// run writes until the reader goes or has to come back.
func (f *feedStream) run(ctx context.Context, client fold.Client) error {
	feed := f.s.feed
	over := time.NewTimer(feedLife - rand.N(feedLife/4)) //nolint:gosec // spreads readers, no secret
	defer over.Stop()
	beat := time.NewTicker(feedBeat)
	defer beat.Stop()
	if err := f.write(func() error { return endings.WriteRetry(f.to, spread(feedRetry)) }); err != nil {
		return err
	}
	for feed.Prove(feedBeat / 2); ; {
		changed := feed.EndingsChanged()
		if err := f.tell(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-beat.C:
			if now, _ := feed.Client(client.ID); now.Disabled || now.Epoch != client.Epoch {
				return nil
			}
			feed.Prove(feedBeat / 2)
		case <-over.C:
			return nil
		case <-f.s.feeds.ended:
			return f.write(func() error { return endings.WriteRetry(f.to, spread(feedRetry)) })
		case <-ctx.Done():
			return nil
		}
	}
}

// spread keeps all readers from coming back at once.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d) } //nolint:gosec // no secret

// tell writes what has ended since, and how fresh that is if there is a newer proof.
// The proof is taken first, so that all that it covers is written before it.
func (f *feedStream) tell() error {
	feed := f.s.feed
	proved, partitions, ok := feed.Proved()
	ended, places := feed.Endings(f.places)
	for chunk := range slices.Chunk(f.s.entries(ended), maxEntries) {
		if err := f.write(func() error { return endings.WriteEvent(f.to, endings.Ended, "", chunk) }); err != nil {
			return err
		}
	}
	f.places = places
	if !ok || !proved.After(f.proved) || time.Since(f.marked) < feedBeat/4 {
		return nil
	}
	f.proved, f.marked = proved, time.Now()
	mark := endings.Mark{
		AsOf: proved.Sub(f.arrived).Milliseconds() - 1, // never later than it was
		Time: feed.Stored().Unix(), Keys: endings.DigestOfKeys(f.s.keys.JWKS()),
	}
	for _, p := range partitions {
		mark.Partitions = append(mark.Partitions, int(p))
	}
	return f.write(func() error { return endings.WriteEvent(f.to, endings.Fresh, formatPlaces(places), mark) })
}

// write moves the deadline, as the listener's is for answers that end, and writes.
func (f *feedStream) write(do func() error) error {
	if err := http.NewResponseController(f.to).SetWriteDeadline(time.Now().Add(f.s.feeds.patience)); err != nil {
		return fmt.Errorf("move the write deadline: %w", err)
	}
	if err := do(); err != nil {
		return err
	}
	return http.NewResponseController(f.to).Flush()
}

// entries are endings as resource servers are told: without ids, and in no order
// that says which belong to one user.
func (s *Server) entries(ended []projector.Ending) []endings.Entry {
	now := s.feed.Stored().Unix()
	var entries []endings.Entry
	add := func(e projector.Ending, k endings.Kind, id string) {
		entries = append(entries, endings.Entry{Kind: k, ID: endings.DigestOf(k, id), Epoch: e.Epoch, Until: e.Until})
	}
	var sectors []string
	for _, e := range ended {
		switch {
		case e.Until < now:
		case e.JTI != "":
			add(e, endings.Token, e.JTI)
		case !e.Grant.IsZero():
			add(e, endings.Grant, e.Grant.String())
		case e.Client != "":
			add(e, endings.Client, e.Client)
		case e.Lost != "":
			add(e, endings.Lost, e.Lost)
		case e.Key != "":
			add(e, endings.Key, e.Key)
		case e.User != "":
			if sectors == nil {
				sectors = s.feed.Sectors()
			}
			add(e, endings.User, e.User)
			for _, sector := range sectors {
				add(e, endings.User, s.keys.PairwiseSubject(sector, e.User))
			}
		}
	}
	slices.SortFunc(entries, func(a, b endings.Entry) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return entries
}

// maxPlaces bounds a Last-Event-ID.
const maxPlaces = 16 << 10

// formatPlaces is the id of a mark: where its reader goes on, at any replica.
func formatPlaces(places map[string]projector.Place) string {
	compact := make(map[string][2]int64, len(places))
	for stream, p := range places {
		compact[stream] = [2]int64{int64(p.Seq), p.Stored} //nolint:gosec // a sequence of the log
	}
	text, _ := json.Marshal(compact) // no error: a map of numbers
	return base64.RawURLEncoding.EncodeToString(text)
}

// parsePlaces reads what formatPlaces gave. Anything else is nowhere, from where
// everything is told.
func parsePlaces(id string) map[string]projector.Place {
	var compact map[string][2]int64
	text, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(id) > maxPlaces || json.Unmarshal(text, &compact) != nil || len(compact) > events.MaxPartitions+1 {
		return nil
	}
	places := make(map[string]projector.Place, len(compact))
	for stream, p := range compact {
		places[strings.Clone(stream)] = projector.Place{Seq: uint64(max(0, p[0])), Stored: p[1]}
	}
	return places
}
