package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// projectionCmd are the commands about the read models of a process.
type projectionCmd struct {
	Status  projectionStatusCmd  `cmd:"" help:"Show the read models, and what is built beside them."`
	Rebuild projectionRebuildCmd `cmd:"" help:"Build a read model from the log, beside the live one."`
	Diff    projectionDiffCmd    `cmd:"" help:"Compare what was built with the live read model."`
	Switch  projectionSwitchCmd  `cmd:"" help:"Make what was built the live read model."`
	Drop    projectionDropCmd    `cmd:"" help:"Delete what is beside the live read model."`
}

// projectionPoll is between two looks at what takes its time.
const projectionPoll = 500 * time.Millisecond

// models says which read models of a process are meant.
type models struct {
	Model []string `sep:"none" xor:"models" required:"" placeholder:"NAME" help:"Read model, as \"chancery projection status\" names it. May be repeated."`
	All   bool     `xor:"models" required:"" help:"All of them."`
}

type projectionStatusCmd struct{ adminCall }

// Help is the detail of chancery projection status --help.
func (*projectionStatusCmd) Help() string {
	return `The read models are those of the process at --admin-url: "chancery serve", or a projector that was given an admin key.

Example:

    chancery projection status --admin-url http://projector-1:8081 --admin-key-file admin-key`
}

// Run prints a row for each file.
func (c *projectionStatusCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodGet, nil, "projections")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(l projectionList) error { return l.print(t) })
}

type projectionRebuildCmd struct {
	adminCall
	models
	Rate *int `placeholder:"N" help:"Most events to fold in a second, 0 for no limit. Default: 2000, which leaves the issuing of tokens alone."`
}

// Help is the detail of chancery projection rebuild --help.
func (*projectionRebuildCmd) Help() string {
	return `The live read model is read and follows the log as before. The command ends when the new one has caught up; interrupted, it leaves the process to go on. Called again meanwhile, it shows how far that is and changes the rate.

Examples:

    chancery projection rebuild --model MAIN_EVENTS_0
    chancery projection rebuild --all --rate 20000`
}

// Run builds one after the other and shows how far each is.
func (c *projectionRebuildCmd) Run(ctx context.Context, t terminal) error {
	return c.each(ctx, t, c.models, allModels, func(a *adminClient, model string) error {
		body := map[string]any{}
		if c.Rate != nil {
			body["rate"] = *c.Rate
		}
		if _, err := a.call(ctx, http.MethodPost, body, "projections", model, "rebuild"); err != nil {
			return err
		}
		return watchRebuild(ctx, t, a, model)
	})
}

func watchRebuild(ctx context.Context, t terminal, a *adminClient, model string) error {
	p := newProgress(t.err)
	defer p.end()
	for {
		found, err := a.projection(ctx, model)
		if err != nil {
			return err
		}
		if found.Beside == nil {
			return fmt.Errorf("%s: what was being built is gone", model)
		}
		switch p.tell(buildState(model, *found.Beside)); found.Beside.State {
		case "built":
			return nil
		case "stopped":
			return fmt.Errorf("%s: the build has stopped: %s", model, printable(found.Beside.Error))
		}
		if err := pause(ctx, projectionPoll); err != nil {
			return fmt.Errorf("%s is still being built: %w", model, err)
		}
	}
}

// buildState says how far a build is.
func buildState(model string, s projectionSlot) string {
	text := fmt.Sprintf("%s %s %s %d/%d", bar(s.Position, s.Head), model, s.State, s.Position, s.Head)
	if s.State == "building" {
		text += fmt.Sprintf(", %.0f events/s", s.Speed)
		if s.Left > 0 {
			text += fmt.Sprintf(", %s left", seconds(s.Left).Round(time.Second))
		}
	}
	return text
}

type projectionDiffCmd struct {
	adminCall
	models
	Rate *int `placeholder:"N" help:"Most rows to compare in a second, 0 for no limit. Default: 10000."`
}

// Help is the detail of chancery projection diff --help.
func (*projectionDiffCmd) Help() string {
	return `Both are compared row by row at one position of the log, while both go on. The exit status is 1 if they differ.

Example:

    chancery projection diff --all`
}

// Run compares one after the other.
func (c *projectionDiffCmd) Run(ctx context.Context, t terminal) error {
	return c.each(ctx, t, c.models, builtModels, func(a *adminClient, model string) error {
		body := map[string]any{}
		if c.Rate != nil {
			body["rate"] = *c.Rate
		}
		if _, err := a.call(ctx, http.MethodPost, body, "projections", model, "diff"); err != nil {
			return err
		}
		d, err := waitDiff(ctx, a, model)
		if err != nil || c.JSON {
			return err
		}
		return d.print(t, model)
	})
}

func waitDiff(ctx context.Context, a *adminClient, model string) (projectionDiff, error) {
	for {
		found, err := a.projection(ctx, model)
		switch {
		case err != nil:
			return projectionDiff{}, err
		case found.Diff == nil:
			return projectionDiff{}, fmt.Errorf("%s: the comparison is gone", model)
		case !found.Diff.Running && found.Diff.Error != "":
			return projectionDiff{}, fmt.Errorf("%s: %s", model, printable(found.Diff.Error))
		case !found.Diff.Running:
			return *found.Diff, nil
		}
		if err := pause(ctx, projectionPoll); err != nil {
			return projectionDiff{}, fmt.Errorf("%s is still being compared: %w", model, err)
		}
	}
}

type projectionSwitchCmd struct {
	adminCall
	models
	Force bool `help:"Although no comparison has found both to be the same."`
}

// Help is the detail of chancery projection switch --help.
func (*projectionSwitchCmd) Help() string {
	return `No read fails meanwhile. What was live before follows the log until it is dropped, so that one can switch back.

Example:

    chancery projection switch --model MAIN_EVENTS_0`
}

// Run switches one after the other.
func (c *projectionSwitchCmd) Run(ctx context.Context, t terminal) error {
	return c.each(ctx, t, c.models, builtModels, func(a *adminClient, model string) error {
		answer, err := a.call(ctx, http.MethodPost, map[string]any{"force": c.Force}, "projections", model, "switch")
		if err != nil || c.JSON {
			return err
		}
		return show(c.output, t, answer, func(p projection) error {
			_, err := fmt.Fprintf(t.out, "%s: file %d is live at position %d\n", model, p.Live.Slot, p.Live.Position)
			return err
		})
	})
}

type projectionDropCmd struct {
	adminCall
	models
}

// Run drops one after the other.
func (c *projectionDropCmd) Run(ctx context.Context, t terminal) error {
	return c.each(ctx, t, c.models, builtModels, func(a *adminClient, model string) error {
		_, err := a.call(ctx, http.MethodPost, nil, "projections", model, "drop")
		if err == nil && !c.JSON {
			_, err = fmt.Fprintf(t.out, "%s: dropped what was beside the live one\n", model)
		}
		return err
	})
}

func allModels(projection) bool     { return true }
func builtModels(p projection) bool { return p.Beside != nil }

// each does something to the read models that are meant, one after the other, and
// prints how they stand in the end if that is to be JSON. All are those that fit.
func (c adminCall) each(ctx context.Context, t terminal, m models, fit func(projection) bool, do func(*adminClient, string) error) error {
	a, err := c.client()
	if err != nil {
		return err
	}
	names := m.Model
	if m.All {
		list, err := a.projections(ctx)
		if err != nil {
			return err
		}
		for _, p := range list.Projections {
			if fit(p) {
				names = append(names, p.Model)
			}
		}
		if len(names) == 0 {
			return errors.New("nothing is built beside a live read model: rebuild first")
		}
	}
	var failed []error
	for _, name := range names {
		if err := do(a, name); err != nil {
			failed = append(failed, err)
			break
		}
	}
	if c.JSON {
		failed = append(failed, c.printProjections(ctx, t, a, names))
	}
	return errors.Join(failed...)
}

func (c adminCall) printProjections(ctx context.Context, t terminal, a *adminClient, names []string) error {
	answer, err := a.call(ctx, http.MethodGet, nil, "projections")
	if err != nil {
		return err
	}
	var list struct {
		Projections []json.RawMessage `json:"projections"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	kept := []json.RawMessage{}
	for _, raw := range list.Projections {
		var p projection
		if err := json.Unmarshal(raw, &p); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		if slices.Contains(names, p.Model) {
			kept = append(kept, raw)
		}
	}
	list.Projections = kept
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	return printJSON(t.out, text)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
