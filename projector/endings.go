package projector

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// An Ending is one thing that ends access tokens before their time. What has
// ended never comes back: an ending only ever adds to others.
type Ending struct {
	// One of these is set. A client or user ends what was issued under an epoch
	// older than Epoch, a key what it signed, and Lost, the number of a partition that
	// has lost events, the partition's tokens of before Epoch, in Unix seconds.
	Grant                   events.GrantID
	JTI                     string
	Client, User, Key, Lost string
	Epoch                   uint64
	// Until, in Unix seconds, is when all that it ends would have expired.
	Until int64
}

// A Place is a message of a stream. Its timestamp goes with the sequence, because
// a log that was restored gives sequences a second time.
type Place struct {
	Seq uint64
	// Stored is the log's time, in Unix nanoseconds.
	Stored int64
}

// Endings are all endings that still matter or, of the streams where this replica
// sees the very message of from among the newest, those after it. to is where they
// end: whoever has all up to there goes on with it, here or at another replica.
func (f *Feed) Endings(from map[string]Place) (endings []Ending, to map[string]Place) {
	to = map[string]Place{}
	take := func(stream string, j *journal, whole func() []Ending) {
		newer, last, ok := j.after(from[stream])
		if !ok {
			newer = whole() // after last was taken: it has all up to there
		}
		endings, to[stream] = append(endings, newer...), last
	}
	take(f.registryFed.stream, &f.registry.journal, f.registry.endings)
	for _, fed := range f.followed.Load().partitions {
		take(fed.stream, &fed.journal, fed.endings)
	}
	return endings, to
}

// EndingsChanged is closed by whatever next is taken in or proved. Take it before
// Proved, and that before Endings.
func (f *Feed) EndingsChanged() <-chan struct{} { return f.progress.next() }

// Proved is when the oldest of the proofs was begun that the feed has of its
// streams, by the local monotonic clock, and the partitions it goes for. All that
// was acknowledged anywhere before that moment is in the Endings that are asked
// for afterwards. ok is false while there is no proof to be had.
func (f *Feed) Proved() (at time.Time, partitions []events.Partition, ok bool) {
	if skew := f.registryFed.clockSkew(); skew.Abs() > MaxClockSkew {
		return at, nil, false
	}
	at, ok = f.registryFed.proof()
	for p, fed := range f.followed.Load().partitions {
		proved, good := fed.proof()
		if ok = ok && good; proved.Before(at) {
			at = proved
		}
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	return at, partitions, ok
}

// Prove begins to prove anew what was proved longer ago than that, and does not
// wait for it.
func (f *Feed) Prove(older time.Duration) {
	for _, fed := range f.followed.Load().followers {
		if age, err := fed.age(); err == nil && age >= older {
			fed.startTick()
		}
	}
}

// Stored is the newest of the log's timestamps that the feed has seen.
func (f *Feed) Stored() time.Time {
	newest := f.registryFed.newestStored()
	for _, fed := range f.followed.Load().partitions {
		newest = latest(newest, fed.newestStored())
	}
	return newest.UTC()
}

// Sectors are those that clients with pairwise subjects have, or ever had: grants
// keep the subject that they were opened with.
func (f *Feed) Sectors() []string { return f.registry.allSectors() }

// proof is when the newest proof was begun. It is none where no other can follow.
func (f *follower) proof() (time.Time, bool) {
	if _, err := f.age(); err != nil {
		return time.Time{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.proved.monotonic, !f.proved.monotonic.IsZero()
}

// maxJournal is how many messages of a stream a journal remembers, and so how far
// behind somebody may be who does not have to be told everything.
const maxJournal = 4096

// A journal is the newest messages of a stream with what they ended, the oldest
// first. What a message changes is in the state before it is in the journal.
type journal struct {
	mu     sync.Mutex
	passed []passage
}

type passage struct {
	Place
	endings []Ending
}

func (j *journal) add(r events.Recorded, endings ...Ending) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.passed) >= 2*maxJournal {
		j.passed = slices.Clone(j.passed[len(j.passed)-maxJournal:])
	}
	j.passed = append(j.passed, passage{Place{r.Seq, r.Stored.UnixNano()}, endings})
}

// after is what has ended after a message, and the newest message. ok is false
// if the message is not among those that are remembered.
func (j *journal) after(from Place) (endings []Ending, last Place, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.passed) == 0 {
		return nil, Place{}, false
	}
	last = j.passed[len(j.passed)-1].Place
	i, ok := slices.BinarySearchFunc(j.passed, from, func(p passage, from Place) int { return cmp.Compare(p.Seq, from.Seq) })
	if !ok || j.passed[i].Place != from {
		return nil, last, false
	}
	for _, p := range j.passed[i+1:] {
		endings = append(endings, p.endings...)
	}
	return endings, last, true
}

// endingsOf is a marker as an ending, none for that of a session, which ends no
// token.
func endingsOf(v fold.Revocation) []Ending {
	if !v.Session.IsZero() {
		return nil
	}
	return []Ending{{Grant: v.Grant, JTI: v.JTI, Until: v.Until}}
}

// endings are all that still matter.
func (r *revocations) endings() []Ending {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Ending, 0, len(r.grants)+len(r.tokens))
	for id, until := range r.grants {
		all = append(all, Ending{Grant: id, Until: until})
	}
	for jti, until := range r.tokens {
		all = append(all, Ending{JTI: jti, Until: until})
	}
	return all
}

// registryEndings are the endings of clients, users and keys that still matter. The
// registry's lock guards them.
type registryEndings struct {
	journal journal
	ended   map[string]Ending // by kind and id
	swept   time.Time
	sectors map[string]struct{}
}

// note takes in an ending, at the log's time, and forgets those of tokens that have
// expired since.
func (r *registryEndings) note(key string, e *Ending, stored time.Time) {
	e.Until = stored.Add(revocationReach).Unix()
	r.ended[key] = *e
	if stored.Sub(r.swept) > time.Minute {
		r.swept = stored
		maps.DeleteFunc(r.ended, func(_ string, old Ending) bool { return old.Until < stored.Unix() })
	}
}

func (r *registry) endings() []Ending {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.ended))
}

func (r *registry) allSectors() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.sectors))
}

// takeEnding keeps what an event of the registry has ended, whose state was
// before what the arguments say, and is in the maps now.
func (r *registry) takeEnding(e events.Recorded, client fold.Client, user fold.User) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, kind := e.Subject.ID(), e.Subject.Kind()
	var ended []Ending
	switch kind {
	case "client":
		now := r.clients[id]
		if now.Epoch > client.Epoch {
			ended = []Ending{{Client: id, Epoch: now.Epoch}}
		}
		if sector := fold.Sector(now.ClientSettings); sector != "" && now.SubjectType == fold.SubjectPairwise {
			r.sectors[sector] = struct{}{}
		}
	case "user":
		if now := r.users[id]; now.Epoch > user.Epoch {
			ended = []Ending{{User: id, Epoch: now.Epoch}}
		}
	case "key":
		if k := r.keys[id]; k.State == fold.KeyDropped && k.Use == events.KeyUseSignature {
			ended = []Ending{{Key: id}}
		}
	case "restored":
		ended = r.lost(e)
	}
	for i := range ended {
		r.note(kind+" "+id+ended[i].Lost, &ended[i], e.Stored)
	}
	r.journal.add(e, ended...)
}

// lost is what a loss that was accepted has ended: what was issued in the second of
// the event, too (fold.Restoration.EndsIssuedAt).
func (r *registry) lost(e events.Recorded) (ended []Ending) {
	f, _ := e.Fact.(events.LogRestored)
	partitions := strings.TrimSuffix(e.Subject.Realm().PartitionStream(0), "0")
	for _, s := range f.Ended(e.Subject.Realm()) {
		if p, ok := strings.CutPrefix(s.Stream, partitions); ok {
			ended = append(ended, Ending{Lost: p, Epoch: uint64(max(0, e.Stored.Unix()+1))})
		}
	}
	return ended
}
