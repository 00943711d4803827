package server

import (
	"context"
	"io"
	"log/slog"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/api/telemetry"
)

// A Role is what a process does of an authority.
type Role int

// The roles. All is one process that does everything.
const (
	All Role = iota
	API
	Projector
)

// Config is everything a process is told. The tags of its groups are read by
// the command line.
type Config struct {
	Role     Role
	Settings config.Settings
	Public   Public
	Admin    Admin
	Log      Log
	Keys     Keys
	Data     Data
	// Evidence is what proves that the log is what it was.
	Evidence Evidence
	Archive  Archive
	// Metrics and Tracing are what operators see of the process.
	Metrics Metrics
	Tracing Tracing
	// AccessLog is the level of the line that each request has in the log: debug,
	// info, or off, which an empty one is too.
	AccessLog string
	// Build is what the program was built from.
	Build telemetry.Build
	// Dev starts with demonstration clients and a user, on loopback only.
	Dev bool

	// Reloads gives, while the process runs, what to change it to: the settings
	// with the tag reload, checked. The rest is not looked at. Nil never does.
	Reloads <-chan Config

	// Logger is told what happens. Nil discards it.
	Logger *slog.Logger
	// LogLevel is that of Logger, for administrators to change. Nil if it cannot be.
	LogLevel *slog.LevelVar
	// Out is where the banner and the tour of Dev go. Nil discards them.
	Out io.Writer

	// Passwords is the cost of hashing passwords; the zero value is the default.
	Passwords secret.PasswordConfig
	// Exporter gets the spans instead of the collector that Tracing names. It is for
	// tests.
	Exporter sdktrace.SpanExporter
	// FoldGate and FeedGate hold back what is folded and followed. They are for
	// tests of a process that is behind.
	FoldGate func(ctx context.Context, stream string) error
	FeedGate func(ctx context.Context, stream string) error
	// Clock is the wall clock, time.Now if nil. Another is for tests of a clock
	// that is stepped; no setting leads here.
	Clock func() time.Time
}

// Public is the listener of the protocol.
type Public struct {
	Listen     string        `default:"127.0.0.1:8080" help:"Address of the public endpoints."`
	TLSCert    string        `name:"tls-cert" type:"path" placeholder:"FILE" help:"Certificate chain, in PEM, to serve the public endpoints with over TLS. A new one in the file is taken up by itself. Without one they are served in clear, for a proxy in front."`
	TLSKey     string        `name:"tls-key" type:"path" placeholder:"FILE" help:"Key of the certificate, in PEM."`
	DrainDelay time.Duration `default:"0s" help:"How long to go on answering when told to stop, not ready any more, at most 1m: as long as load balancers take to notice. Without it a request may be lost with its connection."`
}

// Admin is the listener of the admin API and of health.
type Admin struct {
	AdminListen  string `default:"127.0.0.1:8081" help:"Address of the admin API and of /health/live and /health/ready."`
	AdminTLSCert string `name:"admin-tls-cert" type:"path" placeholder:"FILE" help:"Certificate chain of the admin listener, as tls-cert."`
	AdminTLSKey  string `name:"admin-tls-key" type:"path" placeholder:"FILE" help:"Key of the admin listener's certificate."`
}

// Data is where a process keeps its files.
type Data struct {
	Data    string `default:"./chancery-data" type:"path" help:"Directory of the embedded log, the read models and generated keys."`
	NoAudit bool   `name:"no-audit" help:"Do not index the log for audit queries, which are then answered 503. The index is about as large as the log."`
}

// Log says where the log is and how it is kept.
type Log struct {
	Realm      string `default:"main" help:"First token of every subject and prefix of every stream: one authority in a NATS account."`
	Partitions int    `default:"1" help:"Streams that grants are spread over, at least. They can be added while everything runs, and never removed: chancery partition add."`
	Replicas   int    `default:"1" help:"Copies of every stream: 1, 3 or 5. The embedded server keeps 1."`

	NATSURL        string `name:"nats-url" address:"" placeholder:"URL" help:"NATS servers to use instead of the embedded one, separated by commas."`
	NATSCreds      string `name:"nats-creds" type:"path" placeholder:"FILE" help:"Credentials of a user of the account the log is in: a file with a JWT and its key, as nsc makes it, or with the seed of an nkey."`
	NATSTLSCA      string `name:"nats-tls-ca" type:"path" placeholder:"FILE" help:"Certificates that sign the NATS servers'."`
	NATSTLSCert    string `name:"nats-tls-cert" type:"path" placeholder:"FILE" help:"Client certificate for the NATS servers."`
	NATSTLSKey     string `name:"nats-tls-key" type:"path" placeholder:"FILE" help:"Key of the client certificate."`
	NATSSysCreds   string `name:"nats-sys-creds" type:"path" placeholder:"FILE" help:"Credentials of a user of the system account, with which every server is asked whether it syncs before it acknowledges."`
	AcceptDataLoss bool   `help:"Start although the servers do not sync before they acknowledge, or cannot be asked. A power cut may then lose acknowledged events: revocations too."`
}

// Evidence is what is signed of the log, and where it is kept.
type Evidence struct {
	CheckpointKey       secret.Secret `secret:"" placeholder:"KEY" help:"Key that signs checkpoints of the log, the same in every process, as chancery audit keygen makes it. Default with the embedded log: made once and kept in DATA/checkpoint-key. Without one a projector signs nothing."`
	CheckpointKeyFile   string        `type:"path" placeholder:"FILE" help:"File that holds the key of checkpoints."`
	CheckpointKnownKeys []string      `placeholder:"KEY" help:"Further public keys whose checkpoints count: of keys that were in use before."`
	CheckpointDir       string        `type:"path" placeholder:"DIR" help:"Where the newest checkpoint of each stream is kept outside of the log; best on another disk. Default: DATA/checkpoints."`
	ScrubRate           int           `default:"1000" help:"Messages a second, of each stream, that are read again and held against what was folded; 0 is none."`
	AcceptLoss          []string      `placeholder:"STREAM:SIZE" help:"Take the log of a stream as it is, although it is shorter than, or different from, what was signed up to a size. What was signed is set aside, once, and all grants, sessions and access tokens of before end. The process that does not start says what to name."`

	AcceptLossKeepClient []string `placeholder:"CLIENT" help:"Clients whose grants go on when a loss is accepted. What was revoked in what was lost is revoked no more, so name only who can live with that. Not with a loss of the registry."`
}

// Archive is where closed ranges of the log are sealed.
type Archive struct {
	Archive     string        `type:"path" placeholder:"DIR" help:"Seal closed ranges of the log into this directory, and read from it what streams have forgotten. All processes are given the same; an API replica only reads."`
	ForgetAfter time.Duration `default:"0" help:"How long the log keeps what is sealed and in force no more, 48h at least; 0 is for ever."`
}

// Metrics says who may read the metrics.
type Metrics struct {
	NoMetrics      bool          `name:"no-metrics" help:"Count nothing, and have no /metrics on the admin listener."`
	MetricsKey     secret.Secret `secret:"" placeholder:"KEY" help:"Bearer key of /metrics. Without one, whoever reaches the admin listener may read them."`
	MetricsKeyFile string        `type:"path" placeholder:"FILE" help:"File that holds the key of /metrics."`
}

// Tracing says where traces go.
type Tracing struct {
	OTLPEndpoint string  `name:"otlp-endpoint" address:"" placeholder:"URL" help:"OpenTelemetry collector that gets traces, by OTLP over HTTP, such as http://127.0.0.1:4318. Default: what OTEL_EXPORTER_OTLP_ENDPOINT says; without either, nothing is traced. Other OTEL_EXPORTER_OTLP_* variables, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES count too."`
	TraceRatio   float64 `default:"1" help:"How many of the traces are recorded, from 0 to 1. The same in every process."`
}

// AdminKeys are the ways to give the admin key. A projector needs no other, and
// answers nothing but health without one.
type AdminKeys struct {
	AdminKey     secret.Secret `secret:"" placeholder:"KEY" help:"Bearer key of the admin API. Default of serve: made once and kept in DATA/admin-key. Prefer --admin-key-file: arguments are seen by everybody on the machine."`
	AdminKeyFile string        `type:"path" placeholder:"FILE" help:"File that holds the admin key."`
}

// Keys are the secrets a process is given. None of them ever enters NATS.
type Keys struct {
	AdminKeys

	KeyEncryptionKeys     secret.Secret `secret:"" placeholder:"LINES" help:"Key-encryption keys, one id:base64url line each, the last one active. Default with the embedded log: made once and kept in DATA/key-encryption-keys."`
	KeyEncryptionKeysFile string        `type:"path" placeholder:"FILE" help:"File that holds the key-encryption keys."`
}
