package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/reseal"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Bucket is the bucket of private parts. Its records are:
//
//	check              a sealed constant, to recognize wrong key-encryption keys
//	mac.<id>           a sealed MAC key
//	sig.<kid>          a sealed signing key, PKCS #8
//	claim.<alg>.<n>    the kid of the n-th key made for alg
//	pairwise           a sealed key that pairwise subjects are derived with
//
// Each is created once and never changed, but for the key-encryption key that it
// is sealed with.
const Bucket = "SECRETS"

const (
	checkRecord = "check"
	checkText   = "chancery"
)

// ErrWrongKey is returned when this replica's key-encryption keys do not open
// what the realm's other replicas have sealed.
var ErrWrongKey = errors.New("wrong key-encryption key")

// OpenBucket opens the bucket of private parts, or creates it.
func OpenBucket(ctx context.Context, log *eventlog.Log) (jetstream.KeyValue, error) {
	return log.Bucket(ctx, Bucket)
}

// A vault is the bucket and the sealer of all that is in it.
type vault struct {
	kv     jetstream.KeyValue
	sealer *secret.Sealer
	// original says that the bucket is as it was first written: of one that was
	// encrypted anew the ages of its records tell nothing.
	original bool
}

// openVault makes sure that the ring is the realm's before anything is sealed
// with it.
func openVault(ctx context.Context, log *eventlog.Log, ring *secret.Ring) (vault, error) {
	kv, err := OpenBucket(ctx, log)
	if err != nil {
		return vault{}, err
	}
	v := vault{kv: kv, sealer: ring.Sealer("key-material")}
	check, err := v.create(ctx, checkRecord, []byte(checkText))
	if errors.Is(err, secret.ErrUnknownKey) || errors.Is(err, secret.ErrSealed) {
		return vault{}, fmt.Errorf("%w: what this realm keeps in bucket %s was sealed with other key-encryption keys (%w) "+
			"than this replica was started with (ids %s); start it with the file, or the value, that the realm was first started with",
			ErrWrongKey, kv.Bucket(), err, strings.Join(ring.IDs(), ", "))
	}
	if err == nil && string(check.value) != checkText {
		err = errors.New("the check record is not what it was")
	}
	v.original = check.revision == 1
	return v, err
}

// A record is what the bucket holds, opened.
type record struct {
	value   []byte
	written time.Time
	// revision is the record's place in the bucket.
	revision uint64
	// mine says that this replica has just written it.
	mine bool
}

// createPause is between two tries to create a record that another replica is just
// creating: the leader refuses it before there is one to read.
const createPause = 20 * time.Millisecond

// create seals value into a record, or gives the one that is there. Of replicas
// that create at once, all get the same.
func (v vault) create(ctx context.Context, name string, value []byte) (record, error) {
	for {
		_, err := v.kv.Create(ctx, name, v.sealer.Seal(value, []byte(name)))
		if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return record{}, fmt.Errorf("creating record %s: %w", name, err)
		}
		r, err := v.get(ctx, name)
		if errors.Is(err, jetstream.ErrKeyNotFound) && pause(ctx, createPause) == nil {
			continue
		}
		r.mine = bytes.Equal(r.value, value)
		return r, err
	}
}

// get opens a record. The error is jetstream.ErrKeyNotFound when there is none.
func (v vault) get(ctx context.Context, name string) (record, error) {
	entry, err := v.kv.Get(ctx, name)
	if err != nil {
		return record{}, fmt.Errorf("reading record %s: %w", name, err)
	}
	value, err := v.sealer.Open(entry.Value(), []byte(name))
	if err != nil {
		return record{}, fmt.Errorf("opening record %s: %w", name, err)
	}
	return record{value: value, written: entry.Created(), revision: entry.Revision()}, nil
}

func macRecord(id uint8) string              { return "mac." + strconv.Itoa(int(id)) }
func signingRecord(kid string) string        { return "sig." + kid }
func claimRecord(alg jose.Alg, n int) string { return "claim." + string(alg) + "." + strconv.Itoa(n) }

// macPrefix begins the kid of a MAC key, before its id.
const macPrefix = "mac-"

func macKID(id uint8) string { return macPrefix + strconv.Itoa(int(id)) }

func newMAC() []byte {
	key := make([]byte, credential.KeySize)
	_, _ = rand.Read(key)
	return key
}

func (v vault) mac(ctx context.Context, id uint8) (key [credential.KeySize]byte, err error) {
	r, err := v.get(ctx, macRecord(id))
	if err != nil {
		return key, err
	}
	if copy(key[:], r.value) != len(r.value) || len(r.value) != len(key) {
		return key, fmt.Errorf("a MAC key has %d bytes", len(key))
	}
	return key, nil
}

func (v vault) signing(ctx context.Context, kid string, alg jose.Alg) (jose.SigningKey, error) {
	r, err := v.get(ctx, signingRecord(kid))
	if err != nil {
		return jose.SigningKey{}, err
	}
	return jose.ParseSigningKey(alg, r.value)
}

// Store is the bucket of private parts, to be sealed anew.
func (m *Manager) Store() reseal.Store {
	return reseal.Store{
		Name: "keys", Bucket: m.vault.kv,
		Reseal: func(name string, value []byte) ([]byte, string, error) {
			return m.vault.sealer.Reseal(value, []byte(name))
		},
	}
}

// SealedBy is the id of the key-encryption key that a key's private part is sealed
// with, empty where there is none.
func (m *Manager) SealedBy(ctx context.Context, k fold.Key) (string, error) {
	name := signingRecord(k.ID)
	if k.Use == events.KeyUseMAC {
		name = macRecord(k.MACKey)
	}
	entry, err := m.vault.kv.Get(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading record %s: %w", name, err)
	}
	return secret.SealedBy(entry.Value()), nil
}
