package keys

import (
	"slices"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A Family is the keys of which one is in use at a time: those that sign under
// one algorithm, or the MAC keys.
type Family struct {
	// Use is events.KeyUseSignature or events.KeyUseMAC.
	Use string
	// Alg is empty for MAC keys.
	Alg jose.Alg
}

func macFamily() Family { return Family{Use: events.KeyUseMAC} }

func signingFamily(alg jose.Alg) Family { return Family{Use: events.KeyUseSignature, Alg: alg} }

// families are those that the realm has an active key of.
func (m *Manager) families() []Family {
	all := []Family{macFamily()}
	for _, alg := range m.cfg.Algs {
		all = append(all, signingFamily(alg))
	}
	return all
}

// familyOf is a key's.
func familyOf(k fold.Key) Family { return Family{Use: k.Use, Alg: jose.Alg(k.Alg)} }

// String names the family for people.
func (f Family) String() string {
	if f.Use == events.KeyUseMAC {
		return "MAC key"
	}
	return "signing key for " + string(f.Alg)
}

// find is the newest key of the family in a state: of active ones the one that
// makes tokens. One that was closed by a loss of the log makes none.
func (f Family) find(states []fold.Key, state fold.KeyState) (newest fold.Key, ok bool) {
	for _, k := range states {
		if familyOf(k) == f && k.State == state && !k.Closed && (!ok || k.ActivatedSeq > newest.ActivatedSeq || k.ActivatedSeq == newest.ActivatedSeq && k.Seq > newest.Seq) {
			newest, ok = k, true
		}
	}
	return newest, ok
}

// macID is the highest id that a MAC key ever had, 0 if there was none.
func macID(states []fold.Key) uint8 {
	var highest uint8
	for _, k := range states {
		highest = max(highest, k.MACKey)
	}
	return highest
}

func find(states []fold.Key, kid string) (fold.Key, bool) {
	i := slices.IndexFunc(states, func(k fold.Key) bool { return k.ID == kid })
	if i < 0 {
		return fold.Key{}, false
	}
	return states[i], true
}
