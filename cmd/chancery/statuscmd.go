package main

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/chancery-authority/chancery/cmd/server"
)

type statusCmd struct{ adminCall }

// status is the admin API's account of a process.
type status struct {
	Issuer     string               `json:"issuer"`
	Realm      string               `json:"realm"`
	Partitions int                  `json:"partitions"`
	Version    string               `json:"version"`
	Ready      bool                 `json:"ready"`
	Reason     string               `json:"reason"`
	ClockSkew  int64                `json:"clock_skew_ms"`
	Warnings   []string             `json:"warnings"`
	Models     []server.ModelStatus `json:"projector"`
}

// Run prints how the process stands.
func (c *statusCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodGet, nil, "status")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(s status) error { return s.print(t) })
}

func (s status) print(t terminal) error {
	state := "ready"
	if !s.Ready {
		state = "not ready: " + s.Reason
	}
	rows := [][]string{
		{"issuer", s.Issuer},
		{"realm", s.Realm},
		{"partitions", strconv.Itoa(s.Partitions)},
		{"version", cmp.Or(s.Version, "-")},
		{"state", state},
		{"clock skew", (time.Duration(s.ClockSkew) * time.Millisecond).String()},
	}
	for _, w := range s.Warnings {
		rows = append(rows, []string{"warning", w})
	}
	err := table(t.out, rows...)
	if err != nil || len(s.Models) == 0 {
		return err
	}
	rows = [][]string{{}, {"READ MODEL", "FOLDED", "HEAD", "LAG", "HASH", "ERROR"}}
	for _, m := range s.Models {
		rows = append(rows, []string{
			cmp.Or(m.Model, m.Stream), strconv.FormatUint(m.Position, 10), strconv.FormatUint(m.Head, 10),
			time.Duration(m.Lag * float64(time.Second)).Round(time.Millisecond).String(),
			m.Hash[:min(12, len(m.Hash))], cmp.Or(m.Error, "-"),
		})
	}
	return table(t.out, rows...)
}
