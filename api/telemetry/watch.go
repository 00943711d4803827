package telemetry

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/checkpoint"
	"github.com/chancery-authority/chancery/projector/fold"
)

// rttTimeout bounds how long a scrape waits for the NATS server.
const rttTimeout = 500 * time.Millisecond

// WatchNATS reads how a connection stands.
func (t *Telemetry) WatchNATS(nc *nats.Conn) {
	connected := gauge("nats_connected", "1 while there is a connection to NATS.")
	reconnects := counter("nats_reconnects_total", "Times the connection to NATS came back.")
	rtt := gauge("nats_round_trip_seconds", "Time of a round trip to the NATS server, measured now. Missing while there is none.")
	messages := counter("nats_messages_total", "Messages by direction, in or out.", "direction")
	bytes := counter("nats_bytes_total", "Bytes of messages by direction, in or out.", "direction")
	t.watch(func(tell tell) {
		up := nc.Status() == nats.CONNECTED
		tell(connected, truth(up))
		stats := nc.Stats()
		tell(reconnects, float64(stats.Reconnects))
		tell(messages, float64(stats.InMsgs), "in")
		tell(messages, float64(stats.OutMsgs), "out")
		tell(bytes, float64(stats.InBytes), "in")
		tell(bytes, float64(stats.OutBytes), "out")
		if began := time.Now(); up && nc.FlushTimeout(rttTimeout) == nil {
			tell(rtt, time.Since(began).Seconds())
		}
	}, connected, reconnects, rtt, messages, bytes)
}

// WatchLog reads which streams have failed, and whether what is acknowledged
// survives a power cut: not, as far as anybody knows, where durable is an error.
func (t *Telemetry) WatchLog(log *eventlog.Log, durable func() error) {
	failed := gauge("partition_failed", "1 for a stream that has failed closed: it is shorter than, or another one than, what was known of it.", "stream")
	if t.counts() { // what has not happened yet is 0
		for _, stream := range log.Streams() {
			for _, outcome := range []string{"stored", "conflict", "unsettled", "closed", "failed"} {
				t.appends.WithLabelValues(stream, outcome)
			}
			t.appendRetries.WithLabelValues(stream)
			t.duplicates.WithLabelValues(stream)
		}
	}
	synced := gauge("log_durable", "1 if every NATS server syncs to disk before it acknowledges; 0 if one does not, or none could be asked.")
	t.watch(func(tell tell) {
		for _, stream := range log.Streams() {
			tell(failed, truth(log.Failed(stream) != nil), stream)
		}
		tell(synced, truth(durable() == nil))
	}, failed, synced)
}

// WatchFeed reads how fresh a feed is.
func (t *Telemetry) WatchFeed(feed *projector.Feed) {
	age := gauge("feed_age_seconds", "Age of the newest proof that the feed is fresh. It grows while nobody asks; what counts is whether a proof can be had.", "stream")
	bound := gauge("feed_bound_seconds", "How old such a proof may be.", "stream")
	position := gauge("feed_position", "Sequence of the last event the feed has taken in.", "stream")
	ticks := counter("feed_ticks_total", "Ticks that were sent to prove freshness, by result: proved or unproved.", "stream", "result")
	stale := counter("feed_stale_total", "Times a request was answered 503 because freshness could not be proved.", "stream")
	broken := gauge("feed_broken", "1 for a stream that can be followed no more, until the process is started again.", "stream")
	skew := gauge("clock_skew_seconds", "How far the local clock is behind the log's, at least, or ahead if negative.")
	unerased := gauge("users_unerased", "Deleted users of whom something is left.")
	t.watch(func(tell tell) {
		for _, s := range feed.Status() {
			tell(age, s.Age.Seconds(), s.Stream)
			tell(bound, s.Bound.Seconds(), s.Stream)
			tell(position, float64(s.Position), s.Stream)
			tell(ticks, float64(s.Ticks-s.Unproved), s.Stream, "proved")
			tell(ticks, float64(s.Unproved), s.Stream, "unproved")
			tell(stale, float64(s.Stale), s.Stream)
			tell(broken, truth(s.Err != nil), s.Stream)
		}
		tell(skew, feed.ClockSkew().Seconds())
		tell(unerased, float64(len(feed.Unerased())))
	}, age, bound, position, ticks, stale, broken, skew, unerased)
}

// WatchKeys reads which keys there are.
func (t *Telemetry) WatchKeys(keys func() []fold.Key, usable func() error) {
	count := gauge("keys", "Keys by use, algorithm and state, those not dropped.", "use", "alg", "state")
	since := gauge("key_active_timestamp_seconds", "When the newest active key became that, in Unix time.", "use", "alg")
	all := gauge("keys_usable", "1 if every key that is not dropped is usable in this process.")
	t.watch(func(tell tell) {
		type kind struct{ use, alg, state string }
		counts, newest := map[kind]int{}, map[kind]time.Time{}
		for _, k := range keys() {
			if k.State == fold.KeyDropped {
				continue
			}
			counts[kind{k.Use, k.Alg, string(k.State)}]++
			if of := (kind{k.Use, k.Alg, ""}); k.State == fold.KeyActive && k.ChangedAt.After(newest[of]) {
				newest[of] = k.ChangedAt
			}
		}
		for k, n := range counts {
			tell(count, float64(n), k.use, k.alg, k.state)
		}
		for k, at := range newest {
			tell(since, unix(at), k.use, k.alg)
		}
		tell(all, truth(usable() == nil))
	}, count, since, all)
}

// WatchLimits reads whom the limits have refused.
func (t *Telemetry) WatchLimits(refused map[string]func() uint64) {
	count := counter("limit_refusals_total", "Requests that were over a limit of callers, by limit.", "limit")
	t.watch(func(tell tell) {
		for _, name := range slices.Sorted(maps.Keys(refused)) {
			tell(count, float64(refused[name]()), name)
		}
	}, count)
}

// WatchPasswords reads how busy hashing is.
func (t *Telemetry) WatchPasswords(pool func() secret.PoolStatus) {
	running := gauge("password_hashes_running", "Passwords being hashed.")
	workers := gauge("password_hash_workers", "Passwords that may be hashed at once.")
	waiting := gauge("password_hashes_waiting", "Passwords waiting to be hashed.")
	queue := gauge("password_hash_queue_size", "Passwords that may wait.")
	refused := counter("password_hashes_refused_total", "Passwords that were not hashed because too many waited.")
	t.watch(func(tell tell) {
		s := pool()
		tell(running, float64(s.Running))
		tell(workers, float64(s.Concurrent))
		tell(waiting, float64(s.Waiting))
		tell(queue, float64(s.Queue))
		tell(refused, float64(s.Refused))
	}, running, workers, waiting, queue, refused)
}

// WatchBacklog reads what this process has yet to do in the background.
func (t *Telemetry) WatchBacklog(refusals, revocations func() int) {
	waiting := gauge("refusals_waiting", "Kinds of refusals that are not in the log yet.")
	jobs := gauge("revocation_jobs_running", "Revocations in bulk that this process works on.")
	t.watch(func(tell tell) {
		tell(waiting, float64(refusals()))
		tell(jobs, float64(revocations()))
	}, waiting, jobs)
}

// WatchLocal reads how the read models of this process stand.
func (t *Telemetry) WatchLocal(local *projector.Local) {
	labels := []string{"stream", "model"}
	position := gauge("projector_position", "Sequence of the last event folded.", labels...)
	head := gauge("projector_head", "Sequence of the newest event of the stream, a second ago.", labels...)
	lag := gauge("projector_lag_events", "Events that are not folded yet.", labels...)
	lagSeconds := gauge("projector_lag_seconds", "How far what was folded is behind the stream, in the log's time.", labels...)
	serving := gauge("projector_serving", "1 while reads are answered.", labels...)
	trouble := gauge("projector_in_trouble", "1 while there is something that a read model is trying to get over, or has stopped for.", labels...)
	size := gauge("projector_file_bytes", "Size of the files of a read model: database, and wal for what SQLite has not moved there yet.", "stream", "model", "file")
	rebuilt := gauge("projector_rebuild_position", "Sequence of the last event folded into what is built beside a read model.", labels...)
	rebuildLeft := gauge("projector_rebuild_left_seconds", "How long it takes until what is built has caught up, 0 if that cannot be told or it has.", labels...)
	t.watch(func(tell tell) {
		for _, p := range local.Projections() {
			s, model := p.Live.Status, kindOf(p.Stream, p.Model)
			tell(position, float64(s.Position), s.Stream, model)
			tell(head, float64(s.Head), s.Stream, model)
			tell(lag, float64(s.Behind), s.Stream, model)
			tell(lagSeconds, s.Lag.Seconds(), s.Stream, model)
			tell(serving, truth(s.Serving), s.Stream, model)
			tell(trouble, truth(s.Err != nil), s.Stream, model)
			if p.Beside != nil {
				tell(rebuilt, float64(p.Beside.Position), s.Stream, model)
				tell(rebuildLeft, p.Beside.Left.Seconds(), s.Stream, model)
			}
		}
		for _, f := range local.Files() {
			tell(size, float64(f.Database), f.Stream, kindOf(f.Stream, f.Model), "database")
			tell(size, float64(f.WAL), f.Stream, kindOf(f.Stream, f.Model), "wal")
		}
	}, position, head, lag, lagSeconds, serving, trouble, size, rebuilt, rebuildLeft)
}

// kindOf is what of a stream is in a read model: state, audit or tree.
func kindOf(stream, model string) string {
	if kind := strings.TrimPrefix(model[len(stream):], "."); kind != "" {
		return kind
	}
	return "state"
}

// WatchCheckpoints reads what is signed of the log.
func (t *Telemetry) WatchCheckpoints(k *checkpoint.Keeper) {
	size := gauge("checkpoint_events", "Events that the newest checkpoint of a stream covers.", "stream")
	since := gauge("checkpoint_timestamp_seconds", "When the newest checkpoint of a stream became that, in Unix time; 0 if there is none.", "stream")
	compared := gauge("checkpoint_compared_timestamp_seconds", "When a stream was last found to be what was signed of it, in Unix time; 0 is never.", "stream")
	scrubbed := gauge("scrub_position", "Sequence up to which the stream was read again and held against what was folded. It begins anew after each pass.", "stream")
	ended := gauge("scrub_ended_timestamp_seconds", "When the whole of a stream was last read again and found to be what was folded, in Unix time; 0 is never.", "stream")
	mismatch := gauge("scrub_mismatch", "1 for a stream of which a message is not the one that was folded.", "stream")
	t.watch(func(tell tell) {
		for _, s := range k.Status() {
			tell(size, float64(s.Size), s.Stream)
			tell(since, unix(s.Since), s.Stream)
			tell(compared, unix(s.Compared), s.Stream)
			tell(scrubbed, float64(s.Scrubbed), s.Stream)
			tell(ended, unix(s.ScrubEnded), s.Stream)
			tell(mismatch, truth(s.Mismatch), s.Stream)
		}
	}, size, since, compared, scrubbed, ended, mismatch)
}
