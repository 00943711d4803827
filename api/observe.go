package api

import (
	"crypto/rand"
	"log/slog"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/telemetry"
)

// observe gives every request an id of our own, and counts, traces and logs it.
// An id that was sent is not taken: it would let a stranger write into the audit.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, request := s.parts.Telemetry.Request(c.Request(), c.Path(), rand.Text())
		c.Set(requestKey, request)
		c.SetRequest(c.Request().WithContext(ctx))
		c.Response().Header().Set(echo.HeaderXRequestID, request.ID)
		defer func() {
			took := request.End(c.Response().Status)
			if level := s.parts.AccessLog; level != nil {
				request.Line(ctx, s.parts.Logger, level.Level(), c.Response().Status, took)
			}
		}()
		if err := next(c); err != nil {
			c.Error(err) // so that the status is known
		}
		return nil
	}
}

const requestKey = "request"

// seen is the request as it is counted, traced and logged.
func seen(c echo.Context) *telemetry.Request {
	if r, ok := c.Get(requestKey).(*telemetry.Request); ok {
		return r
	}
	return &telemetry.Request{}
}

func requestID(c echo.Context) string { return seen(c).ID }

// log is a logger of lines about a request.
func (s *Server) log(c echo.Context) *slog.Logger { return seen(c).Log(s.parts.Logger) }

// introspected counts an introspection.
func (s *Server) introspected(found *authority.Introspection, err error) {
	outcome := telemetry.Inactive
	switch {
	case err != nil:
		outcome = telemetry.Unavailable
	case found != nil:
		outcome = telemetry.Active
	}
	s.parts.Telemetry.Introspected(outcome)
}

// watch has metrics read what the server knows.
func (s *Server) watch(t *telemetry.Telemetry) {
	a := s.authority
	t.WatchFeed(s.feed)
	t.WatchKeys(s.feed.Keys, s.keys.Err)
	t.WatchPasswords(a.Passwords.Status)
	t.WatchBacklog(a.RefusalsWaiting, s.revocations.Working)
	t.WatchLimits(map[string]func() uint64{
		"address": s.limits.addresses.Refused, "client": s.limits.clients.Refused,
		"registration": s.limits.registrations.Refused, "device": s.limits.devices.Refused,
		"user_code": s.limits.userCodes.Refused, "device_poll": a.Polls.Refused, "failure": a.Failures.Refused,
	})
}
