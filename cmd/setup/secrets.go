package setup

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/cmd/server"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/durable"
)

// Secrets says what to make for an authority. Each of its directories is for
// one kind of process, which is to see no other.
type Secrets struct {
	Dir   string
	Realm events.Realm
	// Room is how many partitions the permissions are for.
	Room int
	// Routes are the addresses, host:port, where the servers of the cluster listen
	// for each other.
	Routes []string
	// Forget lets projectors purge what is archived.
	Forget bool
}

// Directories and files below Dir.
const (
	apiDir       = "api"
	projectorDir = "projector"
	operatorDir  = "operator"
	natsDir      = "nats"

	natsKey       = "nats.nk"
	systemKey     = "nats-sys.nk"
	adminKey      = "admin-key"
	ringFile      = "key-encryption-keys"
	checkpointKey = "checkpoint-key"
	routePassword = "route-password"
	accountsFile  = "accounts.conf"
)

// Make makes every secret that is not there, and writes the accounts of NATS
// for those that are. It may be called again at any time: no secret is ever
// replaced. It tells the files it has made.
func (s Secrets) Make() (made []string, err error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	m := &maker{dir: s.Dir}
	m.makeKeys(s.Realm)
	accounts := m.makeUsers(realm{Realm: s.Realm, partitions: s.Room, forget: s.Forget})
	m.copy(operatorDir, adminKey, apiDir, adminKey)
	m.copy(operatorDir, "projector-"+adminKey, projectorDir, adminKey)
	m.copy(operatorDir, checkpointKey+".pub", projectorDir, checkpointKey+".pub")
	accounts.Routes = s.Routes
	if m.err == nil {
		m.write(natsDir, accountsFile, []byte(accounts.String()))
	}
	if m.err != nil {
		return m.made, fmt.Errorf("making secrets: %w", m.err)
	}
	return m.made, nil
}

func (s Secrets) check() error {
	if err := s.Realm.Validate(); err != nil {
		return fmt.Errorf("realm: %w", err)
	}
	if s.Room < 1 || s.Room > events.MaxPartitions {
		return fmt.Errorf("room: %d is not between 1 and %d", s.Room, events.MaxPartitions)
	}
	for _, r := range s.Routes {
		if host, port, err := net.SplitHostPort(r); err != nil || host == "" || port == "" || strings.ContainsAny(r, `"/@`) {
			return fmt.Errorf("route: %q is not host:port", r)
		}
	}
	return nil
}

// maker makes files until something goes wrong.
type maker struct {
	dir  string
	made []string
	err  error
}

func (m *maker) makeKeys(r events.Realm) {
	m.create(apiDir, adminKey, randomLine)
	m.create(projectorDir, adminKey, randomLine)
	m.create(apiDir, ringFile, func() (string, error) { return secret.NewRingLine("1").Reveal(), nil })
	if m.missing(projectorDir, checkpointKey) {
		_, m.err = server.CreateCheckpointKey(m.path(projectorDir, checkpointKey), server.CheckpointKeyName(r))
		m.note(projectorDir, checkpointKey)
	}
}

// makeUsers makes the keys of the users. One of the system account is enough,
// which either kind of process has a copy of.
func (m *maker) makeUsers(r realm) accounts {
	api, projector, operator := m.user(apiDir, natsKey), m.user(projectorDir, natsKey), m.user(operatorDir, natsKey)
	system := m.user(apiDir, systemKey)
	m.copy(projectorDir, systemKey, apiDir, systemKey)
	m.create(natsDir, routePassword, randomLine)
	return accounts{
		Log:           []user{r.api(api), r.projector(projector, api, operator), r.operator(operator)},
		System:        []user{r.system(system)},
		RoutePassword: strings.TrimSpace(string(m.read(natsDir, routePassword))),
	}
}

// user makes a user's key and gives its public half.
func (m *maker) user(dir, name string) (public string) {
	m.create(dir, name, newSeed)
	text := m.read(dir, name)
	if m.err != nil {
		return ""
	}
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err == nil {
		public, err = pair.PublicKey()
	}
	if err != nil {
		m.err = fmt.Errorf("reading %s: %w", m.path(dir, name), err)
	}
	return public
}

func newSeed() (string, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	return string(seed) + "\n", err
}

func randomLine() (string, error) { return rand.Text() + "\n", nil }

func (m *maker) path(dir, name string) string { return filepath.Join(m.dir, dir, name) }

// missing makes the directory if need be, and tells whether the file is to be
// made.
func (m *maker) missing(dir, name string) bool {
	if m.err == nil {
		m.err = os.MkdirAll(filepath.Join(m.dir, dir), 0o700)
	}
	if m.err != nil {
		return false
	}
	_, err := os.Stat(m.path(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.err = err
	}
	return err != nil && m.err == nil
}

func (m *maker) create(dir, name string, text func() (string, error)) {
	if !m.missing(dir, name) {
		return
	}
	var fresh string
	if fresh, m.err = text(); m.err == nil {
		m.err = secret.CreateFile(m.path(dir, name), []byte(fresh))
	}
	m.note(dir, name)
}

func (m *maker) note(dir, name string) {
	if m.err == nil {
		m.made = append(m.made, filepath.Join(dir, name))
	}
}

func (m *maker) read(dir, name string) (text []byte) {
	if m.err == nil {
		text, m.err = os.ReadFile(m.path(dir, name))
	}
	return text
}

// copy gives another kind of process what it may know too.
func (m *maker) copy(dir, name, fromDir, from string) {
	text := m.read(fromDir, from)
	m.write(dir, name, text)
}

// write replaces what is there.
func (m *maker) write(dir, name string, text []byte) {
	if m.err == nil {
		m.err = durable.Write(m.path(dir, name), func(f *os.File) error {
			_, err := f.Write(text)
			return err
		})
	}
}
