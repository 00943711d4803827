package config

import (
	"reflect"
	"sync/atomic"
)

// Live is the settings in force, which change while the process runs. It is
// safe for concurrent use.
type Live struct{ settings atomic.Pointer[Settings] }

// NewLive returns a Live of s.
func NewLive(s Settings) *Live {
	l := &Live{}
	l.settings.Store(&s)
	return l
}

// Get is what is in force. It is not to be changed.
func (l *Live) Get() *Settings { return l.settings.Load() }

// Set takes what can change from s, leaves the rest as it is, and returns what
// is in force now. Check s before.
func (l *Live) Set(s Settings) *Settings {
	merged := *l.Get()
	from, to := reflect.ValueOf(s), reflect.ValueOf(&merged).Elem()
	for i := range to.NumField() {
		if _, ok := to.Type().Field(i).Tag.Lookup("reload"); ok {
			to.Field(i).Set(from.Field(i))
		}
	}
	l.settings.Store(&merged)
	return &merged
}
