package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// An object is the members of a JSON object by their exact names. Decoding into
// a struct would also take names in another case.
type object map[string]json.RawMessage

// maxDepth is how deep objects and arrays may nest.
const maxDepth = 16

// parseObject reads one JSON object. It refuses duplicate names at any depth,
// which two parsers could read as two different tokens (RFC 7515 §4).
func parseObject(data []byte) (object, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errors.New("not JSON")
	}
	s := scanner{data: data}
	if s.skipSpace() != '{' {
		return nil, errors.New("not a JSON object")
	}
	m := make(object, min(len(data)/memberSize, maxRoom))
	if err := s.object(m, maxDepth); err != nil {
		return nil, err
	}
	return m, nil
}

// An object gets room for as many members as a text of its size has by what ours
// have, but for a stranger's text not much.
const (
	memberSize = 24
	maxRoom    = 32
)

// A scanner walks over data that is valid JSON.
type scanner struct {
	data []byte
	pos  int
}

// skipSpace gives the byte it stops at.
func (s *scanner) skipSpace() byte {
	for {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
}

// object reads the object that begins here into m.
func (s *scanner) object(m object, depth int) error {
	s.pos++
	for s.skipSpace() != '}' {
		name, err := s.name()
		if err != nil {
			return err
		}
		if _, ok := m[name]; ok {
			return errors.New("duplicate JSON member")
		}
		s.skipSpace()
		s.pos++ // the colon
		s.skipSpace()
		from := s.pos
		if err := s.value(depth - 1); err != nil {
			return err
		}
		m[name] = s.data[from:s.pos]
		s.skipComma()
	}
	s.pos++
	return nil
}

// value moves past the value that begins here.
func (s *scanner) value(depth int) error {
	if depth == 0 {
		return errors.New("JSON nests too deep")
	}
	switch s.data[s.pos] {
	case '{':
		return s.object(object{}, depth)
	case '[':
		s.pos++
		for s.skipSpace() != ']' {
			if err := s.value(depth - 1); err != nil {
				return err
			}
			s.skipComma()
		}
		s.pos++
	case '"':
		s.text()
	default:
		s.word()
	}
	return nil
}

func (s *scanner) skipComma() {
	if s.skipSpace() == ',' {
		s.pos++
	}
}

// name reads the member name that begins here. Two spellings are one name.
func (s *scanner) name() (string, error) {
	from := s.pos
	raw := s.text()
	if !slices.Contains(raw, '\\') {
		return string(raw), nil
	}
	var name string
	err := json.Unmarshal(s.data[from:s.pos], &name)
	return name, err
}

// text moves past a string and gives what is between its quotes, as it came.
func (s *scanner) text() []byte {
	from := s.pos + 1
	for s.pos = from; s.data[s.pos] != '"'; s.pos++ {
		if s.data[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
	return s.data[from : s.pos-1]
}

// word moves past a number, true, false or null, all inside some object.
func (s *scanner) word() {
	for {
		switch s.data[s.pos] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return
		}
		s.pos++
	}
}

// get decodes a member, if there is one, into a pointer. null is refused: it is
// neither a value nor absent.
func (m object) get(name string, into any) error {
	raw, ok := m[name]
	if !ok {
		return nil
	}
	if string(raw) == "null" {
		return fmt.Errorf("member %s is null", name)
	}
	if plain(raw, into) {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("member %s has the wrong type", name)
	}
	return nil
}
