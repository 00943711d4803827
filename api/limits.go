package api

import (
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/limit"
	"github.com/chancery-authority/chancery/api/rules"
)

// limits are what callers may do, right or wrong. Who is wrong is held up by
// the authority's limit.Failures long before.
type limits struct {
	addresses, clients, registrations *limit.Limiter
	// devices are requests of devices by address, userCodes what users type for
	// them, wherever they do.
	devices, userCodes *limit.Limiter
}

func newLimits(s config.Settings) limits {
	return limits{
		limit.NewLimiter(s.AddressLimit), limit.NewLimiter(s.ClientLimit), limit.NewLimiter(s.RegistrationLimit),
		limit.NewLimiter(s.DeviceLimit), limit.NewLimiter(s.FailureLimit),
	}
}

// set changes the rates.
func (l limits) set(s *config.Settings) {
	l.addresses.Set(s.AddressLimit)
	l.clients.Set(s.ClientLimit)
	l.registrations.Set(s.RegistrationLimit)
	l.devices.Set(s.DeviceLimit)
	l.userCodes.Set(s.FailureLimit)
}

// limitAddress comes before a request is parsed or anything is read for it.
func (s *Server) limitAddress(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := tooMany(s.limits.addresses.Address(caller(c).Address, time.Now())); err != nil {
			return err
		}
		return next(c)
	}
}

// tooMany refuses what has to wait, and is nil if it does not.
func tooMany(wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	return asError(&rules.Refusal{Reason: authority.Busy, Detail: "over the limit", RetryAfter: wait})
}
