package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNotDurable means that a power cut could lose what was acknowledged, or
// that nobody could tell.
var ErrNotDurable = errors.New("the log does not survive a power cut")

// DurabilitySubject is where all servers are asked. A user of the system account
// needs to publish nothing else.
const DurabilitySubject = "$SYS.REQ.SERVER.PING.VARZ"

// varzTimeout bounds how long servers may take to answer. Unknown is no.
const varzTimeout = 3 * time.Second

// CheckDurability asks every server, through a connection of the system
// account, whether it syncs before it acknowledges (jetstream sync_always),
// and every open stream and bucket whether it lets it (persist_mode). All
// servers with JetStream are asked, those that hold nothing yet too, because
// the cluster may move a stream. A server that does not answer counts as one
// that does not sync. The error is ErrNotDurable and names each one. Call it
// at start and whenever a connection is made again.
func (l *Log) CheckDurability(ctx context.Context, system *nats.Conn) error {
	ctx, cancel := withDefaultTimeout(ctx, openTimeout)
	defer cancel()
	hosts, wrong, err := l.hosts(ctx)
	if err != nil {
		return fmt.Errorf("check durability: %w", err)
	}
	servers, err := askServers(ctx, system, hosts)
	if err != nil {
		return fmt.Errorf("check durability: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		if why := servers[name]; why != "" {
			wrong = append(wrong, "server "+name+" "+why)
		}
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotDurable, strings.Join(wrong, "; "))
}

// hosts are the servers that hold a stream or bucket, and what is wrong with
// how these are persisted.
func (l *Log) hosts(ctx context.Context) (names, wrong []string, err error) {
	for _, st := range l.stores() {
		info, err := st.info(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("stream %s: %w", st.name, err)
		}
		if mode := info.Config.PersistMode; mode != jetstream.DefaultPersistMode {
			wrong = append(wrong, "stream "+st.name+" has persist_mode "+mode.String())
		}
		if info.Cluster == nil { // a server on its own
			names = append(names, l.nc.ConnectedServerName())
			continue
		}
		names = append(names, info.Cluster.Leader)
		for _, peer := range info.Cluster.Replicas {
			names = append(names, peer.Name)
		}
	}
	return names, wrong, nil
}

// stores are the streams behind everything that is open.
func (l *Log) stores() []*stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Collect(maps.Values(l.opened.Load().streams))
	for _, b := range l.buckets {
		all = append(all, b.stream)
	}
	return all
}

// varz is the part of a server's answer that matters (nats-server, Varz).
type varz struct {
	Server struct {
		Name      string `json:"name"`
		JetStream bool   `json:"jetstream"`
	} `json:"server"`
	Data struct {
		JetStream struct {
			Config struct {
				SyncAlways bool `json:"sync_always"`
			} `json:"config"`
			Meta struct {
				ClusterSize int `json:"cluster_size"`
			} `json:"meta"`
		} `json:"jetstream"`
	} `json:"data"`
}

// askServers maps the name of each server with JetStream to what is wrong with
// it, or to nothing. It waits for the hosts and for as many servers as the
// cluster has.
func askServers(ctx context.Context, system *nats.Conn, hosts []string) (map[string]string, error) {
	servers := map[string]string{}
	for _, h := range hosts {
		servers[h] = "does not say whether it syncs"
	}
	ctx, cancel := context.WithTimeout(ctx, varzTimeout)
	defer cancel()
	answers, err := system.SubscribeSync(system.NewInbox())
	if err != nil {
		return nil, err
	}
	defer answers.Unsubscribe() //nolint:errcheck // nothing is left to lose
	if err := system.PublishRequest(DurabilitySubject, answers.Subject, nil); err != nil {
		return nil, err
	}
	answered, size := map[string]bool{}, 0
	for len(answered) < max(size, len(servers), 1) {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			break // what is missing is unknown
		}
		var v varz
		if json.Unmarshal(m.Data, &v) != nil || !v.Server.JetStream {
			continue
		}
		answered[v.Server.Name] = true
		size = max(size, v.Data.JetStream.Meta.ClusterSize)
		servers[v.Server.Name] = ""
		if !v.Data.JetStream.Config.SyncAlways {
			servers[v.Server.Name] = "does not sync always"
		}
	}
	if missing := size - len(servers); missing > 0 {
		servers["(unnamed)"] = fmt.Sprintf("is one of %d that did not answer", missing)
	}
	return servers, nil
}
