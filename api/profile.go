package api

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
)

const (
	// profileSeconds is how long a CPU profile is recorded by default, and
	// maxProfileSeconds at most.
	profileSeconds    = 10
	maxProfileSeconds = 60
	// cpuProfile is the kind that is recorded from now on. All others are there.
	cpuProfile = "cpu"
)

// profileKinds are what can be asked for. None holds a value that the process
// computes with.
var profileKinds = map[string]bool{cpuProfile: true, "heap": true, "allocs": true, "goroutine": true}

const profilePath = "/profiles/:kind"

func (s *Server) profileRoutes(admin section) {
	admin.add(http.MethodGet, profilePath, s.profile)
}

// profile answers with what this process spends CPU time or memory on, for go tool
// pprof.
func (s *Server) profile(c echo.Context) error {
	seconds := uint64(profileSeconds)
	if err := sequences(c, maxProfileSeconds, map[string]*uint64{"seconds": &seconds}); err != nil {
		return err
	}
	kind := c.Param("kind")
	if !profileKinds[kind] {
		return asError(&rules.Refusal{Reason: rules.NotFound, Parameter: "kind"})
	}
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMEOctetStream)
	if kind == cpuProfile {
		return s.recordCPU(c, time.Duration(seconds)*time.Second)
	}
	if kind == "heap" {
		runtime.GC() // what is live now, not as of the last collection
	}
	if err := pprof.Lookup(kind).WriteTo(patientWriter{c.Response()}, 0); err != nil {
		return fmt.Errorf("write the %s profile: %w", kind, err)
	}
	return nil
}

// recordCPU ends early with the request, or when the process does.
func (s *Server) recordCPU(c echo.Context, d time.Duration) error {
	if err := pprof.StartCPUProfile(patientWriter{c.Response()}); err != nil {
		// There is one profiler in a process.
		return asError(&rules.Refusal{Reason: rules.Conflict, Parameter: "kind", Cause: err.Error()})
	}
	defer pprof.StopCPUProfile() // and writes
	ctx, cancel := context.WithTimeout(c.Request().Context(), d)
	defer cancel()
	select {
	case <-ctx.Done():
	case <-s.ending.Done():
	}
	return nil
}
