package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// retryAfter, in seconds, is told with answers that may be otherwise soon.
const retryAfter = 1

// A problem is an error as the edge sees it: what to answer, and what to log.
type problem struct {
	rules.Refusal
	answer
	cause error
}

// asProblem finds the answer of an error. What is not known to be anything
// else is the server's fault, and tells nothing.
func asProblem(err error) problem {
	p := problem{cause: err, Refusal: rules.Refusal{Reason: authority.ServerError}}
	var refusal *rules.Refusal
	var httpError *echo.HTTPError
	switch {
	case errors.As(err, &refusal):
		p.Refusal = *refusal
	case errors.As(err, &httpError) && httpError.Code == http.StatusNotFound:
		p.Reason = noRoute
	case errors.As(err, &httpError) && httpError.Code == http.StatusMethodNotAllowed:
		p.Reason = wrongMethod
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, projector.ErrUnavailable):
		p.Reason = authority.Unavailable
	}
	found, ok := answers[p.Reason]
	if !ok {
		found = answers[authority.ServerError]
	}
	p.answer = found
	return p
}

// text is the description for a client: fixed words and a parameter's name.
func (p problem) text() string {
	if p.Parameter == "" {
		return p.description
	}
	return p.Parameter + ": " + p.description
}

// retryable reports whether the same request may do better in a moment.
func (p problem) retryable() bool {
	return p.status == http.StatusServiceUnavailable || p.status == http.StatusTooManyRequests || p.Reason == rules.SlowDown
}

// retryAfter is in how many seconds, rounded up so that one who comes then is
// not early.
func (p problem) retryAfter() int {
	return max(retryAfter, int((p.RetryAfter+time.Second-1)/time.Second))
}

// A dialect writes problems in the shape that the clients of a route expect.
type dialect func(c echo.Context, p problem) error

// oauthError is RFC 6749 §5.2's, with the request id added.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	RequestID   string `json:"request_id,omitempty"`
}

func oauthDialect(c echo.Context, p problem) error {
	h := c.Response().Header()
	if p.status == http.StatusUnauthorized && h.Get(echo.HeaderWWWAuthenticate) == "" {
		h.Set(echo.HeaderWWWAuthenticate, `Basic realm="chancery", charset="UTF-8"`)
	}
	return c.JSON(p.status, oauthError{p.code, p.text(), requestID(c)})
}

// loginError is the Login API's envelope.
type loginError struct {
	Error struct {
		Code        string         `json:"code"`
		Description string         `json:"description"`
		Details     map[string]any `json:"details"`
	} `json:"error"`
}

func loginDialect(c echo.Context, p problem) error {
	var body loginError
	body.Error.Code = p.loginCode
	body.Error.Description = p.text()
	body.Error.Details = map[string]any{"request_id": requestID(c)}
	return c.JSON(p.loginStatus, body)
}

// in makes every error of the routes behind it an answer of one dialect.
func (s *Server) in(d dialect) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := s.recoverPanic(next)(c)
			if err == nil || c.Response().Committed {
				return err
			}
			p := asProblem(err)
			s.logProblem(c, p)
			setRetryAfter(c, p)
			return d(c, p)
		}
	}
}

func setRetryAfter(c echo.Context, p problem) {
	if p.retryable() && c.Get(noRetry) == nil {
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(p.retryAfter()))
	}
}

// noRetry marks a request that must not be told to come again: a code exchange
// whose outcome is unknown may have spent the code.
const noRetry = "no-retry"

func (s *Server) logProblem(c echo.Context, p problem) {
	request := seen(c)
	request.Reason, request.Code = string(p.Reason), p.code
	log := s.log(c).With("method", c.Request().Method, "route", c.Path(), "reason", string(p.Reason))
	if p.status >= http.StatusInternalServerError {
		log.Error("request failed", "error", p.cause)
		return
	}
	log.Info("request refused", "parameter", p.Parameter, "detail", string(p.Detail), "cause", p.Cause)
}

// refused has the audit know of a refusal. It is called behind the parsing, so
// that nothing which was sent can be the parameter's name.
func (s *Server) refused(c echo.Context, what string, authenticated bool, err error) {
	client, _ := c.Get(clientKey).(fold.Client)
	s.authority.Refused(authority.Attempt{What: what, Client: client.ID, Authenticated: authenticated, Caller: caller(c)}, err)
}

// noStore keeps an answer out of every cache (RFC 6749 §5.1).
func noStore(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set(echo.HeaderCacheControl, "no-store")
		h.Set("Pragma", "no-cache")
		return next(c)
	}
}

func isRefusal(err error, reason rules.Reason) bool {
	refusal := new(rules.Refusal)
	return errors.As(err, &refusal) && refusal.Reason == reason
}

// asError keeps a nil refusal from becoming a non-nil error.
func asError(r *rules.Refusal) error {
	if r == nil {
		return nil
	}
	return fmt.Errorf("refused: %w", r)
}
