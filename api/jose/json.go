package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// An object is the members of a JSON object by their exact names. Decoding into
// a struct would also take names in another case.
type object map[string]json.RawMessage

// maxDepth is how deep objects and arrays may nest.
const maxDepth = 16

// parseObject reads one JSON object and refuses duplicate names at any depth,
// which two parsers could read as two different tokens (RFC 7515 §4).
func parseObject(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := checkUnique(d, maxDepth); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the JSON value")
	}
	var m object
	if err := json.Unmarshal(data, &m); err != nil || m == nil {
		return nil, errors.New("not a JSON object")
	}
	return m, nil
}

// checkUnique reads the next value of d.
func checkUnique(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return errors.New("not JSON")
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == 0 {
		return errors.New("JSON nests too deep")
	}
	names := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return errors.New("not JSON")
			}
			if names[name.(string)] {
				return errors.New("duplicate JSON member")
			}
			names[name.(string)] = true
		}
		if err := checkUnique(d, depth-1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errors.New("not JSON")
	}
	return nil
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
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("member %s has the wrong type", name)
	}
	return nil
}
