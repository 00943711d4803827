package eventlog

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/chancery-authority/chancery/events"
)

// ack is what the server says to messages that are stored.
type ack struct {
	first, last uint64
	// duplicate: the event's id was known, and this is where it is stored
	// since before.
	duplicate bool
}

// build makes the messages of one attempt; nats.go writes to what it sends.
func (a *appending) build() []*nats.Msg {
	msgs := make([]*nats.Msg, len(a.messages))
	for i, m := range a.messages {
		msgs[i] = newMsg(m, a.st.name)
	}
	if a.guarded {
		msgs[0].Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(a.unit.Expect, 10))
	} else {
		msgs[0].Header.Set(jetstream.MsgIDHeader, a.unit.Event.ID)
	}
	return msgs
}

func newMsg(m events.Message, stream string) *nats.Msg {
	h := nats.Header(m.Header.Wire())
	h.Set(jetstream.ExpectedStreamHeader, stream)
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}

// publish sends messages once, several as one atomic batch, and waits for the
// ack. It does not try again.
func (l *Log) publish(ctx context.Context, msgs []*nats.Msg) (ack, error) {
	if len(msgs) == 1 {
		k, err := l.js.PublishMsg(ctx, msgs[0], jetstream.WithRetryAttempts(0))
		if err != nil {
			return ack{}, err
		}
		return ack{first: k.Sequence, last: k.Sequence, duplicate: k.Duplicate}, nil
	}
	// An ack of the first message would be one more round trip and tell
	// nothing that the ack of the batch does not.
	k, err := jetstreamext.PublishMsgBatch(ctx, l.js, msgs, jetstreamext.BatchFlowControl{AckFirst: false})
	if err != nil {
		return ack{}, err
	}
	return ack{first: k.Sequence + 1 - k.BatchSize, last: k.Sequence}, nil
}
