package hammer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// requestTimeout is how long a client waits: less than a replica works on a
	// request, so that it happens that an outcome is never heard of.
	requestTimeout = 10 * time.Second
	// healthEvery is how often the load balancer asks whether a replica is ready.
	healthEvery = 50 * time.Millisecond
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 1 << 20
)

// errNotSent means that no replica took the connection, so nothing happened.
var errNotSent = errors.New("no replica takes connections")

// A balancer sends requests to API replicas as a load balancer does: to those
// that are ready, and to another only where a connection was not taken at all. What
// may have arrived is not sent again.
type balancer struct {
	cluster *Cluster
	http    *http.Client
	ready   []atomic.Bool
}

func newBalancer(c *Cluster) *balancer {
	return &balancer{
		cluster: c, ready: make([]atomic.Bool, len(c.APIs)),
		http: &http.Client{
			Timeout:       requestTimeout,
			Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// watch asks replica i whether it is ready, until ctx ends.
func (b *balancer) watch(ctx context.Context, i int) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		b.ready[i].Store(b.cluster.Ready(ctx, b.cluster.APIs[i]) == nil)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// order is the replicas in which a request is tried, from the preferred one on:
// those that are ready, or all if none is.
func (b *balancer) order(preferred int) (all []int) {
	for i := range b.ready {
		if n := (preferred + i) % len(b.ready); b.ready[n].Load() {
			all = append(all, n)
		}
	}
	if len(all) > 0 {
		return all
	}
	for i := range b.ready {
		all = append(all, (preferred+i)%len(b.ready))
	}
	return all
}

// A request is one HTTP request to the public address of a replica.
type request struct {
	method, path string
	// form or json is the body, and basic the client that authenticates.
	form, json string
	basic      *client
	cookie     *http.Cookie
	// preferred is the replica that the balancer tries first; only says that it
	// is the only one.
	preferred int
	only      bool
}

// An answer is what a replica said, and which.
type answer struct {
	replica string
	status  int
	header  http.Header
	cookies []*http.Cookie
	body    map[string]any
}

func (a answer) text(name string) string {
	text, _ := a.body[name].(string)
	return text
}

// send sends a request. The error is errNotSent if no replica took it, and
// something else if there is no telling.
func (b *balancer) send(ctx context.Context, r request) (answer, error) {
	replicas := []int{r.preferred}
	if !r.only {
		replicas = b.order(r.preferred)
	}
	for _, i := range replicas {
		a, err := b.sendTo(ctx, b.cluster.APIs[i], r)
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			continue
		}
		return a, err
	}
	return answer{}, errNotSent
}

func (b *balancer) sendTo(ctx context.Context, to *Service, r request) (answer, error) {
	a := answer{replica: to.Name}
	body, kind := r.form, "application/x-www-form-urlencoded"
	if r.json != "" {
		body, kind = r.json, "application/json"
	}
	made, err := http.NewRequestWithContext(ctx, r.method, to.Public+r.path, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	if r.method != http.MethodGet {
		made.Header.Set("Content-Type", kind)
	}
	if r.basic != nil {
		made.SetBasicAuth(r.basic.id, r.basic.secret)
	}
	if r.cookie != nil {
		made.AddCookie(r.cookie)
	}
	got, err := b.http.Do(made)
	if err != nil {
		return a, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(io.LimitReader(got.Body, maxAnswer))
	if err != nil {
		return a, err
	}
	a.status, a.header, a.cookies = got.StatusCode, got.Header, got.Cookies()
	_ = json.Unmarshal(text, &a.body) // not all answers are objects
	return a, nil
}

// admin calls the admin API of the first replica that is ready.
func (b *balancer) admin(ctx context.Context, path string, in any) (out map[string]any, err error) {
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	to := b.cluster.APIs[b.order(0)[0]]
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Admin+"/admin/v1"+path, strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+b.cluster.secrets.AdminKey)
	got, err := b.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer got.Body.Close()
	if err := json.NewDecoder(got.Body).Decode(&out); err != nil {
		return nil, err
	}
	if got.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("%s: %s: %v", path, got.Status, out)
	}
	return out, nil
}

// claims are those of an access token, not verified: the log tells whether they
// are true.
func claims(token string) (c struct {
	JTI   string `json:"jti"`
	Grant string `json:"grant"`
}, err error,
) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(payload, &c)
}
