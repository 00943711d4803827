package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// userCmd are the commands about users.
type userCmd struct {
	Create   userCreateCmd   `cmd:"" help:"Register a user. The password is asked for, or read from stdin."`
	Show     userShowCmd     `cmd:"" help:"Show one user, by id or by name."`
	Sessions userSessionsCmd `cmd:"" help:"List where a user is signed in, or end one of the sessions."`
	Disable  userDisableCmd  `cmd:"" help:"Stop a user. Everything issued to the user dies."`
	Enable   userEnableCmd   `cmd:"" help:"Let a user start again. Earlier grants stay dead."`
	CutOff   userCutOffCmd   `cmd:"" help:"Sign a user out everywhere: end everything issued in the user's name."`
	Erase    userEraseCmd    `cmd:"" aliases:"delete" help:"End a user for good and erase the person. The log keeps what happened."`
}

// user is what the admin API tells of a user.
type user struct {
	ID         string    `json:"user_id"`
	Username   string    `json:"username"`
	Email      string    `json:"email"`
	Registered time.Time `json:"registered"`
	Disabled   bool      `json:"disabled"`
	Deleted    bool      `json:"deleted"`
	Erased     bool      `json:"erased"`
	Epoch      uint64    `json:"epoch"`
	Sessions   int       `json:"sessions"`
	Grants     int       `json:"grants"`
}

func (u user) print(t terminal) error {
	state := "active"
	switch {
	case u.Erased:
		state = "erased"
	case u.Deleted:
		state = "deleted, not erased yet"
	case u.Disabled:
		state = "disabled"
	}
	return table(
		t.out,
		[]string{"user", u.ID},
		[]string{"username", cmp.Or(u.Username, "-")},
		[]string{"email", cmp.Or(u.Email, "-")},
		[]string{"state", state},
		[]string{"registered", moment(u.Registered)},
		[]string{"epoch", fmt.Sprint(u.Epoch)},
		[]string{"sessions", fmt.Sprint(u.Sessions)},
		[]string{"grants", fmt.Sprint(u.Grants)},
	)
}

type userCreateCmd struct {
	adminCall
	Username   string `arg:"" help:"What the user signs in with."`
	Email      string `help:"Address of the user."`
	NoPassword bool   `name:"no-password" help:"The user cannot sign in by a password."`
}

// Help is the detail of chancery user create --help.
func (*userCreateCmd) Help() string {
	return `The password is never an argument, as those are seen by everybody on the machine:

    chancery user create alice --email alice@example.com
    chancery user create alice < password-file`
}

// Run registers the user.
func (c *userCreateCmd) Run(ctx context.Context, t terminal) error {
	in := map[string]string{"username": c.Username}
	if c.Email != "" {
		in["email"] = c.Email
	}
	if !c.NoPassword {
		password, err := t.readPassword("Password of " + printable(c.Username) + ": ")
		if err != nil {
			return err
		}
		in["password"] = password
	}
	answer, err := c.call(ctx, http.MethodPost, in, "users")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(u user) error { return u.print(t) })
}

// whichUser says which user a command is about.
type whichUser struct {
	adminCall
	ID       string `arg:"" optional:"" name:"user-id" help:"Id of the user, the sub of the user's tokens."`
	Username string `help:"Name of the user, in place of the id."`
}

// check is nil if there is one or the other.
func (w *whichUser) check() error {
	if (w.ID == "") == (w.Username == "") {
		return errors.New("give either the id of the user or --username")
	}
	return nil
}

// named is the user with the name.
func (w *whichUser) named(ctx context.Context) (json.RawMessage, error) {
	answer, err := w.find(ctx, url.Values{"username": {w.Username}}, "users")
	if err != nil {
		return nil, err
	}
	var found struct {
		Users []json.RawMessage `json:"users"`
	}
	if err := json.Unmarshal(answer, &found); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(found.Users) != 1 {
		return nil, fmt.Errorf("there is no user %s", printable(w.Username))
	}
	return found.Users[0], nil
}

type userShowCmd struct{ whichUser }

// Run shows the user.
func (c *userShowCmd) Run(ctx context.Context, t terminal) error {
	if err := c.check(); err != nil {
		return err
	}
	read := c.named
	if c.ID != "" {
		read = func(ctx context.Context) (json.RawMessage, error) {
			return c.call(ctx, http.MethodGet, nil, "users", c.ID)
		}
	}
	answer, err := read(ctx)
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(u user) error { return u.print(t) })
}

type userSessionsCmd struct {
	adminCall
	ID  string `arg:"" name:"user-id" help:"Id of the user, the sub of the user's tokens."`
	End string `placeholder:"SESSION" help:"End this one of the sessions."`
}

// Run lists the sessions, or ends one.
func (c *userSessionsCmd) Run(ctx context.Context, t terminal) error {
	if c.End != "" {
		return c.remove(ctx, t, "ended", "users", c.ID, "sessions", c.End)
	}
	answer, err := c.call(ctx, http.MethodGet, nil, "users", c.ID, "sessions")
	if err != nil {
		return err
	}
	type list struct {
		Sessions []struct {
			ID        string   `json:"session_id"`
			AuthTime  int64    `json:"auth_time"`
			Expires   int64    `json:"exp"`
			AMR       []string `json:"amr"`
			UserAgent string   `json:"user_agent"`
		} `json:"sessions"`
	}
	return show(c.output, t, answer, func(l list) error {
		rows := [][]string{{"SESSION", "SIGNED IN", "EXPIRES", "BY", "WITH"}}
		for _, s := range l.Sessions {
			rows = append(rows, []string{
				s.ID, moment(time.Unix(s.AuthTime, 0)), moment(time.Unix(s.Expires, 0)),
				cmp.Or(strings.Join(s.AMR, " "), "-"), cmp.Or(s.UserAgent, "-"),
			})
		}
		return table(t.out, rows...)
	})
}

type userDisableCmd struct {
	adminCall
	ID string `arg:"" name:"user-id" help:"Id of the user, the sub of the user's tokens."`
}

// Run disables the user.
func (c *userDisableCmd) Run(ctx context.Context, t terminal) error {
	return c.report(ctx, t, "disabled", "users", c.ID, "disable")
}

type userEnableCmd struct {
	adminCall
	ID string `arg:"" name:"user-id" help:"Id of the user, the sub of the user's tokens."`
}

// Run enables the user.
func (c *userEnableCmd) Run(ctx context.Context, t terminal) error {
	return c.report(ctx, t, "enabled", "users", c.ID, "enable")
}

type userCutOffCmd struct {
	adminCall
	ID string `arg:"" name:"user-id" help:"Id of the user, the sub of the user's tokens."`
}

// Run cuts the user off.
func (c *userCutOffCmd) Run(ctx context.Context, t terminal) error {
	return c.report(ctx, t, "cut off", "users", c.ID, "cut-off")
}

type userEraseCmd struct{ whichUser }

// Help is the detail of chancery user erase --help.
func (*userEraseCmd) Help() string {
	return `Nothing is issued in the user's name again, and what was issued is dead. The record
with all that is personal goes, and with it the key to the addresses and user agents
in the log; hashes and proofs of the log stay as they are. Says where the log has the
event of the erasure, also if it was done before:

    chancery user erase 0e3329c8-efc8-4e1e-a87a-b83f19e6ca6e
    chancery user erase --username alice

An erasure that is interrupted goes on by itself. There is no way back.`
}

// Run erases the user. A user without a name any more is found by the id alone.
func (c *userEraseCmd) Run(ctx context.Context, t terminal) error {
	if err := c.check(); err != nil {
		return err
	}
	id := c.ID
	if id == "" {
		answer, err := c.named(ctx)
		if err != nil {
			return err
		}
		var found user
		if err := json.Unmarshal(answer, &found); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		id = found.ID
	}
	answer, err := c.call(ctx, http.MethodDelete, nil, "users", id)
	if err != nil {
		return err
	}
	type erasure struct {
		ID     string `json:"user_id"`
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
	}
	return show(c.output, t, answer, func(e erasure) error {
		_, err := fmt.Fprintf(t.out, "%s erased: the record and the name are gone, %s %d says so\n", printable(e.ID), printable(e.Stream), e.Seq)
		return err
	})
}
