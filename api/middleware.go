package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/telemetry"
)

// traceparent is W3C Trace Context §3.2's version 00.
var traceparent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

func caller(c echo.Context) authority.Caller {
	addr, _ := netip.ParseAddr(c.RealIP())
	return authority.Caller{
		Request: requestID(c), Trace: traceOf(c.Request()), Address: addr, UserAgent: userAgent(c.Request()),
	}
}

// traceOf is the trace of a request: the span that it is traced by, or else what
// the client says of its own.
func traceOf(r *http.Request) string {
	if t := telemetry.Traceparent(r.Context()); t != "" {
		return t
	}
	if t := r.Header.Get("Traceparent"); traceparent.MatchString(t) {
		return t
	}
	return ""
}

// maxUserAgent bounds what is kept of a User-Agent header.
const maxUserAgent = 256

func userAgent(r *http.Request) string {
	agent := strings.ToValidUTF8(r.UserAgent(), "")
	return agent[:min(len(agent), maxUserAgent)]
}

// recoverPanic makes a panic a server error with a request id, and logs where.
func (s *Server) recoverPanic(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			r := recover()
			if r == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http compares it like this
				panic(r)
			}
			if r != nil {
				s.log(c).Error("panic", "stack", string(debug.Stack()))
				err = fmt.Errorf("panic of type %T", r)
			}
		}()
		return next(c)
	}
}

// secureHeaders go with every answer. Pages have a policy of their own.
func secureHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set(echo.HeaderXContentTypeOptions, "nosniff")
		h.Set(echo.HeaderReferrerPolicy, "no-referrer")
		h.Set(echo.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'")
		return next(c)
	}
}

// limitTime bounds the work on a request. A client that hangs up does not end
// it: the outcome of an append on its way would never be known. EndRequests does. A
// stream of events does end with its client, and so does a dry run.
func (s *Server) limitTime(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		switch c.Path() {
		case "/admin/v1/events", "/admin/v1/revocations", "/admin/v1/log/:stream", "/admin/v1/buckets/:bucket", "/admin/v1" + profilePath: // they see to it
			return next(c)
		}
		if strings.HasSuffix(c.Path(), revocationsPath) {
			return next(c)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), s.parts.RequestTimeout)
		defer cancel()
		defer context.AfterFunc(s.ending, cancel)()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// ipExtractor is the address of the connection, or what trusted proxies say.
func ipExtractor(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range trusted {
		options = append(options, echo.TrustIPRange(&net.IPNet{
			IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		}))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}
