package api

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/projector/fold"
)

// defaultInterval is how long a device waits between polls where nothing limits
// them (RFC 8628 §3.2).
const defaultInterval = 5 * time.Second

// deviceAnswer is RFC 8628 §3.2's.
type deviceAnswer struct {
	DeviceCode              string `json:"device_code"`
	UserCode                string `json:"user_code"`
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete"`
	ExpiresIn               int64  `json:"expires_in"`
	Interval                int64  `json:"interval"`
}

// authorizeDevice is the device authorization endpoint (RFC 8628 §3.1). The
// client authenticates as at the token endpoint.
func (s *Server) authorizeDevice(c echo.Context) error {
	f, refusal := parseForm(c.Response(), c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	const what = "device_authorization"
	client, err := s.authenticate(c, f)
	if err != nil {
		s.refused(c, what, false, err)
		return err
	}
	begun, err := s.beginDevice(c, f, client)
	if err != nil {
		s.refused(c, what, true, err)
		return err
	}
	page := s.settings.Get().Issuer + devicePage
	return c.JSON(http.StatusOK, deviceAnswer{
		DeviceCode: begun.DeviceCode, UserCode: begun.UserCode.String(),
		VerificationURI: page, VerificationURIComplete: page + deviceQuery(begun.UserCode),
		ExpiresIn: int64(begun.ExpiresIn / time.Second), Interval: int64(s.pollInterval() / time.Second),
	})
}

// pollInterval is in whole seconds, rounded up.
func (s *Server) pollInterval() time.Duration {
	interval := s.settings.Get().DevicePollLimit.Interval()
	if interval == 0 {
		return defaultInterval
	}
	return (interval + time.Second - 1).Truncate(time.Second)
}

// beginDevice comes behind a limit, because each request is kept for a while
// and anybody can be a public client.
func (s *Server) beginDevice(c echo.Context, f form, client fold.Client) (*authority.DeviceAuthorization, error) {
	by := caller(c)
	if err := tooMany(s.limits.devices.Address(by.Address, time.Now())); err != nil {
		return nil, err
	}
	scope, audience, refusal := targets(f)
	if refusal != nil {
		return nil, asError(refusal)
	}
	begun, err := s.authority.BeginDevice(c.Request().Context(), authority.AuthorizationRequest{
		Client: client, Scope: scope, Audience: audience, Caller: by,
	})
	return begun, targetAsSent(err, f)
}

// devicePath is where a person goes with a code, or to type it.
func (s *Server) devicePath(code secret.UserCode) string {
	return s.basePath() + devicePage + deviceQuery(code)
}

func deviceQuery(code secret.UserCode) string {
	if code == "" {
		return ""
	}
	return "?" + url.Values{"user_code": {code.String()}}.Encode()
}

// showDevice asks a person for the code that their device shows. One in the
// address (RFC 8628 §3.3.1) is only filled in.
func (s *Server) showDevice(c echo.Context) error {
	f, refusal := parseQuery(c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	code, _ := secret.ParseUserCode(f.get("user_code"))
	if _, err := s.session(c); err != nil {
		return s.signInForDevice(c, code, err)
	}
	return s.writeDevice(c, http.StatusOK, code.String())
}

// signInForDevice has a person sign in who is not, which is what err must say.
func (s *Server) signInForDevice(c echo.Context, code secret.UserCode, err error) error {
	if !isNoSession(err) {
		return err
	}
	return s.signInFirst(c, s.devicePath(code))
}

func (s *Server) writeDevice(c echo.Context, status int, code string, problems ...pages.Problem) error {
	return s.write(c, status, "", pages.DeviceCode{
		Form: pages.Form{Action: s.devicePath(""), CSRF: s.csrf(c), Problems: problems}, UserCode: code,
	})
}

// confirmDevice shows whose the code is. It is asked whether the device is there:
// who sent the person here may have another one (RFC 8628 §5.4).
func (s *Server) confirmDevice(c echo.Context) error {
	f, err := s.posted(c)
	if err != nil {
		return err
	}
	auth, err := s.session(c)
	if err != nil {
		code, _ := secret.ParseUserCode(f.get("user_code"))
		return s.signInForDevice(c, code, err)
	}
	request, code, err := s.findDevice(c, f.get("user_code"), auth.User)
	if err != nil {
		if isRefusal(err, authority.Busy) {
			return err
		}
		return s.formProblem(c, err, func(status int, problem pages.Problem) error {
			return s.writeDevice(c, status, f.get("user_code"), problem)
		})
	}
	return s.writeConfirm(c, auth, request, code)
}

// findDevice counts what a user tries wherever they do, and the authority what
// is wrong.
func (s *Server) findDevice(c echo.Context, typed string, u fold.User) (authority.Device, secret.UserCode, error) {
	if err := tooMany(s.limits.userCodes.Name(u.ID, time.Now())); err != nil {
		return authority.Device{}, "", err
	}
	return s.authority.FindDevice(c.Request().Context(), typed, u, caller(c))
}

func (s *Server) writeConfirm(c echo.Context, auth *authority.Authentication, request authority.Device, code secret.UserCode) error {
	ctx := c.Request().Context()
	client, err := s.authority.DeviceClient(ctx, request)
	if err != nil {
		return err
	}
	profile, err := s.authority.Profile(ctx, auth.User.ID)
	if err != nil {
		return err
	}
	text, err := s.authority.SealDeviceVisit(authority.DeviceVisit{
		Code: code, Grant: request.Grant, Session: auth.Session.ID, Browser: s.browser(c),
	})
	if err != nil {
		return err
	}
	return s.write(c, http.StatusOK, "", pages.DeviceConfirm{
		Form:   pages.Form{Action: s.basePath() + confirmPage, Request: text, CSRF: s.csrf(c)},
		Client: pages.Client{ID: client.ID, Name: client.Name}, Username: profile.Username, UserCode: code.String(),
		Scopes:    slices.DeleteFunc(slices.Clone(request.Scope), isRepeatedOffline(request.Scope)),
		Audiences: request.Audience, Lasting: s.lasting(client, request.Scope),
	})
}

// answerDevice takes the answer to writeConfirm.
func (s *Server) answerDevice(c echo.Context) error {
	f, err := s.posted(c)
	if err != nil {
		return err
	}
	known, _ := s.knownBrowser(c)
	c.Set(againKey, s.devicePath(""))
	visit, err := s.authority.OpenDeviceVisit(f.get("request"), derived("pending", known))
	if err != nil {
		return err
	}
	auth, err := s.session(c)
	if err != nil {
		return s.signInForDevice(c, visit.Code, err)
	}
	decision := f.get("decision")
	if auth.Session.ID != visit.Session && decision != decisionSwitch {
		// Somebody else signed in meanwhile; the answer must be theirs.
		return c.Redirect(http.StatusSeeOther, s.devicePath(visit.Code))
	}
	ctx := c.Request().Context()
	var client fold.Client
	switch decision {
	case decisionAllow:
		client, err = s.authority.AllowDevice(ctx, visit.Code, visit.Grant, *auth, caller(c))
	case decisionDeny:
		client, err = s.authority.DenyDevice(ctx, visit.Code, visit.Grant, auth.User)
	case decisionSwitch:
		return s.signInFirst(c, s.devicePath(visit.Code))
	default:
		err = asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "decision"})
	}
	if err != nil {
		return err
	}
	return s.write(c, http.StatusOK, "", pages.Done{
		Client: pages.Client{ID: client.ID, Name: client.Name}, Allowed: decision == decisionAllow,
	})
}
