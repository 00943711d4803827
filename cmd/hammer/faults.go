package hammer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/cmd/process"
	"github.com/chancery-authority/chancery/events/embedded/netfault"
)

// The faults, by the names that they are chosen by.
const (
	KillAPI         = "kill-api"
	KillProjector   = "kill-projector"
	KillNode        = "kill-node"
	KillLeader      = "kill-leader"
	StopLeader      = "stop-leader"
	PauseAPI        = "pause-api"
	PauseProjector  = "pause-projector"
	PauseNode       = "pause-node"
	PauseLeader     = "pause-leader"
	CutAPI          = "cut-api"
	CutProjector    = "cut-projector"
	CutNode         = "cut-node"
	CutLeader       = "cut-leader"
	SilentAPI       = "silent-api"
	ResetAPI        = "reset-connections"
	SlowNetwork     = "slow-network"
	SlowDisk        = "slow-disk"
	DiskFull        = "disk-full"
	ClockStep       = "clock-step"
	RollingRestart  = "rolling-restart"
	KillEverything  = "kill-everything"
	pausePulse      = 40 * time.Millisecond
	pauseBreath     = 15 * time.Millisecond
	diskFullSeconds = 6
)

// AllFaults are all of them, in no order that matters.
func AllFaults() []string {
	return []string{
		KillAPI, KillProjector, KillNode, KillLeader, StopLeader, PauseAPI, PauseProjector, PauseNode, PauseLeader,
		CutAPI, CutProjector, CutNode, CutLeader, SilentAPI, ResetAPI, SlowNetwork, SlowDisk, DiskFull, ClockStep,
		RollingRestart, KillEverything,
	}
}

// A planned fault is what the seed decides of one.
type planned struct {
	name string
	// quiet is how long nothing is broken before, and length how long the fault
	// lasts, where that is not given by itself.
	quiet, length time.Duration
	// pick chooses among several it can be done to, and by how much.
	pick uint64
}

// plan is an endless sequence of faults: each of names once, in an order of
// chance, then all of them again in another.
func plan(seed uint64, names []string) func() planned {
	rng := seeded(seed, "faults")
	var left []string
	return func() planned {
		if len(left) == 0 {
			left = slices.Clone(names)
			rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		p := planned{name: left[0], quiet: between(rng, time.Second, 3*time.Second), length: between(rng, 2*time.Second, 6*time.Second), pick: rng.Uint64()}
		left = left[1:]
		return p
	}
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// A Fault is one that was done.
type Fault struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	// At is when it began, Healed when it was taken back, and Recovered when
	// everything was ready again, since the beginning of the run.
	At        time.Duration `json:"at"`
	Healed    time.Duration `json:"healed"`
	Recovered time.Duration `json:"recovered"`
	// WriteGap is the longest time without an acknowledged event, from the fault
	// until everything was ready again.
	WriteGap time.Duration `json:"write_gap"`
	// Requests came in that time, of which Failed had no answer, or one that says
	// to come again.
	Requests int `json:"requests"`
	Failed   int `json:"failed"`
}

// break does a fault for as long as it lasts, and takes it back.
func (c *Cluster) inflict(ctx context.Context, p planned) (target string, err error) {
	api, projector := c.APIs[p.pick%uint64(len(c.APIs))], c.Projectors[p.pick%uint64(len(c.Projectors))]
	node := int(p.pick % nodes)
	switch p.name {
	case KillLeader, StopLeader, PauseLeader, CutLeader:
		if node, err = c.Leader(ctx); err != nil {
			return "", err
		}
	case DiskFull:
		node = nodes - 1 // which has the small disk
	}
	switch p.name {
	case KillAPI:
		return api.Name, c.killed(ctx, p.length, api.Process)
	case KillProjector:
		return projector.Name, c.killed(ctx, p.length, projector.Process)
	case KillNode, KillLeader:
		return c.Nodes[node].Name, c.killed(ctx, p.length, c.Nodes[node].Process)
	case KillEverything:
		return "all", c.killed(ctx, 0, c.processes()...)
	case StopLeader:
		return c.Nodes[node].Name, c.stopped(ctx, p.length, c.Nodes[node].Process)
	case PauseAPI:
		return api.Name, paused(ctx, p.length, api.Process)
	case PauseProjector:
		return projector.Name, paused(ctx, p.length, projector.Process)
	case PauseNode, PauseLeader:
		return c.Nodes[node].Name, paused(ctx, p.length, c.Nodes[node].Process)
	case CutAPI:
		through(ctx, p.length, api.links[:], (*netfault.Proxy).Cut)
		return api.Name, nil
	case CutProjector:
		through(ctx, p.length, projector.links[:], (*netfault.Proxy).Cut)
		return projector.Name, nil
	case SilentAPI:
		through(ctx, p.length, api.links[:], silence)
		return api.Name, nil
	case ResetAPI:
		through(ctx, p.length, api.links[:], (*netfault.Proxy).Drop)
		return api.Name, nil
	case CutNode, CutLeader:
		through(ctx, p.length, c.routesOf(node), (*netfault.Proxy).Cut)
		return c.Nodes[node].Name, nil
	case SlowNetwork:
		delay := time.Duration(5+p.pick%45) * time.Millisecond
		through(ctx, p.length, append(c.routesOf(node), api.links[:]...), func(p *netfault.Proxy) { p.Delay(delay) })
		return fmt.Sprintf("%s, %s by %v", api.Name, c.Nodes[node].Name, delay), nil
	case SlowDisk:
		return c.Nodes[node].Name, pulsed(ctx, p.length, c.Nodes[node].Process)
	case DiskFull:
		return c.Nodes[node].Name, c.filled(ctx, c.Nodes[node])
	case ClockStep:
		return c.stepped(ctx, p, api)
	case RollingRestart:
		return "all", c.restartAll(ctx)
	}
	return "", fmt.Errorf("there is no fault %q", p.name)
}

// killed kills processes at once, and starts them again after a while.
func (c *Cluster) killed(ctx context.Context, length time.Duration, all ...*process.Process) error {
	for _, p := range all {
		if err := p.Kill(); err != nil {
			return err
		}
	}
	sleep(ctx.Done(), length)
	return start(ctx, all...)
}

func start(ctx context.Context, all ...*process.Process) error {
	for _, p := range all {
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) stopped(ctx context.Context, length time.Duration, p *process.Process) error {
	if err := p.Stop(); err != nil {
		return err
	}
	sleep(ctx.Done(), length)
	return p.Start(ctx)
}

func paused(ctx context.Context, length time.Duration, p *process.Process) error {
	if err := p.Pause(); err != nil {
		return err
	}
	sleep(ctx.Done(), length)
	return p.Continue()
}

// pulsed lets a process run a quarter of the time. It slows its disk down, and
// everything else of it: a disk alone cannot be slowed down without root.
func pulsed(ctx context.Context, length time.Duration, p *process.Process) error {
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; {
		if err := paused(ctx, pausePulse, p); err != nil {
			return err
		}
		sleep(ctx.Done(), pauseBreath)
	}
	return nil
}

// through does something to proxies, and heals them after a while.
func through(ctx context.Context, length time.Duration, all []*netfault.Proxy, do func(*netfault.Proxy)) {
	for _, p := range all {
		do(p)
	}
	sleep(ctx.Done(), length)
	for _, p := range all {
		p.Heal()
	}
}

// silence loses everything without a word.
func silence(p *netfault.Proxy) {
	p.StallRequests()
	p.StallReplies()
}

// routesOf are all ways between a server and the others.
func (c *Cluster) routesOf(node int) (all []*netfault.Proxy) {
	for other := range c.Nodes {
		if other != node {
			all = append(all, c.Nodes[node].routes[other], c.Nodes[other].routes[node])
		}
	}
	return all
}

// filled fills up the disk of a server. When there is room again the server is
// started anew, as an operator has to: it does not take up JetStream again by itself.
func (c *Cluster) filled(ctx context.Context, n *Node) error {
	if err := c.fill(); err != nil {
		return fmt.Errorf("fill up the disk: %w", err)
	}
	sleep(ctx.Done(), diskFullSeconds*time.Second)
	if err := c.empty(); err != nil {
		return fmt.Errorf("make room on the disk: %w", err)
	}
	if err := n.Kill(); err != nil {
		return err
	}
	return n.Start(ctx)
}

// stepped steps the clock of a replica, back or forth, and back again.
func (c *Cluster) stepped(ctx context.Context, p planned, api *Service) (target string, err error) {
	steps := []time.Duration{-24 * time.Hour, -time.Hour, -90 * time.Second, -5 * time.Second, 5 * time.Second, 90 * time.Second, time.Hour, 24 * time.Hour}
	off := steps[p.pick/8%uint64(len(steps))]
	target = fmt.Sprintf("%s by %v", api.Name, off)
	if err := stepClock(api.clock, off); err != nil {
		return target, err
	}
	sleep(ctx.Done(), p.length)
	return target, stepClock(api.clock, 0)
}

// restartAll restarts every process, one after the other, and waits for each.
func (c *Cluster) restartAll(ctx context.Context) error {
	for _, s := range c.services() {
		if err := s.Stop(); err != nil {
			return err
		}
		if err := s.Start(ctx); err != nil {
			return err
		}
		if err := c.WaitReady(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := n.Stop(); err != nil {
			return err
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
		if err := c.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}
