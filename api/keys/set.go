package keys

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A key is the state of one key with its private part, which a dropped one has
// no more.
type key struct {
	fold.Key
	mac     [credential.KeySize]byte
	signing jose.SigningKey
}

// A set is all keys of the realm at one moment. It never changes.
type set struct {
	keys map[string]key // by kid, dropped ones too

	macs *credential.Ring
	mac  uint8 // of the active MAC key

	signers  map[string]jose.SigningKey // active, by algorithm
	public   []jose.PublicKey
	jwks     []byte
	verifier *jose.Verifier

	err error
}

func newSet(issuer string, algs []jose.Alg, keys []key) (*set, error) {
	s := &set{keys: map[string]key{}, signers: map[string]jose.SigningKey{}}
	slices.SortFunc(keys, byUsefulness(algs))
	macs := map[uint8][credential.KeySize]byte{}
	var signing []jose.SigningKey
	for _, k := range keys {
		s.keys[k.ID] = k
		if k.State == fold.KeyDropped {
			continue
		}
		active := k.State == fold.KeyActive
		if k.Use == events.KeyUseMAC {
			macs[k.MACKey] = k.mac
			if active && !k.Closed && s.mac == 0 {
				s.mac = k.MACKey
			}
			continue
		}
		signing = append(signing, k.signing)
		s.public = append(s.public, k.signing.Public())
		if _, ok := s.signers[k.Alg]; active && !ok {
			s.signers[k.Alg] = k.signing
		}
	}
	var errs [3]error
	s.macs, errs[0] = credential.NewRing(macs)
	s.verifier, errs[1] = jose.NewOwnVerifier(issuer, signing)
	s.jwks, errs[2] = jose.MarshalJWKS(s.public)
	return s, errors.Join(errs[:]...)
}

// byUsefulness puts active keys first, then announced, then retired ones; of
// each those of the earliest of algs, and of these the newest first.
func byUsefulness(algs []jose.Alg) func(a, b key) int {
	rank := map[fold.KeyState]int{fold.KeyActive: 0, fold.KeyAnnounced: 1, fold.KeyRetired: 2, fold.KeyDropped: 3}
	place := func(k key) int {
		if i := slices.Index(algs, jose.Alg(k.Alg)); i >= 0 {
			return i
		}
		return len(algs) // of an algorithm that is configured no more
	}
	return func(a, b key) int {
		return cmp.Or(
			cmp.Compare(rank[a.State], rank[b.State]),
			cmp.Compare(place(a), place(b)),
			cmp.Compare(b.ActivatedSeq, a.ActivatedSeq),
			cmp.Compare(b.Seq, a.Seq),
		)
	}
}

func (s *set) signer(alg string) (jose.SigningKey, error) {
	k, ok := s.signers[alg]
	if !ok {
		return jose.SigningKey{}, fmt.Errorf("no active signing key for %q", alg)
	}
	return k, nil
}

func (s *set) signerByID(kid string) (jose.SigningKey, error) {
	k, ok := s.keys[kid]
	switch {
	case !ok || k.Use != events.KeyUseSignature:
		return jose.SigningKey{}, fmt.Errorf("no signing key %q", kid)
	case k.State == fold.KeyDropped:
		return s.signer(k.Alg)
	}
	return k.signing, nil
}
