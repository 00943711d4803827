package eventlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
)

// ErrContract is returned for an existing stream or bucket whose configuration
// would lose events, change them, or answer reads from the past.
var ErrContract = errors.New("stream configuration breaks the contract of the log")

// duplicateWindow is how long the server remembers the ids of plain events.
// An append is settled or given up well within it.
const duplicateWindow = 2 * time.Minute

func (l *Log) partitionConfig(p events.Partition) jetstream.StreamConfig {
	c := l.streamConfig(l.cfg.Realm.PartitionStream(p), l.cfg.Realm.PartitionSubjects(p))
	c.Description = "Grants and tokens, an append-only log"
	return c
}

func (l *Log) registryConfig() jetstream.StreamConfig {
	c := l.streamConfig(l.cfg.Realm.RegistryStream(), l.cfg.Realm.RegistrySubjects())
	c.Description = "Clients, users and keys, an append-only log"
	return c
}

// streamConfig is the configuration of every event stream, for the embedded
// server and for a cluster alike. All of it is stated, because zero values are
// not what a log needs.
func (l *Log) streamConfig(name string, subjects []string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:     name,
		Subjects: subjects,
		Storage:  jetstream.FileStorage,
		Replicas: l.cfg.Replicas,
		// Nothing goes by itself: a full disk refuses, it does not forget.
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxAge:            0,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		Duplicates:        duplicateWindow,
		// No single event can be deleted. Purging stays possible for an
		// archiver only because neither can ever be undone.
		DenyDelete:         true,
		DenyPurge:          false,
		AllowRollup:        false,
		AllowAtomicPublish: true,
		// Direct reads are answered by replicas that lag: 3 to 5 % were stale
		// straight after an acknowledged write.
		AllowDirect: false,
		// Async switches syncing off even on a server that always syncs.
		PersistMode: jetstream.DefaultPersistMode,
	}
}

// bucketConfig is that of a key-value bucket as nats.go lays it out, but read
// from the leader: its helper always turns direct reads on. maxAge is how long
// a record stays, 0 for ever.
func (l *Log) bucketConfig(bucket string, maxAge time.Duration) jetstream.StreamConfig {
	c := l.streamConfig("KV_"+bucket, []string{"$KV." + bucket + ".>"})
	c.Description = "Small records: key material, people, settings"
	c.MaxMsgsPerSubject = 1
	c.AllowRollup = true
	c.AllowAtomicPublish = false
	c.MaxAge = maxAge
	if maxAge > 0 { // the server wants it no longer than records live
		c.Duplicates = min(c.Duplicates, maxAge)
	}
	return c
}

// checkStream compares what exists with what the contract asks. What is the
// operator's to choose (description, placement, compression, metadata,
// republishing, more replicas) is left alone.
func checkStream(want, got jetstream.StreamConfig) error {
	var wrong []string
	is := func(ok bool, name string, have any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s is %v", name, have))
		}
	}
	is(sameSet(got.Subjects, want.Subjects), "subjects", got.Subjects)
	is(got.Storage == want.Storage, "storage", got.Storage)
	is(got.Replicas >= want.Replicas, "num_replicas", got.Replicas)
	is(got.PersistMode == want.PersistMode, "persist_mode", got.PersistMode)
	is(got.Duplicates >= want.Duplicates, "duplicate_window", got.Duplicates)
	is(got.AllowDirect == want.AllowDirect, "allow_direct", got.AllowDirect)
	is(got.AllowAtomicPublish || !want.AllowAtomicPublish, "allow_atomic", got.AllowAtomicPublish)
	is(!got.NoAck, "no_ack", got.NoAck)
	is(!got.Sealed, "sealed", got.Sealed)
	checkNothingGoes(want, got, is)
	checkNothingChanges(got, is)
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrContract, strings.Join(wrong, "; "))
}

// checkNothingGoes looks for ways in which events would disappear.
func checkNothingGoes(want, got jetstream.StreamConfig, is func(bool, string, any)) {
	is(got.Retention == want.Retention, "retention", got.Retention)
	is(got.Discard == want.Discard, "discard", got.Discard)
	is(got.MaxAge == want.MaxAge || want.MaxAge > 0 && got.MaxAge > want.MaxAge, "max_age", got.MaxAge)
	is(got.MaxMsgs <= 0, "max_msgs", got.MaxMsgs)
	is(got.MaxBytes <= 0, "max_bytes", got.MaxBytes)
	is(max(got.MaxMsgsPerSubject, 0) == max(want.MaxMsgsPerSubject, 0), "max_msgs_per_subject", got.MaxMsgsPerSubject)
	is(got.MaxMsgSize <= 0, "max_msg_size", got.MaxMsgSize)
	is(got.DenyDelete == want.DenyDelete, "deny_delete", got.DenyDelete)
	is(!got.DenyPurge, "deny_purge", got.DenyPurge)
	is(got.AllowRollup == want.AllowRollup, "allow_rollup_hdrs", got.AllowRollup)
	is(!got.AllowMsgTTL, "allow_msg_ttl", got.AllowMsgTTL)
	is(got.SubjectDeleteMarkerTTL == 0, "subject_delete_marker_ttl", got.SubjectDeleteMarkerTTL)
}

// checkNothingChanges looks for ways in which events would come from elsewhere
// or be stored otherwise than they were sent.
func checkNothingChanges(got jetstream.StreamConfig, is func(bool, string, any)) {
	is(got.Mirror == nil, "mirror", "set")
	is(len(got.Sources) == 0, "sources", "set")
	is(got.SubjectTransform == nil, "subject_transform", "set")
	is(!got.AllowMsgCounter, "allow_msg_counter", got.AllowMsgCounter)
	is(!got.AllowMsgSchedules, "allow_msg_schedules", got.AllowMsgSchedules)
	is(!got.AllowBatchPublish, "allow_batched", got.AllowBatchPublish)
}

// lacksSubjects reports whether all that is wrong with a stream is that it has
// only some of the subjects it should have.
func lacksSubjects(want, got jetstream.StreamConfig) bool {
	foreign := func(s string) bool { return !slices.Contains(want.Subjects, s) }
	if len(got.Subjects) == 0 || len(got.Subjects) >= len(want.Subjects) || slices.ContainsFunc(got.Subjects, foreign) {
		return false
	}
	got.Subjects = want.Subjects
	return checkStream(want, got) == nil
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
