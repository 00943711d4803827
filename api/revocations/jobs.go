package revocations

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
)

// recordAge is how long records are kept after they were last written. What was
// revoked is in the log for ever, under the job's id as request id.
const recordAge = 90 * 24 * time.Hour

// Bucket is that of the jobs.
const Bucket = "REVOCATIONS"

// OpenBucket opens the bucket of jobs, or creates it.
func OpenBucket(ctx context.Context, log *eventlog.Log) (jetstream.KeyValue, error) {
	return log.ExpiringBucket(ctx, Bucket, recordAge)
}

// saveTime bounds one try to write a record.
const saveTime = 2 * time.Second

// States of a job.
const (
	Running = "running"
	Done    = "done"
	Failed  = "failed"
)

// A Job is a revocation that goes on until all of it is done, whatever becomes of
// the process that does it.
type Job struct {
	// ID is the request id of every event that comes of it.
	ID        string    `json:"id"`
	Selection Selection `json:"selection"`
	// RequestedBy is the id of the request that began it.
	RequestedBy string    `json:"requested_by"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
	State       string    `json:"state"`
	// Reason is why it failed, and Trouble what keeps a running one from going on,
	// until it does.
	Reason  string `json:"reason,omitempty"`
	Trouble string `json:"trouble,omitempty"`
	// CutOff is client or user where one event ends all of it.
	CutOff string `json:"cut_off,omitempty"`
	// Heads are where the streams ended when it began, and with them what is
	// selected. Positions are how far it has come.
	Heads     map[string]uint64 `json:"heads"`
	Positions map[string]uint64 `json:"positions"`
	Progress
	// Worker is the replica that works on it, or empty.
	Worker string `json:"worker,omitempty"`
}

// Progress is what a job has done.
type Progress struct {
	// Examined is how many events were looked at that issued what is selected. Of
	// some the grant or token had ended already: before, or by an earlier event of
	// the same grant.
	Examined      int64 `json:"examined"`
	GrantsRevoked int64 `json:"grants_revoked"`
	TokensRevoked int64 `json:"tokens_revoked"`
	AlreadyEnded  int64 `json:"already_ended"`
}

func (p *Progress) add(q Progress) {
	p.Examined += q.Examined
	p.GrantsRevoked += q.GrantsRevoked
	p.TokensRevoked += q.TokensRevoked
	p.AlreadyEnded += q.AlreadyEnded
}

// errTaken is that a record was written by another replica since it was read.
var errTaken = errors.New("another replica has it")

// jobs are the records, encrypted: a selection may hold a person's address.
type jobs struct {
	bucket jetstream.KeyValue
	sealer *secret.Sealer
}

// An entry is a job as it was read or written.
type entry struct {
	Job
	revision uint64
}

func (j *jobs) encode(job Job) ([]byte, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("encode the job: %w", err)
	}
	return j.sealer.Seal(text, []byte(job.ID)), nil
}

func (j *jobs) decode(read jetstream.KeyValueEntry) (e entry, err error) {
	text, err := j.sealer.Open(read.Value(), []byte(read.Key()))
	if err == nil {
		err = json.Unmarshal(text, &e.Job)
	}
	e.revision = read.Revision()
	if err != nil {
		return e, fmt.Errorf("open the job's record: %w", err)
	}
	return e, nil
}

// create keeps a new job. False is that there is one of its id.
func (j *jobs) create(ctx context.Context, job Job) (bool, error) {
	value, err := j.encode(job)
	if err != nil {
		return false, err
	}
	_, err = j.bucket.Create(ctx, job.ID, value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	return err == nil, unavailable("keep the job", err)
}

// get reads a job, if there is one.
func (j *jobs) get(ctx context.Context, id string) (e entry, ok bool, err error) {
	read, err := j.bucket.Get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, unavailable("read the job", err)
	}
	e, err = j.decode(read)
	return e, err == nil, err
}

// save writes a job over what was read, or over nothing: errTaken. With any other
// error it may be written.
func (j *jobs) save(ctx context.Context, e entry) (entry, error) {
	value, err := j.encode(e.Job)
	if err != nil {
		return e, err
	}
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	revision, err := j.bucket.Update(ctx, e.ID, value, e.revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return e, errTaken
	}
	if err == nil {
		e.revision = revision
	}
	return e, unavailable("keep the job's progress", err)
}

// all are the jobs whose records can be read, the newest first, and why others
// cannot.
func (j *jobs) all(ctx context.Context) (found []entry, err error) {
	w, err := j.bucket.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, unavailable("list the jobs", err)
	}
	defer w.Stop() //nolint:errcheck // nothing is expected of it any more
	for {
		select {
		case <-ctx.Done():
			return nil, unavailable("list the jobs", ctx.Err())
		case read, ok := <-w.Updates():
			if !ok {
				return nil, unavailable("list the jobs", errors.New("cut short"))
			}
			if read == nil { // the end of what there is
				slices.SortFunc(found, func(a, b entry) int {
					return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
				})
				return found, err
			}
			e, broken := j.decode(read)
			if broken != nil {
				err = errors.Join(err, broken)
				continue
			}
			found = append(found, e)
		}
	}
}

// version changes whenever a record does.
func (j *jobs) version(ctx context.Context) (uint64, error) {
	status, err := j.bucket.Status(ctx)
	if err != nil {
		return 0, unavailable("look for jobs", err)
	}
	of, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return 0, errors.New("look for jobs: no stream behind the bucket")
	}
	return of.StreamInfo().State.LastSeq, nil
}

// unavailable is what is answered 503, or nil.
func unavailable(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", doing, projector.ErrUnavailable, err)
}
