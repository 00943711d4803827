package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/chancery-authority/chancery/api/apitest"
)

const (
	// usual is the example of whatever an example of another name does not have.
	usual = "usual"
	// anonymous is the usual request without credentials.
	anonymous = "anonymous"
	ndjson    = "application/x-ndjson"
)

// An operation of the description, and where it is served.
type operation struct {
	*openapi3.Operation
	route   routers.Route
	replica *apitest.Replica
}

// TestOpenAPIExamples sends every example of a request, and compares the answer
// with the example of the same name.
func TestOpenAPIExamples(t *testing.T) {
	t.Parallel()
	openapi3filter.RegisterBodyDecoder(ndjson, openapi3filter.JSONBodyDecoder) // line by line
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.PlainBodyDecoder)
	r := single(t)
	described := describe(t, r, "")
	for path, item := range described.Paths.Map() {
		for method, o := range item.Operations() {
			op := operation{o, routers.Route{Spec: described, Path: path, PathItem: item, Method: method, Operation: o}, r}
			answers, bodyless := op.answers(t)
			for name := range op.names(t, answers) {
				t.Run(o.OperationID+"/"+name, func(t *testing.T) {
					status, ok := answers[name]
					if !ok {
						status = bodyless
					}
					if status == 0 {
						t.Fatal("no answer has an example of this name")
					}
					op.try(t, name, status)
				})
			}
		}
	}
}

// answers are the statuses that examples of answers belong to, and the one that
// has no body, if there is one.
func (op operation) answers(t *testing.T) (answers map[string]int, bodyless int) {
	t.Helper()
	answers = map[string]int{}
	for text, response := range op.Responses.Map() {
		var status int
		if _, err := fmt.Sscan(text, &status); err != nil {
			continue // default
		}
		if len(response.Value.Content) == 0 {
			bodyless = status
		}
		for _, media := range response.Value.Content {
			for name := range media.Examples {
				if answers[name] != 0 {
					t.Errorf("%s: two answers have an example %s", op.OperationID, name)
				}
				answers[name] = status
			}
		}
	}
	return answers, bodyless
}

// answerAuthorization is the header that an example of an answer has, where the
// request has nothing else that could be another.
func (op operation) answerAuthorization(name string) any {
	for _, response := range op.Responses.Map() {
		for _, media := range response.Value.Content {
			if example, ok := media.Examples[name]; ok {
				return example.Value.Extensions["x-authorization"]
			}
		}
	}
	return nil
}

// parameters are those of the path, and of the operation.
func (op operation) parameters() []*openapi3.Parameter {
	var all []*openapi3.Parameter
	for _, p := range slices.Concat(op.route.PathItem.Parameters, op.Parameters) {
		all = append(all, p.Value)
	}
	return all
}

// body is the media type of the request's body, and what it may be.
func (op operation) body() (string, *openapi3.MediaType) {
	if op.RequestBody != nil {
		for name, media := range op.RequestBody.Value.Content {
			return name, media
		}
	}
	return "", nil
}

// names are those of all examples.
func (op operation) names(t *testing.T, answers map[string]int) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, p := range op.parameters() {
		for name := range p.Examples {
			names[name] = true
		}
	}
	if _, media := op.body(); media != nil {
		for name := range media.Examples {
			names[name] = true
		}
	}
	for name := range answers {
		if !names[name] && name != usual && name != anonymous && op.answerAuthorization(name) == nil {
			t.Errorf("%s: no request has an example %s", op.OperationID, name)
		}
		names[name] = true
	}
	if len(names) == 0 {
		t.Errorf("%s has no examples", op.OperationID)
	}
	return names
}

// try sends an example and checks the request, if it is to be accepted, and the
// answer.
func (op operation) try(t *testing.T, name string, status int) {
	q := op.request(t, name)
	check := &openapi3filter.RequestValidationInput{
		Request: q.http(t), PathParams: q.path, Route: &op.route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true,
			IncludeResponseStatus: true, RejectWhenRequestBodyNotSpecified: true,
		},
	}
	if err := openapi3filter.ValidateRequest(t.Context(), check); err != nil && status < http.StatusBadRequest {
		t.Errorf("the request is not as described: %v", err)
	}
	got := apitest.Settled(t, func() apitest.Answer { return apitest.Do(t, q.http(t)) })
	if got.Status != status {
		t.Fatalf("answer %d %s, want %d", got.Status, got.Body, status)
	}
	response := op.Responses.Status(status).Value
	if len(response.Content) == 0 && len(got.Body) > 0 {
		t.Errorf("a body: %s", got.Body)
	}
	asDescribed(t, check, got.Status, got.Header, got.Body)
	for kind, media := range response.Content {
		if media.Examples[name] == nil && len(response.Content) > 1 {
			continue // an example of another form
		}
		example := encode(t, got.Header, media.Examples[name].Value.Value)
		asDescribed(t, check, got.Status, got.Header, example)
		if status >= http.StatusBadRequest && kind == "application/json" {
			sameError(t, got.Body, example)
		}
	}
}

// asDescribed checks an answer, of events each line.
func asDescribed(t *testing.T, q *openapi3filter.RequestValidationInput, status int, header http.Header, body []byte) {
	t.Helper()
	bodies := [][]byte{body}
	if header.Get("Content-Type") == ndjson {
		bodies = bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	}
	for _, body := range bodies {
		err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: q, Status: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Options: q.Options,
		})
		if err != nil {
			t.Errorf("%s is not as described: %v", body, err)
		}
	}
}

// encode is an example's value as an answer with such a header has it.
func encode(t *testing.T, header http.Header, value any) []byte {
	t.Helper()
	if text, ok := value.(string); ok && strings.HasPrefix(header.Get("Content-Type"), "text/") {
		return []byte(text)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// sameError compares two errors but for the request's id.
func sameError(t *testing.T, got, want []byte) {
	t.Helper()
	var errors [2]map[string]any
	for i, text := range [][]byte{got, want} {
		if err := json.Unmarshal(text, &errors[i]); err != nil {
			t.Fatal(err)
		}
		delete(errors[i], "request_id")
		if envelope, ok := errors[i]["error"].(map[string]any); ok {
			delete(envelope, "details")
		}
	}
	if !reflect.DeepEqual(errors[0], errors[1]) {
		t.Errorf("answer %s, want %s", got, want)
	}
}

// A sentExample is a request made of examples, its placeholders filled.
type sentExample struct {
	method, url, contentType, body, authorization, cookie string

	path    map[string]string
	headers http.Header
}

func (q sentExample) http(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), q.method, q.url, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, q.headers)
	if q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.authorization != "" {
		r.Header.Set("Authorization", q.authorization)
	}
	if q.cookie != "" {
		r.Header.Set("Cookie", q.cookie)
	}
	return r
}

// request makes a request of the examples of a name.
func (op operation) request(t *testing.T, name string) sentExample {
	t.Helper()
	made := &placeholders{t: t, r: op.replica, known: map[string]string{}}
	q := sentExample{method: op.route.Method, url: op.replica.URL, path: map[string]string{}, headers: http.Header{}}
	if name != anonymous {
		q.authorization, q.cookie = op.credentials(made)
	}
	if header := op.answerAuthorization(name); header != nil {
		q.authorization = fmt.Sprint(made.fill(header))
	}
	if servers := op.route.PathItem.Servers; len(servers) > 0 && servers[0].URL == "http://127.0.0.1:8081" {
		q.url = op.replica.AdminURL
	}
	path, query := op.route.Path, url.Values{}
	for _, p := range op.parameters() {
		example, ok := exampleOf(p.Examples, name)
		if !ok {
			continue
		}
		q.authorization = made.authorization(example, q.authorization)
		value := fmt.Sprint(made.fill(example.Value))
		switch p.In {
		case openapi3.ParameterInPath:
			q.path[p.Name] = value
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(value))
		case openapi3.ParameterInHeader:
			q.headers.Set(p.Name, value)
		default:
			query.Set(p.Name, value)
		}
	}
	q.url += path
	if len(query) > 0 {
		q.url += "?" + query.Encode()
	}
	contentType, media := op.body()
	if media == nil {
		return q
	}
	example, ok := exampleOf(media.Examples, name)
	if !ok {
		t.Fatal("there is no body of this name, and no usual one")
	}
	q.authorization = made.authorization(example, q.authorization)
	q.contentType, q.body = contentType, encodeBody(t, contentType, made.fill(example.Value))
	return q
}

// credentials are those that the operation wants, but for a client's.
func (op operation) credentials(p *placeholders) (authorization, cookie string) {
	if op.Security == nil {
		return "", ""
	}
	for _, one := range *op.Security {
		for scheme := range one {
			switch scheme {
			case "adminKey":
				return "Bearer " + apitest.AdminKey, ""
			case "userToken":
				return "Bearer " + p.get("access_token"), ""
			case "session", "browser":
				return "", p.get(scheme)
			}
		}
	}
	return "", ""
}

func exampleOf(examples openapi3.Examples, name string) (*openapi3.Example, bool) {
	for _, n := range []string{name, usual} {
		if e, ok := examples[n]; ok {
			return e.Value, true
		}
	}
	return nil, false
}

// encodeBody writes a form or JSON. A text is a form as it is sent.
func encodeBody(t *testing.T, contentType string, value any) string {
	t.Helper()
	if contentType == "application/json" {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text, ok := value.(string); ok {
		return text
	}
	form := url.Values{}
	members, _ := value.(map[string]any)
	for name, v := range members {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, one := range list {
			form.Add(name, fmt.Sprint(one))
		}
	}
	return form.Encode()
}
