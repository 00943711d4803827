package api_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v3"

	"github.com/chancery-authority/chancery/api"
	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

// describe loads the OpenAPI description that a replica serves. In answers it
// allows only the members that it names, which clients must not.
func describe(t *testing.T, r *apitest.Replica, base string) *openapi3.T {
	t.Helper()
	document := wantOK(t, request{method: http.MethodGet, path: base + "/openapi.json"}.send(t, r.URL)).JSON
	strictAnswers(document)
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	described, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	// Examples of requests may be wrong on purpose. TestOpenAPIExamples sends them.
	if err := described.Validate(t.Context(), openapi3.DisableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return described
}

// member is a member of nested objects, or nil.
func member(node any, path ...string) any {
	for _, name := range path {
		object, _ := node.(map[string]any)
		node = object[name]
	}
	return node
}

// strictAnswers closes the schemas of all answers.
func strictAnswers(document map[string]any) {
	seen := map[string]bool{}
	closeAll := func(responses any) {
		each(responses, func(response any) {
			each(member(response, "content"), func(media any) { strict(document, member(media, "schema"), seen) })
		})
	}
	closeAll(member(document, "components", "responses"))
	each(document["paths"], func(path any) {
		each(path, func(operation any) { closeAll(member(operation, "responses")) })
	})
}

func each(node any, visit func(any)) {
	object, _ := node.(map[string]any)
	for _, v := range object {
		visit(v)
	}
}

// strict closes a schema, and those of its members and items.
func strict(document map[string]any, node any, seen map[string]bool) {
	schema, _ := node.(map[string]any)
	if ref, ok := schema["$ref"].(string); ok {
		if !seen[ref] {
			seen[ref] = true
			strict(document, member(document, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), seen)
		}
		return
	}
	if _, open := schema["additionalProperties"]; !open && (schema["properties"] != nil || schema["allOf"] != nil) {
		schema["unevaluatedProperties"] = false
	}
	each(schema["properties"], func(p any) { strict(document, p, seen) })
	if items, ok := schema["items"]; ok {
		strict(document, items, seen)
	}
	parts, _ := schema["allOf"].([]any)
	for _, part := range parts {
		ref, _ := member(part, "$ref").(string)
		each(member(member(document, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), "properties"),
			func(p any) { strict(document, p, seen) })
	}
}

var pathParameter = regexp.MustCompile(`:([a-z_]+)`)

// TestOpenAPIHasEveryRoute compares the description with what is served, also
// below an issuer with a path.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "/t/1"} {
		t.Run("issuer "+base, func(t *testing.T) {
			r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { s.Issuer += base }})
			described := describe(t, r, base)
			var documented []string
			for path, item := range described.Paths.Map() {
				if len(item.Servers) == 0 {
					path = strings.TrimSuffix(base+path, "/")
				}
				for method := range item.Operations() {
					documented = append(documented, method+" "+path)
				}
			}
			slices.Sort(documented)
			var served []string
			for _, route := range r.Server.Routes() {
				served = append(served, pathParameter.ReplaceAllString(route, "{$1}"))
			}
			slices.Sort(served)
			for _, route := range served {
				if !slices.Contains(documented, route) {
					t.Errorf("%s is not in openapi.yaml", route)
				}
			}
			for _, route := range documented {
				if !slices.Contains(served, route) {
					t.Errorf("%s of openapi.yaml is not served", route)
				}
			}
		})
	}
}

// TestOpenAPIIsServed has both forms say the same, of the issuer and not of the
// host that was asked for, to scripts of every origin.
func TestOpenAPIIsServed(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { s.Issuer = "https://login.example:8443/t" }})
	var forms []any
	for path, read := range map[string]func([]byte, any) error{"/t/openapi.json": json.Unmarshal, "/t/openapi.yaml": yaml.Unmarshal} {
		a := wantOK(t, request{method: http.MethodGet, path: path, header: []string{"Origin", "https://anywhere.example"}}.send(t, r.URL))
		if a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%s has headers %v", path, a.Header)
		}
		if text := string(a.Body); strings.Contains(text, "auth.example") || strings.Contains(text, r.URL) {
			t.Errorf("%s names another issuer", path)
		}
		var document any
		if err := read(a.Body, &document); err != nil {
			t.Fatal(err)
		}
		normal, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		forms = append(forms, string(normal))
	}
	if forms[0] != forms[1] {
		t.Error("the two forms differ")
	}
	described := describe(t, r, "/t")
	if got := described.Servers[0].URL; got != "https://login.example:8443/t" {
		t.Errorf("server %s", got)
	}
	metadata := described.Paths.Value(metadataPath + "/t")
	if metadata == nil || metadata.Servers[0].URL != "https://login.example:8443" {
		t.Error("the metadata is not between host and path")
	}
}

// TestOpenAPITakesEveryIssuer renders issuers with what YAML would read.
func TestOpenAPITakesEveryIssuer(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{
		"http://[::1]:8080", "https://a.example/b,c", "https://a.example/it's", "https://a.example/a:b&*!@%7B%7D", "https://a.example/%20/t",
	} {
		if err := config.ValidateIssuer(issuer); err != nil {
			t.Fatal(err)
		}
		document, err := api.OpenAPI(issuer)
		if err != nil {
			t.Errorf("%s: %v", issuer, err)
			continue
		}
		servers, _ := member(document, "servers").([]any)
		if len(servers) == 0 || member(servers[0], "url") != issuer {
			t.Errorf("servers of %s: %v", issuer, servers)
		}
	}
}

// codeRow is a row of the tables that describe error codes.
var codeRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([0-9, ]+) \\|")

// TestOpenAPIHasEveryCode compares the error codes and their statuses with the
// table of refusals.
func TestOpenAPIHasEveryCode(t *testing.T) {
	t.Parallel()
	described := describe(t, apitest.Single(t, apitest.Options{}), "")
	for name, login := range map[string]bool{"ErrorCode": false, "LoginErrorCode": true} {
		schema := described.Components.Schemas[name].Value
		want, got := api.Codes(login), map[string][]int{}
		for _, row := range codeRow.FindAllStringSubmatch(schema.Description, -1) {
			for status := range strings.SplitSeq(row[2], ", ") {
				n, err := strconv.Atoi(strings.TrimSpace(status))
				if err != nil {
					t.Fatal(err)
				}
				got[row[1]] = append(got[row[1]], n)
			}
		}
		for code, statuses := range want {
			if !slices.Equal(got[code], statuses) {
				t.Errorf("%s describes %s with statuses %v, want %v", name, code, got[code], statuses)
			}
			if !slices.Contains(schema.Enum, any(code)) {
				t.Errorf("%s does not have %s", name, code)
			}
		}
		if len(got) != len(want) || len(schema.Enum) != len(want) {
			t.Errorf("%s has %d codes and describes %d, want %d", name, len(schema.Enum), len(got), len(want))
		}
	}
}

// TestOpenAPIHasEveryMember compares the schemas of answers with the types that
// those are made of: no example need have all that is rarely there.
func TestOpenAPIHasEveryMember(t *testing.T) {
	t.Parallel()
	described := describe(t, apitest.Single(t, apitest.Options{}), "")
	for name, of := range api.Shapes() {
		schema := described.Components.Schemas[name]
		if schema == nil {
			t.Errorf("there is no schema %s", name)
			continue
		}
		hasMembers(t, name, schema.Value, of)
	}
}

func hasMembers(t *testing.T, name string, schema *openapi3.Schema, of reflect.Type) {
	t.Helper()
	properties := maps.Clone(schema.Properties)
	for _, part := range schema.AllOf {
		maps.Copy(properties, part.Value.Properties)
	}
	for _, field := range reflect.VisibleFields(of) {
		member, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if member == "" || member == "-" {
			continue
		}
		property := properties[member]
		delete(properties, member)
		if property == nil {
			t.Errorf("%s does not have %s", name, member)
			continue
		}
		inner := field.Type
		if kind := inner.Kind(); kind == reflect.Pointer || kind == reflect.Slice {
			inner = inner.Elem()
		}
		if len(property.Value.Properties) > 0 && inner.Kind() == reflect.Struct && inner != of {
			hasMembers(t, name+"."+member, property.Value, inner)
		}
	}
	for member := range properties {
		t.Errorf("%s has %s, which no answer does", name, member)
	}
}
