package api

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector"
)

// A projectionView is one read model of this process, as administrators see it.
type projectionView struct {
	Model  string    `json:"model"`
	Stream string    `json:"stream"`
	Live   slotView  `json:"live"`
	Beside *slotView `json:"beside,omitempty"`
	Diff   *diffView `json:"diff,omitempty"`
}

// A slotView is one of the two files that a read model can be in.
type slotView struct {
	Slot     int     `json:"slot"`
	State    string  `json:"state"`
	Position uint64  `json:"position"`
	Head     uint64  `json:"head"`
	Lag      float64 `json:"lag_seconds"`
	// Hash is the chain over every message up to Position.
	Hash string `json:"hash"`
	// Rate is the limit while it is built, Speed what it makes of it, and Left the
	// seconds that it still takes, where that can be told.
	Rate  int     `json:"rate,omitempty"`
	Speed float64 `json:"events_per_second"`
	Left  float64 `json:"seconds_left,omitempty"`
	Error string  `json:"error,omitempty"`
}

// A diffView is a comparison, or how far it is.
type diffView struct {
	Running  bool      `json:"running"`
	Same     bool      `json:"same"`
	Began    time.Time `json:"began_at"`
	Ended    time.Time `json:"ended_at,omitzero"`
	Rows     int       `json:"rows"`
	Position uint64    `json:"position,omitempty"`
	// Live and Beside are state hashes.
	Live        string           `json:"live_hash,omitempty"`
	Beside      string           `json:"beside_hash,omitempty"`
	Differences []differenceView `json:"differences,omitempty"`
	Error       string           `json:"error,omitempty"`
}

type differenceView struct {
	Table string `json:"table"`
	ID    string `json:"id"`
	In    string `json:"in"`
}

func newProjectionView(p projector.Projection) projectionView {
	v := projectionView{Model: p.Model, Stream: p.Stream, Live: newSlotView(p.Live)}
	if p.Beside != nil {
		beside := newSlotView(*p.Beside)
		v.Beside = &beside
	}
	if p.Diff != nil {
		v.Diff = newDiffView(*p.Diff)
	}
	return v
}

func newSlotView(s projector.Slot) slotView {
	return slotView{
		Slot: s.Slot, State: s.State, Position: s.Position, Head: s.Head, Lag: s.Lag.Seconds(), Hash: hex.EncodeToString(s.Hash[:]),
		Rate: s.Rate, Speed: s.Speed, Left: s.Left.Seconds(), Error: errorText(s.Err),
	}
}

func newDiffView(d projector.Diff) *diffView {
	v := &diffView{
		Running: d.Running, Same: d.Same, Began: d.Began.UTC(), Ended: d.Ended.UTC(), Rows: d.Rows, Position: d.Position, Error: errorText(d.Err),
	}
	if !d.Running && d.Err == nil {
		v.Live, v.Beside = hex.EncodeToString(d.Live[:]), hex.EncodeToString(d.Beside[:])
	}
	for _, one := range d.Differences {
		v.Differences = append(v.Differences, differenceView(one))
	}
	return v
}

// errorText is for administrators, who see what is wrong with a file or a log.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// maxRate bounds what an operator may ask for, so that arithmetic holds.
const maxRate = 1_000_000_000

// rateBody may leave the rate out, for the default. 0 is no limit.
type rateBody struct {
	Rate *int `json:"rate"`
}

type switchBody struct {
	Force bool `json:"force"`
}

// projectionRoutes are those of the read models of this process. They are there
// in one that has none, to say who has.
func (s *Server) projectionRoutes(admin section) {
	admin.add(http.MethodGet, "/projections", s.listProjections)
	admin.add(http.MethodPost, "/projections/:model/rebuild", s.rebuildProjection)
	admin.add(http.MethodPost, "/projections/:model/diff", s.diffProjection)
	admin.add(http.MethodPost, "/projections/:model/switch", s.switchProjection)
	admin.add(http.MethodPost, "/projections/:model/drop", s.dropProjection)
}

// Projections is the admin interface of a process that has read models and no API:
// what a Server has at /admin/v1/projections, /admin/v1/log-level and
// /admin/v1/profiles, behind the same key. Of p it takes Local, AdminKey, Logger and LogLevel.
func Projections(p Parts) http.Handler {
	p.RequestTimeout = defaultRequestTimeout
	s := &Server{parts: p, settings: config.NewLive(p.Settings), logLevel: newLogLevel(p.LogLevel), ending: context.Background()}
	s.setCallers(nil)
	e := s.newEcho()
	admin := s.adminSection(e)
	s.projectionRoutes(admin)
	s.logLevelRoutes(admin)
	s.profileRoutes(admin)
	return e
}

func (s *Server) listProjections(c echo.Context) error {
	if s.parts.Local == nil {
		return asError(&rules.Refusal{Reason: noReadModels})
	}
	views := []projectionView{}
	for _, p := range s.parts.Local.Projections() {
		views = append(views, newProjectionView(p))
	}
	return c.JSON(http.StatusOK, map[string]any{"projections": views})
}

func (s *Server) rebuildProjection(c echo.Context) error {
	var body rateBody
	return s.operate(c, http.StatusAccepted, &body, func(l *projector.Local, model string) error {
		limit, err := body.limit(projector.DefaultRebuildRate)
		if err != nil {
			return err
		}
		return l.Rebuild(c.Request().Context(), model, limit)
	})
}

// diffProjection begins what may take minutes: the list of projections tells how
// it ends.
func (s *Server) diffProjection(c echo.Context) error {
	var body rateBody
	return s.operate(c, http.StatusAccepted, &body, func(l *projector.Local, model string) error {
		limit, err := body.limit(projector.DefaultDiffRate)
		if err != nil {
			return err
		}
		return l.Diff(model, limit)
	})
}

func (s *Server) switchProjection(c echo.Context) error {
	var body switchBody
	return s.operate(c, http.StatusOK, &body, func(l *projector.Local, model string) error {
		return l.Switch(c.Request().Context(), model, body.Force)
	})
}

func (s *Server) dropProjection(c echo.Context) error {
	return s.operate(c, http.StatusOK, &struct{}{}, func(l *projector.Local, model string) error { return l.Drop(model) })
}

// operate does something to a read model, as the body says if there is one, and
// answers how it stands then.
func (s *Server) operate(c echo.Context, status int, body any, do func(l *projector.Local, model string) error) error {
	l, model := s.parts.Local, c.Param("model")
	if l == nil {
		return asError(&rules.Refusal{Reason: noReadModels})
	}
	if c.Request().ContentLength != 0 {
		if refusal := parseJSON(c.Response(), c.Request(), body, true); refusal != nil {
			return asError(refusal)
		}
	}
	if err := do(l, model); err != nil {
		return projectionError(err)
	}
	p, err := l.Projection(model)
	if err != nil {
		return projectionError(err)
	}
	return c.JSON(status, newProjectionView(p))
}

func (b rateBody) limit(usual int) (int, error) {
	switch {
	case b.Rate == nil:
		return usual, nil
	case *b.Rate < 0 || *b.Rate > maxRate:
		return 0, asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "rate"})
	}
	return *b.Rate, nil
}

// projectionError says why a read model is not operated on, if that is not the
// server's fault.
func projectionError(err error) error {
	for is, reason := range map[error]rules.Reason{
		projector.ErrNoModel: noSuchModel, projector.ErrNotBuilt: nothingBeside, projector.ErrPrevious: besideInTheWay,
		projector.ErrBehind: besideBehind, projector.ErrNotCompared: besideNotCompared, projector.ErrBusy: modelBusy,
	} {
		if errors.Is(err, is) {
			return asError(&rules.Refusal{Reason: reason, Cause: err.Error()})
		}
	}
	return err
}
