package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// ackWait is how long a job may go without a sign of life before it is
	// handed to somebody else, and lifeSign how often a worker gives one.
	ackWait  = 6 * time.Second
	lifeSign = 2 * time.Second
	// workReach is how far back a new queue begins.
	workReach = 24 * time.Hour
)

// A Queue hands out entries of a stream, each as a job to one worker at a time
// until it is done. All processes that work on one share it, and the server
// keeps where it stands.
type Queue struct {
	// Name is the durable consumer's. It is never given to another queue.
	Name     string
	Stream   string
	Subjects []string
	// Workers is how many jobs are done at once here.
	Workers int
}

// A Job is an entry to be worked on.
type Job struct {
	Entry
	// Attempt counts how often it was handed out, this time included.
	Attempt uint64
}

// Work does the jobs of a queue until ctx ends. A job is handed out at least
// once, in no order: again after the time that do asks for, at once when ctx
// ends meanwhile, and seconds after a worker died over it. Zero is done. A new
// queue begins with the entries of the stream's last day.
func (l *Log) Work(ctx context.Context, q Queue, do func(context.Context, Job) (again time.Duration)) error {
	st, err := l.stream(q.Stream)
	if err != nil {
		return fmt.Errorf("work on %s: %w", q.Name, err)
	}
	w := &working{log: l, st: st, queue: q, do: do, free: make(chan struct{}, max(1, q.Workers))}
	defer w.busy.Wait()
	pause := backoff{next: 50 * time.Millisecond, most: 2 * time.Second}
	for {
		err := w.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.cfg.Logger.Warn("queue interrupted", "queue", q.Name, "stream", q.Stream, "reason", err)
		if !pause.wait(ctx) {
			return ctx.Err()
		}
	}
}

// working is one Work.
type working struct {
	log   *Log
	st    *stream
	queue Queue
	do    func(context.Context, Job) time.Duration
	// free has room for as many jobs as may be under way.
	free chan struct{}
	busy sync.WaitGroup
}

// run works until ctx ends or the consumer is lost.
func (w *working) run(ctx context.Context) error {
	consumer, err := w.open(ctx)
	if err != nil {
		return err
	}
	// One at a time: what waits here would be handed to somebody else.
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1))
	if err != nil {
		return fmt.Errorf("ask for jobs: %w", err)
	}
	defer messages.Stop()
	for {
		select {
		case w.free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			<-w.free
			return fmt.Errorf("wait for a job: %w", err)
		}
		w.busy.Go(func() {
			defer func() { <-w.free }()
			w.handle(ctx, m)
		})
	}
}

// open finds the queue's consumer or makes it. Others may do so at the same time.
func (w *working) open(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	c, err := w.st.js.Consumer(ctx, w.queue.Name)
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return c, wrap("find the queue", err)
	}
	head, err := w.log.Head(ctx, w.st.name)
	if err != nil {
		return nil, err
	}
	config := jetstream.ConsumerConfig{
		Durable:        w.queue.Name,
		FilterSubjects: w.queue.Subjects,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        ackWait,
		// What is put off must not keep the rest waiting.
		MaxDeliver:    -1,
		MaxAckPending: -1,
	}
	if head.Seq > 0 {
		from := head.Time.Add(-workReach)
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
	}
	c, err = w.st.js.CreateConsumer(ctx, config)
	return c, wrap("make the queue", err)
}

func wrap(doing string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// handle does one job, and gives signs of life meanwhile.
func (w *working) handle(ctx context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		_ = m.NakWithDelay(time.Minute) // it comes again in any case
		return
	}
	stop := keepAlive(m)
	defer stop()
	again := w.do(ctx, Job{
		Entry:   Entry{Seq: meta.Sequence.Stream, Stored: meta.Timestamp, Message: newMessage(m.Subject(), m.Headers(), m.Data())},
		Attempt: meta.NumDelivered,
	})
	// None of these is waited for: a job whose end is not heard of comes again.
	switch {
	case again == 0:
		err = m.Ack()
	case ctx.Err() != nil:
		err = m.Nak()
	default:
		err = m.NakWithDelay(again)
	}
	if err != nil {
		w.log.cfg.Logger.Warn("the end of a job was not told", "queue", w.queue.Name, "sequence", meta.Sequence.Stream, "reason", err)
	}
}

func keepAlive(m jetstream.Msg) (stop func()) {
	tick, done := time.NewTicker(lifeSign), make(chan struct{})
	go func() {
		for {
			select {
			case <-tick.C:
				_ = m.InProgress() // a lost one is followed by others
			case <-done:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
	}
}
