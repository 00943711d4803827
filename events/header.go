package events

import (
	"slices"
	"strings"
)

// A Header is what a message says beside its data: names, which begin with ce-,
// and values, sorted by name. Each name is there once.
type Header [][2]string

// OwnHeader is the event's part of what a message has on the wire. What is the
// transport's (batch, expectation, message id) is left out, because it comes and
// goes without changing what was said.
func OwnHeader(wire map[string][]string) Header {
	h := make(Header, 0, len(wire))
	for name, v := range wire {
		if strings.HasPrefix(name, headerPrefix) && len(v) > 0 {
			h = append(h, [2]string{name, v[0]})
		}
	}
	slices.SortFunc(h, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return h
}

// Wire is the header as messages carry it. The map is the caller's.
func (h Header) Wire() map[string][]string {
	wire, values := make(map[string][]string, len(h)+2), make([]string, len(h))
	for i, pair := range h {
		values[i] = pair[1]
		wire[pair[0]] = values[i : i+1 : i+1]
	}
	return wire
}

// Get is the value of a name, and empty if there is none.
func (h Header) Get(name string) string {
	for _, pair := range h {
		if pair[0] == name {
			return pair[1]
		}
	}
	return ""
}
