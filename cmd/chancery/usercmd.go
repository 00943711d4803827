package main

import "context"

// userCmd are the commands about users.
type userCmd struct {
	Disable userDisableCmd `cmd:"" help:"Stop a user. Everything issued to the user dies."`
	Enable  userEnableCmd  `cmd:"" help:"Let a user start again. Earlier grants stay dead."`
	CutOff  userCutOffCmd  `cmd:"" help:"Sign a user out everywhere: end everything issued in the user's name."`
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
