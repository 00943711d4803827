package jose

import (
	"bytes"
	"encoding"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/chancery-authority/chancery/events"
)

// Most of what tokens hold is whole numbers, and texts that have nothing to escape.
// These are written and read here, exactly as encoding/json does it but in a tenth
// of the time; whatever else there is, is left to it.

// plain decodes a value that is valid JSON, and reports whether it is plain and has
// the type of what into points to. If not, into may have been written to.
func plain(raw []byte, into any) bool {
	var err error
	switch v := into.(type) {
	case *int64:
		*v, err = strconv.ParseInt(string(raw), 10, 64)
		return err == nil
	case *uint64:
		*v, err = strconv.ParseUint(string(raw), 10, 64)
		return err == nil
	case *[]string:
		return plainTexts(raw, v)
	}
	text, ok := plainText(raw)
	if !ok {
		return false
	}
	switch v := into.(type) {
	case *string:
		*v = string(text)
		return true
	case encoding.TextUnmarshaler:
		return v.UnmarshalText(text) == nil
	}
	return false
}

// plainText is what a string says in which nothing is escaped.
func plainText(raw []byte) ([]byte, bool) {
	if raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return nil, false
	}
	return raw[1 : len(raw)-1], true
}

func plainTexts(raw []byte, into *[]string) bool {
	if raw[0] != '[' {
		return false
	}
	texts := make([]string, 0, 1)
	for s := (scanner{data: raw, pos: 1}); s.skipSpace() != ']'; s.skipComma() {
		from := s.pos
		if err := s.value(maxDepth); err != nil {
			return false
		}
		text, ok := plainText(raw[from:s.pos])
		if !ok {
			return false
		}
		texts = append(texts, string(text))
	}
	*into = texts
	return true
}

// appendJSON appends what field points to.
func appendJSON(b []byte, field any) ([]byte, error) {
	switch v := field.(type) {
	case *string:
		return appendText(b, *v)
	case *Scope:
		return appendText(b, strings.Join(*v, " "))
	case *events.GrantID:
		return appendText(b, v.String())
	case *int64:
		return strconv.AppendInt(b, *v, 10), nil
	case *uint64:
		return strconv.AppendUint(b, *v, 10), nil
	}
	return appendOther(b, field)
}

func appendText(b []byte, text string) ([]byte, error) {
	for _, c := range []byte(text) {
		if c < 0x20 || c > 0x7e || strings.IndexByte(`"\<>&`, c) >= 0 {
			return appendOther(b, text)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"'), nil
}

func appendOther(b []byte, v any) ([]byte, error) {
	other, err := json.Marshal(v)
	return append(b, other...), err
}
