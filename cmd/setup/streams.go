package setup

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/revocations"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/checkpoint"
)

// Streams makes every stream and bucket that is not there, for processes that
// may not make any, and gives those of an earlier version what they lack.
func Streams(ctx context.Context, nc *nats.Conn, cfg eventlog.Config) error {
	log, err := eventlog.Open(ctx, nc, cfg)
	if err != nil {
		return err
	}
	for _, open := range []func(context.Context, *eventlog.Log) (jetstream.KeyValue, error){
		checkpoint.OpenBucket, keys.OpenBucket, revocations.OpenBucket,
	} {
		if _, err := open(ctx, log); err != nil {
			return err
		}
	}
	_, _, err = authority.OpenBuckets(ctx, log)
	return err
}
