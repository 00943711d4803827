package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/cmd/process"
	"github.com/chancery-authority/chancery/events/embedded/netfault"
)

// lowestPort is of the ports that processes listen on.
const lowestPort = 20_000

// maxStarts bounds how often a process is started that ends before it is ready, and
// startPause is between two starts: together they are longer than NATS servers take to
// find a leader.
const (
	maxStarts  = 10
	startPause = 2 * time.Second
)

// A child is a process of an authority.
type child struct {
	*process.Process

	// once says that it is not started again.
	once    bool
	starts  int
	started time.Time
}

func (c *child) start(ctx context.Context) error {
	c.starts++
	c.started = time.Now()
	return c.Start(ctx)
}

// An authority is one that was started for the run.
type authority struct {
	own Own
	// processes are in the order in which they are started.
	processes []*child
	// issuer is the address of the first API replica; replicas are those of all.
	issuer   string
	replicas []string
	// admins are where processes say whether they are ready, the one for calls last.
	admins       []string
	adminKeyFile string
	secrets      process.Secrets
	ports        []int
	http         *http.Client
}

// startAuthority starts an authority with the settings of production and returns
// when it is ready.
func startAuthority(ctx context.Context, own Own) (a *authority, err error) {
	a = &authority{own: own, http: &http.Client{Timeout: time.Second}}
	servers := own.servers()
	if a.ports, err = netfault.FreePorts(ctx, lowestPort, 2*servers+2*own.APIs+own.Projectors); err != nil {
		return a, err
	}
	if own.one() {
		a.layServe()
	} else if err := a.layCluster(servers); err != nil {
		return a, err
	}
	for i, p := range a.processes {
		if err := p.start(ctx); err != nil {
			return a, errors.Join(err, a.stop())
		}
		if i < servers { // what comes after them does not wait for them
			if err := a.waitNATS(ctx, i); err != nil {
				return a, errors.Join(err, a.stop())
			}
		}
	}
	if err := process.Eventually(ctx, "the authority to be ready", a.ready); err != nil {
		return a, errors.Join(err, a.stop())
	}
	return a, nil
}

func (a *authority) port() string {
	p := a.ports[0]
	a.ports = a.ports[1:]
	return netfault.Loopback(p)
}

func (a *authority) add(name string, args ...string) {
	role := args[0]
	a.processes = append(a.processes, &child{once: role == "serve" || role == "nats", Process: &process.Process{
		Name: name, Log: filepath.Join(a.own.Dir, name+".log"), Argv: append([]string{a.own.Program, "bench-process"}, args...),
	}})
}

// layServe lays out one process with the embedded server.
func (a *authority) layServe() {
	public, admin := a.port(), a.port()
	data := filepath.Join(a.own.Dir, "data")
	a.issuer, a.replicas, a.admins = "http://"+public, []string{"http://" + public}, []string{"http://" + admin}
	a.adminKeyFile = filepath.Join(data, "admin-key")
	a.add("serve", "serve", "--issuer", a.issuer, "--listen", public, "--admin-listen", admin, "--data", data,
		"--partitions", strconv.Itoa(a.own.Partitions))
}

// layCluster lays out NATS servers, projectors and API replicas.
func (a *authority) layCluster(servers int) (err error) {
	if a.secrets, err = process.MakeSecrets(a.own.Dir); err != nil {
		return err
	}
	a.adminKeyFile = a.secrets.AdminKeyFile
	urls, err := a.layNATS(servers)
	if err != nil {
		return err
	}
	log := []string{
		"--nats-url", strings.Join(urls, ","), "--nats-creds", a.secrets.LogCreds, "--nats-sys-creds", a.secrets.SystemCreds,
		"--replicas", strconv.Itoa(servers), "--partitions", strconv.Itoa(a.own.Partitions),
	}
	for i := range a.own.Projectors {
		name, admin := "projector-"+strconv.Itoa(i), a.port()
		a.admins = append(a.admins, "http://"+admin)
		a.add(name, append([]string{
			"projector", "--admin-listen", admin, "--data", filepath.Join(a.own.Dir, name), "--checkpoint-key-file", a.secrets.CheckpointKeyFile,
		}, log...)...)
	}
	for i := range a.own.APIs {
		public, admin := a.port(), a.port()
		a.issuer = cmp.Or(a.issuer, "http://"+public)
		a.replicas, a.admins = append(a.replicas, "http://"+public), append(a.admins, "http://"+admin)
		a.add("api-"+strconv.Itoa(i), append([]string{
			"api", "--issuer", a.issuer, "--listen", public, "--admin-listen", admin,
			"--admin-key-file", a.secrets.AdminKeyFile, "--key-encryption-keys-file", a.secrets.RingFile,
		}, log...)...)
	}
	return nil
}

// layNATS writes the configurations of the servers, which sync always.
func (a *authority) layNATS(servers int) (urls []string, err error) {
	var clients, routes []string
	for range servers {
		clients, routes = append(clients, a.port()), append(routes, a.port())
	}
	for i := range servers {
		name := "nats-" + strconv.Itoa(i)
		text := fmt.Sprintf("server_name: %s\nlisten: %q\nmax_pending: 1GB\njetstream { store_dir: %q, sync_interval: always }\n%s",
			name, clients[i], filepath.Join(a.own.Dir, name), a.secrets.NATSConfig)
		if servers > 1 {
			text += fmt.Sprintf("cluster { name: bench, listen: %q, routes: [nats-route://%s] }\n", routes[i], strings.Join(routes, ", nats-route://"))
		}
		config := filepath.Join(a.own.Dir, name+".conf")
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write the configuration of a NATS server: %w", err)
		}
		a.add(name, "nats", config)
		urls = append(urls, "nats://"+clients[i])
	}
	return urls, nil
}

// waitNATS waits until a server says in its log that it is ready.
func (a *authority) waitNATS(ctx context.Context, i int) error {
	p := a.processes[i]
	return process.Eventually(ctx, p.Name+" to be ready", func(context.Context) error {
		text, err := os.ReadFile(p.Log)
		switch {
		case err != nil:
			return err
		case !p.Running():
			return process.Permanent(ended(p.Process))
		case !strings.Contains(string(text), "Server is ready"):
			return errors.New("not yet")
		}
		return nil
	})
}

// restart starts processes again that have ended, as whoever supervises them does: one
// that finds no leader yet may end.
func (a *authority) restart(ctx context.Context) error {
	for _, p := range a.processes {
		switch {
		case p.Running():
		case p.once || p.starts == maxStarts:
			return process.Permanent(ended(p.Process))
		case time.Since(p.started) >= startPause:
			if err := p.start(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// ready asks all processes.
func (a *authority) ready(ctx context.Context) error {
	if err := a.restart(ctx); err != nil {
		return err
	}
	for _, at := range a.admins {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, at+"/health/ready", nil)
		if err != nil {
			return err
		}
		answer, err := a.http.Do(r)
		if err != nil {
			return err
		}
		if err := answer.Body.Close(); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s is not ready: %s", at, answer.Status)
		}
	}
	return nil
}

// admin connects to the admin API.
func (a *authority) admin() (AdminCall, error) {
	text, err := os.ReadFile(a.adminKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the admin key: %w", err)
	}
	return a.own.ConnectAdmin(a.admins[len(a.admins)-1], secret.New(strings.TrimSpace(string(text))))
}

// addPIDs adds those of the processes, by their names.
func (a *authority) addPIDs(to map[string]int) map[string]int {
	if to == nil {
		to = map[string]int{}
	}
	for _, p := range a.processes {
		if pid := p.PID(); pid != 0 {
			to[p.Name] = pid
		}
	}
	return to
}

// died is an error if any process has ended.
func (a *authority) died() (err error) {
	for _, p := range a.processes {
		if !p.Running() {
			err = errors.Join(err, ended(p.Process))
		}
	}
	return err
}

func ended(p *process.Process) error { return fmt.Errorf("%s has ended: see %s", p.Name, p.Log) }

// stop stops all processes, the last one first.
func (a *authority) stop() error {
	var errs []error
	for i := range a.processes {
		errs = append(errs, a.processes[len(a.processes)-1-i].Stop())
	}
	return errors.Join(errs...)
}
