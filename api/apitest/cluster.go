package apitest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
)

// partitions is how many the log of a cluster has: enough for tests to notice
// what holds for one only.
const partitions = 2

// A Cluster is an installation on three servers: a log of three replicas,
// projectors that answer reads over NATS, and API replicas that ask them.
type Cluster struct {
	*embeddedtest.Cluster
	Projectors []*Projector
	Replicas   []*Replica
}

// NewCluster starts two projectors and that many API replicas, each connected
// to the next server first and to another when that one dies, and the
// demonstration clients and user. All of it ends with the test.
func NewCluster(t testing.TB, replicas int) *Cluster {
	t.Helper()
	c := &Cluster{Cluster: embeddedtest.NewCluster(t)}
	for i := range 2 {
		c.Projectors = append(c.Projectors, StartProjector(t, c.Prefer(t, i), embeddedtest.Nodes))
	}
	for i := range replicas {
		c.Replicas = append(c.Replicas, c.Join(t, c.Prefer(t, i)))
	}
	c.Replicas[0].Seed(t)
	return c
}

// Join starts one more API replica, on a connection.
func (c *Cluster) Join(t testing.TB, nc *nats.Conn) *Replica {
	t.Helper()
	return Start(t, nc, Options{
		Replicas:   embeddedtest.Nodes,
		Partitions: partitions,
		Reader:     projector.NewRemote(nc, events.DefaultRealm),
	})
}

// Prefer connects to node i, counted around, and to the others while that one
// is away.
func (c *Cluster) Prefer(t testing.TB, i int) *nats.Conn {
	t.Helper()
	var urls []string
	for n := range embeddedtest.Nodes {
		urls = append(urls, c.URL((i+n)%embeddedtest.Nodes))
	}
	options := append(embeddedtest.Reconnecting(), nats.DontRandomize())
	nc, err := nats.Connect(strings.Join(urls, ","), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// A Projector is one that serves API replicas, as chancery projector does.
type Projector struct {
	Local *projector.Local
	// Gate holds back its folding.
	Gate Gate

	t       testing.TB
	log     *eventlog.Log
	nc      *nats.Conn
	dir     string
	service *projector.Service
}

// StartProjector starts a projector on a connection of its own.
func StartProjector(t testing.TB, nc *nats.Conn, replicas int) *Projector {
	t.Helper()
	p := &Projector{t: t, dir: t.TempDir()}
	p.Start(nc, replicas)
	t.Cleanup(p.Stop)
	return p
}

// Start starts the projector, again after it stopped, on the files it has.
func (p *Projector) Start(nc *nats.Conn, replicas int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), embeddedtest.Patience)
	defer cancel()
	var err error
	p.log, err = eventlog.Open(ctx, nc, eventlog.Config{
		Realm: events.DefaultRealm, Replicas: replicas, Partitions: partitions,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.Local, err = projector.OpenLocal(ctx, p.log, projector.LocalConfig{Dir: p.dir, Gate: p.Gate.Pass})
	if err != nil {
		p.t.Fatal(err)
	}
	p.nc, p.service = nc, projector.Serve(nc, p.Local)
}

// Stop stops the projector in order. It may have stopped already.
func (p *Projector) Stop() {
	if p.service == nil {
		return
	}
	p.service.Close()
	p.service = nil
	if err := p.Local.Close(); err != nil {
		p.t.Error(err)
	}
}

// Die ends the projector in the middle of what it does: its connection goes
// first, so nothing is answered or taken back in order.
func (p *Projector) Die() {
	p.nc.Close()
	p.Stop()
}

// Position is how far the projector has folded a stream.
func (p *Projector) Position(stream string) uint64 {
	all := p.Local.Status()
	i := slices.IndexFunc(all, func(s projector.Status) bool { return s.Stream == stream })
	if i < 0 {
		p.t.Fatalf("no stream %s", stream)
	}
	return all[i].Position
}
