package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// partitionCmd are the commands about the partitions of the log.
type partitionCmd struct {
	List partitionListCmd `cmd:"" help:"List the partitions, and whether grants are opened in them."`
	Add  partitionAddCmd  `cmd:"" help:"Add partitions, while everything runs."`
}

type partitionListCmd struct{ adminCall }

// Run prints a row for each partition.
func (c *partitionListCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodGet, nil, "partitions")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(l partitionList) error { return l.print(t) })
}

type partitionAddCmd struct {
	adminCall
	Count int `default:"1" help:"How many to add."`
}

// Help is the detail of chancery partition add --help.
func (*partitionAddCmd) Help() string {
	return `Grants that are opened from now on are spread over the new partitions too; those that there are stay where they are. All replicas and projectors take them up by themselves. Nothing can remove one.

Where it fails half way, run it again with what is missing: "chancery partition list" tells.

Example:

    chancery partition add --count 2`
}

// Run asks for as many as there are and count more, which can be asked again.
func (c *partitionAddCmd) Run(ctx context.Context, t terminal) error {
	if c.Count < 1 {
		return fmt.Errorf("--count %d: want 1 or more", c.Count)
	}
	answer, err := c.call(ctx, http.MethodGet, nil, "partitions")
	if err != nil {
		return err
	}
	var before partitionList
	if err := json.Unmarshal(answer, &before); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	total := len(before.Partitions) + c.Count
	if answer, err = c.call(ctx, http.MethodPost, map[string]any{"total": total}, "partitions"); err != nil {
		return err
	}
	return show(c.output, t, answer, func(l partitionList) error { return l.print(t) })
}

// partitionList is the admin API's list of partitions.
type partitionList struct {
	Partitions []struct {
		Partition int       `json:"partition"`
		Stream    string    `json:"stream"`
		AddedAt   time.Time `json:"added_at"`
		Head      uint64    `json:"head"`
		InUse     bool      `json:"in_use"`
		Reason    string    `json:"reason"`
	} `json:"partitions"`
}

func (l partitionList) print(t terminal) error {
	rows := [][]string{{"PARTITION", "STREAM", "ADDED", "HEAD", "STATE"}}
	for _, p := range l.Partitions {
		state := "in use"
		if !p.InUse {
			state = "not in use yet"
		}
		if p.Reason != "" {
			state += ": " + p.Reason
		}
		rows = append(rows, []string{
			strconv.Itoa(p.Partition), p.Stream, moment(p.AddedAt), strconv.FormatUint(p.Head, 10), state,
		})
	}
	return table(t.out, rows...)
}
