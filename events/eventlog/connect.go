package eventlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// ConnectConfig says how to reach NATS servers outside this process. Empty
// fields are not used.
type ConnectConfig struct {
	// URL is one or several server addresses, separated by commas.
	URL string
	// Name is shown in the servers' connection lists.
	Name string
	// Creds is a file with a user's JWT and key, as nsc makes them, or with the
	// seed of a user's nkey alone.
	Creds string
	// CA is a file with the certificates that servers are verified with, the
	// system's if empty. Cert and Key are files of a client certificate.
	CA, Cert, Key string
	// Logger is told when connections come and go. Nil discards it.
	Logger *slog.Logger
}

const (
	reconnectWait = 200 * time.Millisecond
	// Two lost pings end a connection to a server that is gone without a word.
	pingInterval = 5 * time.Second
	maxPingsOut  = 2
)

// Connect connects to NATS. The connection comes back by itself for ever; its
// StatusChanged channel says when. While it is away publishes fail at once
// instead of being kept for later: an append that reached the server minutes
// after it was given up would be stored twice or come as a surprise.
func Connect(c ConnectConfig) (*nats.Conn, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	opts := []nats.Option{
		nats.Name(c.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
	}
	identity, err := c.identity()
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	opts = append(opts, identity...)
	opts = append(opts, c.security()...)
	opts = append(opts, c.reports()...)
	nc, err := nats.Connect(c.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}

// identity is who connects, and where answers to it go: to an inbox below
// _INBOX and the user's public key, so that users can be kept from reading what
// is answered to others.
func (c ConnectConfig) identity() ([]nats.Option, error) {
	if c.Creds == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.Creds)
	if err != nil {
		return nil, fmt.Errorf("read the credentials: %w", err)
	}
	user, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return nil, fmt.Errorf("read the credentials in %s: %w", c.Creds, err)
	}
	defer user.Wipe()
	public, err := user.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("read the credentials in %s: %w", c.Creds, err)
	}
	login := nats.UserCredentials(c.Creds)
	if !bytes.Contains(text, []byte(userJWT)) {
		if login, err = nats.NkeyOptionFromSeed(c.Creds); err != nil {
			return nil, fmt.Errorf("read the nkey in %s: %w", c.Creds, err)
		}
	}
	return []nats.Option{login, nats.CustomInboxPrefix(Inbox(public))}, nil
}

// userJWT is in every credentials file that has more than a key.
const userJWT = "BEGIN NATS USER JWT"

// Inbox is what the subjects of answers to a user begin with, by its public key.
func Inbox(public string) string { return nats.InboxPrefix + public }

func (c ConnectConfig) security() (opts []nats.Option) {
	if c.CA != "" {
		opts = append(opts, nats.RootCAs(c.CA))
	}
	if c.Cert != "" {
		opts = append(opts, nats.ClientCert(c.Cert, c.Key))
	}
	return opts
}

func (c ConnectConfig) reports() []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.Logger.Warn("disconnected from NATS", "err", err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.Logger.Info("connected to NATS again", "server", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.Logger.Warn("error from NATS", "err", err)
		}),
	}
}
