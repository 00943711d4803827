package main

import (
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/chancery-authority/chancery/cmd/hammer"
)

// cli is the command line. A flag in a named group is a setting, which can
// also come from the environment or the configuration file; a flag without
// one is an argument of that one call.
type cli struct {
	Config  configFile       `type:"path" env:"CHANCERY_CONFIG" placeholder:"FILE" help:"YAML file with settings, flag names as keys."`
	Version kong.VersionFlag `help:"Print the version."`

	Serve     serveCmd     `cmd:"" group:"run" help:"Run the whole authority in one process."`
	API       apiCmd       `cmd:"" name:"api" group:"run" help:"Run a stateless API replica that asks projectors."`
	Projector projectorCmd `cmd:"" group:"run" help:"Run a projector that serves reads to API replicas."`

	Setup  setupCmd  `cmd:"" group:"run" help:"Prepare an authority on several machines."`
	Health healthCmd `cmd:"" group:"run" help:"Say whether the process on this machine is ready."`

	Client  clientCmd  `cmd:"" group:"administer" help:"Register and manage clients."`
	User    userCmd    `cmd:"" group:"administer" help:"Register and manage users."`
	Grant   grantCmd   `cmd:"" group:"administer" help:"Look at grants and revoke them."`
	Token   tokenCmd   `cmd:"" group:"administer" help:"Say whether a token was active, and why."`
	Audit   auditCmd   `cmd:"" group:"administer" help:"Find, follow and export what happened."`
	Replay  replayCmd  `cmd:"" group:"administer" help:"Fold the log again, up to a moment of the past."`
	Revoke  revokeCmd  `cmd:"" group:"administer" help:"End what was issued: to a client, a user or an address, by a key, in a time."`
	Backup  backupCmd  `cmd:"" group:"administer" help:"Copy a running authority into a directory, and verify such a copy."`
	Restore restoreCmd `cmd:"" group:"administer" help:"Make an empty realm of a backup."`

	Status statusCmd `cmd:"" group:"administer" help:"Show how a process and its read models stand."`

	Key keyCmd `cmd:"" group:"administer" help:"Rotate and drop keys, and encrypt them anew."`

	LogLevel logLevelCmd `cmd:"" name:"log-level" group:"administer" help:"Show or change what a process logs."`

	Profile profileCmd `cmd:"" group:"administer" help:"Record what a process spends CPU time or memory on."`

	Projection projectionCmd `cmd:"" group:"administer" help:"Rebuild read models beside the live ones, compare and switch."`

	Partition partitionCmd `cmd:"" group:"administer" help:"List the partitions of the log, and add more."`

	Login  loginCmd  `cmd:"" group:"person" help:"Sign in at an authority by a device code, or show who is signed in."`
	Logout logoutCmd `cmd:"" group:"person" help:"Sign out again: revoke the tokens and delete them."`

	Bench        benchCmd        `cmd:"" group:"run" help:"Measure an authority, one of its own or a running one, and check every answer."`
	BenchProcess benchProcessCmd `cmd:"" hidden:"" help:"A process of chancery bench."`

	Hammer        hammerCmd        `cmd:"" group:"run" help:"Break an authority of processes while it is used, and check that it keeps its promises."`
	HammerProcess hammerProcessCmd `cmd:"" hidden:"" help:"A process of chancery hammer."`

	Grow growCmd `cmd:"" group:"run" help:"Make the store of an authority with many live grants, to size memory, disk and start-up."`

	VersionCmd versionCmd `cmd:"" name:"version" group:"administer" help:"Print the version."`
}

const description = `A token authority that runs on its log: OAuth 2.0 tokens, of which every one issued, refreshed or revoked is an event in a NATS JetStream stream.

Try it: "chancery serve --dev", which prints a tour.

Every setting is a flag, an environment variable (--nats-url is CHANCERY_NATS_URL) and a key of the file of --config (nats-url), in this order of precedence. "chancery serve --print-config" shows what is in force.`

func newParser(c *cli, set *settings, stdout, stderr io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("chancery"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
		kong.Bind(set),
		kong.Resolvers(set),
		kong.Vars{"version": version(), "faults": strings.Join(hammer.AllFaults(), ", "), "operations": operations()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.ExplicitGroups(groups()),
	)
}

func groups() []kong.Group {
	return []kong.Group{
		{Key: "run", Title: "Run:"},
		{Key: "administer", Title: "Administer:"},
		{Key: "person", Title: "Sign in:"},
		{Key: "authority", Title: "Authority:"},
		{Key: "tokens", Title: "Tokens:"},
		{Key: "listeners", Title: "Listeners:"},
		{Key: "log", Title: "Log:"},
		{Key: "keys", Title: "Keys:"},
		{Key: "evidence", Title: "Checkpoints and archive:"},
		{Key: "client", Title: "Client:"},
		{Key: "admin", Title: "Admin API:"},
		{Key: "logging", Title: "Logging:"},
		{Key: "metrics", Title: "Metrics and traces:"},
	}
}
