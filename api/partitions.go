package api

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
)

// A partitionView is one partition as administrators see it.
type partitionView struct {
	Partition int    `json:"partition"`
	Stream    string `json:"stream"`
	// AddedAt is the log's time. The first partition has none.
	AddedAt time.Time `json:"added_at,omitzero"`
	// Head is the sequence of the newest message.
	Head uint64 `json:"head"`
	// InUse says that this replica opens grants in it, and Reason why not, or what
	// else is wrong with it.
	InUse  bool   `json:"in_use"`
	Reason string `json:"reason,omitempty"`
}

// partitionsBody says how many partitions there are to be.
type partitionsBody struct {
	Total int `json:"total"`
}

func (s *Server) listPartitions(c echo.Context) error {
	states, err := s.authority.PartitionStates(c.Request().Context())
	return answerPartitions(c, states, err)
}

// addPartitions goes on although the client hangs up: what was begun is finished.
func (s *Server) addPartitions(c echo.Context) error {
	var body partitionsBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), s.parts.RequestTimeout)
	defer cancel()
	states, err := s.authority.AddPartitions(ctx, body.Total, caller(c))
	return answerPartitions(c, states, err)
}

func answerPartitions(c echo.Context, states []authority.PartitionState, err error) error {
	if err != nil {
		return err
	}
	views := []partitionView{}
	for _, p := range states {
		views = append(views, partitionView{
			Partition: int(p.Partition), Stream: p.Stream, AddedAt: p.AddedAt, Head: p.Head, InUse: p.InUse, Reason: p.Reason,
		})
	}
	return c.JSON(http.StatusOK, map[string]any{"partitions": views})
}
