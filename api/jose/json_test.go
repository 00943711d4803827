package jose

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/events"
)

func TestParseObject(t *testing.T) {
	for text, want := range map[string]object{
		`{}`:         {},
		" { } ":      {},
		`{"a":1}`:    {"a": json.RawMessage("1")},
		`{"":true }`: {"": json.RawMessage("true")},
		"\n{ \"a\" :\t[ 1 , {} ,\"]\\\"}\"] , \"A\":null,\"b\":{\"a\":-1.5e3 } }\r": {
			"a": json.RawMessage(`[ 1 , {} ,"]\"}"]`), "A": json.RawMessage("null"), "b": json.RawMessage(`{"a":-1.5e3 }`),
		},
		`{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}`: {
			"a": json.RawMessage(`{"a":{"a":1}}`), "b": json.RawMessage(`[{"a":1},{"a":2}]`),
		},
		`{"\u0061\"":1}`: {`a"`: json.RawMessage("1")},
		`{"a":"\\"}`:     {"a": json.RawMessage(`"\\"`)},
	} {
		if got, err := parseObject([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", " ", "null", "1", `"x"`, "[]", "{", `{"a"}`, `{"a":1}{}`, `{"a":1,}`, "{\"\xff\":1}",
		`{"a":1,"a":1}`, `{"b":{"a":1,"a":1}}`, `{"b":[[{"a":1,"a":1}]]}`,
		`{"a":1,"\u0061":1}`, `{"b":{"\u0061":1,"a":1}}`,
		`{"a":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`,
		strings.Repeat(`{"a":`, 16) + "1" + strings.Repeat("}", 16),
	} {
		if got, err := parseObject([]byte(text)); err == nil {
			t.Errorf("%s: got %s", text, got)
		}
	}
}

// Whatever is read, the standard library reads the same.
func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\""}],"c":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseObject(data)
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil || !reflect.DeepEqual(map[string]json.RawMessage(got), want) {
			t.Fatalf("got %s, the standard library %s, %v", got, want, err)
		}
	})
}

// FuzzPlain compares what is written and read here with the standard library.
func FuzzPlain(f *testing.F) {
	for _, value := range []string{
		`"read write"`, `"a\u003cb"`, `"\ud800"`, `""`, `" "`, `"02000000000000000000000000000001"`, `"0A"`,
		`0`, `-0`, `12`, `1e2`, `1.0`, `-1`, `9223372036854775808`, `18446744073709551615`, `18446744073709551616`,
		`[]`, ` [ "a" , "b\"" ] `, `["a",1]`, `["a",null]`, `[["a"]]`, `{}`, `true`, `"<&>"`, "\"\u2028\x7f\u00e9\"",
	} {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := parseObject(append(append([]byte(`{"x":`), value...), '}'))
		if err != nil || len(m) != 1 || string(m["x"]) == "null" {
			return
		}
		comparePlain[string](t, m)
		comparePlain[int64](t, m)
		comparePlain[uint64](t, m)
		comparePlain[[]string](t, m)
		comparePlain[Scope](t, m)
		comparePlain[events.GrantID](t, m)
		comparePlain[events.Partition](t, m)
	})
}

// comparePlain reads a member as a type, and writes it again.
func comparePlain[T any](t *testing.T, m object) {
	t.Helper()
	var got, want T
	wrong := json.Unmarshal(m["x"], &want)
	if err := m.get("x", &got); (err == nil) != (wrong == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: got %#v, %v, the standard library %#v, %v", m["x"], got, err, want, wrong)
	}
	if wrong != nil {
		return
	}
	written, err := appendJSON(nil, &got)
	library, _ := json.Marshal(want)
	if err != nil || string(written) != string(library) {
		t.Fatalf("%#v: wrote %s, %v, the standard library %s", got, written, err, library)
	}
}
