// Package setup makes what the processes of one authority on several machines
// need before they start: their keys, NATS users that may do what their role
// needs and nothing else, and the streams.
package setup

import (
	"slices"
	"strings"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/backchannel"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/revocations"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/checkpoint"
)

// A permission lists subjects, with wildcards.
type permission struct{ allow, deny []string }

// A user is one of NATS.
type user struct {
	// Role is for readers of the configuration.
	Role string
	// Public is the user's public key.
	Public             string
	Publish, Subscribe permission
}

// realm is the log whose users these are.
type realm struct {
	events.Realm
	// partitions is how many may exist: a stream's name is one token of a
	// subject, which a wildcard matches as a whole or not at all.
	partitions int
	// forget lets projectors purge what is archived.
	forget bool
}

// api appends events and keeps records. It reads the log through consumers,
// and grants from projectors.
func (r realm) api(public string) user {
	streams := r.streams()
	return user{
		Role: "api: decides and appends", Public: public,
		Publish: permission{allow: slices.Concat(
			r.eventSubjects(),
			list("$JS.API.STREAM.NAMES"),
			each(streams, readStream...),
			// Who was told of the end of a session is a queue that replicas share.
			each(streams, "$JS.API.CONSUMER.INFO.%."+backchannel.QueueName,
				"$JS.API.CONSUMER.MSG.NEXT.%."+backchannel.QueueName, "$JS.ACK.%."+backchannel.QueueName+".>"),
			each(r.buckets(checkpoint.Bucket, keys.Bucket, authority.RecordsBucket, authority.DevicesBucket), useBucket...),
			each(r.buckets(revocations.Bucket), append(watchBucket, useBucket...)...),
			// Records of people are erased by their sequence.
			each(r.buckets(authority.RecordsBucket), "$JS.API.STREAM.MSG.DELETE.KV_%"),
			list(projector.ReadSubjects(r.Realm)),
		)},
		Subscribe: permission{allow: list(inbox(public))},
	}
}

// projector reads the log, keeps checkpoints and answers reads. It appends
// nothing.
func (r realm) projector(public string, answered ...string) user {
	u := user{
		Role: "projector: folds, signs and answers", Public: public,
		Publish: permission{
			allow: slices.Concat(
				list("$JS.API.STREAM.NAMES"),
				each(r.streams(), readStream...),
				each(r.buckets(checkpoint.Bucket), useBucket...),
				each(answered, "_INBOX.%.>"),
			),
			deny: list("$JS.API.CONSUMER.CREATE.*."+backchannel.QueueName, "$JS.API.CONSUMER.CREATE.*."+backchannel.QueueName+".>"),
		},
		Subscribe: permission{allow: list(inbox(public), projector.ReadSubjects(r.Realm), "$SRV.>")},
	}
	if r.forget {
		u.Publish.allow = append(u.Publish.allow, each(r.partitionStreams(), "$JS.API.STREAM.PURGE.%")...)
	}
	return u
}

// operator makes streams and changes, copies and removes them. It appends
// nothing either.
func (r realm) operator(public string) user {
	return user{
		Role: "operator: makes, copies and removes streams", Public: public,
		Publish:   permission{allow: list("$JS.API.>", "$JS.SNAPSHOT.>", "$JS.FC.>", "$JS.ACK.>", "$SRV.>")},
		Subscribe: permission{allow: list(inbox(public))},
	}
}

// system asks servers whether they sync. It is in the system account, where
// one that may do more could stop them.
func (realm) system(public string) user {
	return user{
		Role: "system: asks whether the servers sync", Public: public,
		Publish:   permission{allow: list(eventlog.DurabilitySubject)},
		Subscribe: permission{allow: list(inbox(public))},
	}
}

// What each % stands for is the name of a stream or of a bucket.
var (
	readStream = []string{
		"$JS.API.STREAM.INFO.%", "$JS.API.STREAM.MSG.GET.%",
		"$JS.API.CONSUMER.CREATE.%.>", "$JS.FC.%.>",
	}
	useBucket   = []string{"$JS.API.STREAM.INFO.KV_%", "$JS.API.STREAM.MSG.GET.KV_%", "$KV.%.>"}
	watchBucket = []string{"$JS.API.CONSUMER.CREATE.KV_%.>", "$JS.API.CONSUMER.DELETE.KV_%.*", "$JS.FC.KV_%.>"}
)

func list(subjects ...string) []string { return subjects }

// each is every pattern for every name.
func each(names []string, patterns ...string) []string {
	var all []string
	for _, name := range names {
		for _, p := range patterns {
			all = append(all, strings.ReplaceAll(p, "%", name))
		}
	}
	return all
}

func inbox(public string) string { return eventlog.Inbox(public) + ".>" }

// eventSubjects are those of every event, in all partitions.
func (r realm) eventSubjects() []string {
	all := r.RegistrySubjects()
	for _, s := range r.PartitionSubjects(0) {
		tokens := strings.Split(s, ".")
		tokens[2] = "*"
		all = append(all, strings.Join(tokens, "."))
	}
	return all
}

func (r realm) partitionStreams() []string {
	all := make([]string, r.partitions)
	for p := range all {
		all[p] = r.PartitionStream(events.Partition(p))
	}
	return all
}

func (r realm) streams() []string { return append(r.partitionStreams(), r.RegistryStream()) }

// buckets are the names that the realm's buckets have in NATS.
func (r realm) buckets(names ...string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = eventlog.BucketName(r.Realm, name)
	}
	return all
}
