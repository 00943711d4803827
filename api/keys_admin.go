package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/reseal"
	"github.com/chancery-authority/chancery/api/revocations"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A keyView is one key of the realm, as administrators see it.
type keyView struct {
	ID        string        `json:"id"`
	Use       string        `json:"use"`
	Alg       string        `json:"alg,omitempty"`
	MACKey    uint8         `json:"mac_key,omitempty"`
	State     fold.KeyState `json:"state"`
	ChangedAt time.Time     `json:"changed_at"`
	// EncryptedWith is the id of the key-encryption key of its private part.
	EncryptedWith string `json:"encrypted_with,omitempty"`
	// Next is what comes of it by itself, if anything does.
	Next *stepView `json:"next,omitempty"`
}

// A stepView is what the schedule will do, and when.
type stepView struct {
	Action keys.Action `json:"action"`
	At     time.Time   `json:"at"`
	// Use and Alg are those of a key that is to be announced.
	Use string `json:"use,omitempty"`
	Alg string `json:"alg,omitempty"`
}

// keysView is all there is to know about the keys.
type keysView struct {
	Keys []keyView `json:"keys"`
	// Next are the keys that will be announced.
	Next        []stepView     `json:"next"`
	MACKeysLeft int            `json:"mac_keys_left"`
	Encryption  encryptionView `json:"encryption"`
}

// encryptionView is about the key-encryption keys of this replica.
type encryptionView struct {
	Active string   `json:"active"`
	Known  []string `json:"known"`
	// ClientSecrets is how many secrets of clients depend on each. They cannot be
	// encrypted anew.
	ClientSecrets map[string]int `json:"client_secrets"`
	// Stores are what can be.
	Stores []string `json:"stores"`
}

// keyBody says which key to make, or how.
type keyBody struct {
	Use string `json:"use"`
	Alg string `json:"alg"`
	// Now is not to wait until nobody keeps a JWK Set without it.
	Now    bool `json:"now"`
	DryRun bool `json:"dry_run"`
}

// keyRoutes are those of the realm's keys.
func (s *Server) keyRoutes(admin section) {
	admin.add(http.MethodGet, "/keys", s.listKeys)
	admin.add(http.MethodPost, "/keys", s.makeKey)
	admin.add(http.MethodPost, "/keys/rewrap", s.resealPage)
	admin.add(http.MethodPost, "/keys/:id/activate", s.activateKey)
	admin.add(http.MethodPost, "/keys/:id/retire", s.retireKey)
	admin.add(http.MethodPost, "/keys/:id/drop", s.dropKey)
}

func (s *Server) listKeys(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.feed.RegistryFresh(ctx); err != nil {
		return fmt.Errorf("%w: %w", projector.ErrUnavailable, err)
	}
	v := keysView{Keys: []keyView{}, Next: []stepView{}, MACKeysLeft: s.keys.MACKeysLeft(), Encryption: s.encryption()}
	planned := map[string]*stepView{}
	for _, step := range s.keys.Plan() {
		next := stepView{Action: step.Action, At: step.At.UTC()}
		if step.Action == keys.Announce {
			next.Use, next.Alg = step.Family.Use, string(step.Family.Alg)
			v.Next = append(v.Next, next)
			continue
		}
		planned[step.Key.ID] = &next
	}
	for _, k := range s.keys.Keys() {
		view := newKeyView(k)
		view.Next = planned[k.ID]
		var err error
		if view.EncryptedWith, err = s.keys.SealedBy(ctx, k); err != nil {
			return fmt.Errorf("%w: %w", projector.ErrUnavailable, err)
		}
		v.Keys = append(v.Keys, view)
	}
	return c.JSON(http.StatusOK, v)
}

func newKeyView(k fold.Key) keyView {
	return keyView{ID: k.ID, Use: k.Use, Alg: k.Alg, MACKey: k.MACKey, State: k.State, ChangedAt: k.ChangedAt.UTC()}
}

func (s *Server) encryption() encryptionView {
	v := encryptionView{Active: s.parts.KeyRing.Active(), Known: s.parts.KeyRing.IDs(), ClientSecrets: map[string]int{}}
	for _, client := range s.feed.Clients() {
		for _, secret := range client.Secrets {
			v.ClientSecrets[secret.KeyID]++
		}
	}
	for _, store := range s.stores() {
		v.Stores = append(v.Stores, store.Name)
	}
	return v
}

func (s *Server) stores() []reseal.Store {
	return []reseal.Store{s.keys.Store(), s.authority.Store(), s.revocations.Store()}
}

// makeKey announces a new key, which the schedule activates in time, or activates
// it at once.
func (s *Server) makeKey(c echo.Context) error {
	var body keyBody
	return s.changeKey(c, &body, http.StatusCreated, func(ctx context.Context, by events.Meta) (fold.Key, error) {
		return s.keys.Make(ctx, by, keys.Family{Use: body.Use, Alg: jose.Alg(body.Alg)}, body.Now)
	})
}

func (s *Server) activateKey(c echo.Context) error {
	var body keyBody
	return s.changeKey(c, &body, http.StatusOK, func(ctx context.Context, by events.Meta) (fold.Key, error) {
		return s.keys.Activate(ctx, by, c.Param("id"), body.Now)
	})
}

func (s *Server) retireKey(c echo.Context) error {
	return s.changeKey(c, &keyBody{}, http.StatusOK, func(ctx context.Context, by events.Meta) (fold.Key, error) {
		return s.keys.Retire(ctx, by, c.Param("id"))
	})
}

// dropKey ends a key with all that it made, or counts what that is.
func (s *Server) dropKey(c echo.Context) error {
	var body keyBody
	if refusal := parseOptionalJSON(c, &body); refusal != nil {
		return asError(refusal)
	}
	if body.DryRun {
		return s.countKey(c)
	}
	return s.changeParsedKey(c, http.StatusOK, func(ctx context.Context, by events.Meta) (fold.Key, error) {
		return s.keys.Drop(ctx, by, c.Param("id"))
	})
}

func parseOptionalJSON(c echo.Context, body any) *rules.Refusal {
	if c.Request().ContentLength == 0 {
		return nil
	}
	return parseJSON(c.Response(), c.Request(), body, true)
}

func (s *Server) changeKey(c echo.Context, body *keyBody, status int, do func(context.Context, events.Meta) (fold.Key, error)) error {
	if refusal := parseOptionalJSON(c, body); refusal != nil {
		return asError(refusal)
	}
	return s.changeParsedKey(c, status, do)
}

// changeParsedKey lets a change take as long as all replicas may need to learn of
// a new key.
func (s *Server) changeParsedKey(c echo.Context, status int, do func(context.Context, events.Meta) (fold.Key, error)) error {
	ctx, cancel, err := s.patience(c, 2*s.parts.Settings.FreshnessBound+s.parts.RequestTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	k, err := do(ctx, caller(c).AdminMeta())
	if err != nil {
		return keyError(err)
	}
	return c.JSON(status, newKeyView(k))
}

// patience gives a request that long, also where others have less.
func (s *Server) patience(c echo.Context, d time.Duration) (context.Context, context.CancelFunc, error) {
	// The listener's write timeout is for answers that begin sooner.
	deadline := http.NewResponseController(c.Response()).SetWriteDeadline
	if err := deadline(time.Now().Add(d + eventWriteTimeout)); err != nil {
		return nil, nil, fmt.Errorf("move the write deadline: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), d)
	return ctx, cancel, nil
}

// keyCounts is what would end with a key.
type keyCounts struct {
	keyView
	// Grants and Sessions are those whose code, refresh token or cookie the MAC key
	// authenticates.
	Grants   int64 `json:"grants"`
	Sessions int64 `json:"sessions"`
	// AccessTokens were signed by the key in the last day.
	AccessTokens int64 `json:"access_tokens"`
}

func (s *Server) countKey(c echo.Context) error {
	k, err := s.keys.Key(c.Param("id"))
	if err != nil {
		return keyError(err)
	}
	ctx, cancel, err := s.patience(c, dryRunTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	counts := keyCounts{keyView: newKeyView(k)}
	if k.Use == events.KeyUseMAC {
		err = s.countRendered(ctx, k.MACKey, &counts)
	} else {
		var signed revocations.Counts
		signed, err = s.revocations.DryRun(ctx, revocations.Selection{KID: k.ID, Since: s.feed.Now(0).Add(-rules.AccessTokenCap)})
		counts.AccessTokens = signed.Examined
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, counts)
}

func (s *Server) countRendered(ctx context.Context, macKey uint8, counts *keyCounts) error {
	for _, p := range s.parts.Log.Partitions() {
		var page projector.Rendered
		for !page.Done {
			var err error
			if page, err = s.parts.Reader.Rendered(ctx, p, macKey, page.Next); err != nil {
				return fmt.Errorf("count what a MAC key authenticates: %w", err)
			}
			counts.Grants, counts.Sessions = counts.Grants+page.Grants, counts.Sessions+page.Sessions
		}
	}
	return nil
}

// resealBody is where to go on.
type resealBody struct {
	Store  string `json:"store"`
	DryRun bool   `json:"dry_run"`
	reseal.From
}

// resealPage encrypts the next records of a store anew, with the active
// key-encryption key.
func (s *Server) resealPage(c echo.Context) error {
	var body resealBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	for _, store := range s.stores() {
		if store.Name != body.Store {
			continue
		}
		page, err := store.Page(c.Request().Context(), body.From, body.DryRun)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, page)
	}
	return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "store"})
}

// keyError says why a key does not do what it was told, if that is not the
// server's fault.
func keyError(err error) error {
	for is, reason := range map[error]rules.Reason{
		keys.ErrNoKey: noSuchKey, keys.ErrState: wrongKeyState, keys.ErrEarly: keyTooYoung, keys.ErrNoMACKeys: noMACKeysLeft,
	} {
		if errors.Is(err, is) {
			return asError(&rules.Refusal{Reason: reason, Cause: err.Error()})
		}
	}
	if errors.Is(err, keys.ErrFamily) {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "alg", Cause: err.Error()})
	}
	return fmt.Errorf("%w: %w", projector.ErrUnavailable, err)
}
