package jose

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
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
