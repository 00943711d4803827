package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

// TestExample signs somebody in by the example's pages.
func TestExample(t *testing.T) {
	a := authority{key: apitest.AdminKey, http: http.DefaultClient}
	example := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pages(a).ServeHTTP(w, r) }))
	t.Cleanup(example.Close)
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) {
		s.LoginURL, s.ConsentURL = example.URL+"/login", example.URL+"/consent"
	}})
	a.url = r.AdminURL
	submit := func(page *url.URL, fields url.Values) apitest.Answer {
		t.Helper()
		fields.Set("request", page.Query().Get("request"))
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, example.URL+page.Path, strings.NewReader(fields.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return apitest.Do(t, q)
	}
	v := r.NewVisitor(t)
	back := func(answer apitest.Answer) *url.URL {
		t.Helper()
		path, ok := strings.CutPrefix(answer.Header.Get("Location"), apitest.Issuer)
		if !ok {
			t.Fatalf("the example answers %d %s", answer.Status, answer.Body)
		}
		p := v.Open(path)
		if p.Outside == nil {
			t.Fatalf("%s shows %d %s", p.URL, p.Status, p.Body)
		}
		return p.Outside
	}
	page := v.Open("/oauth2/authorize?" + apitest.CodeQuery("demo-partner", "read").Encode()).Outside
	shown, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer := apitest.Do(t, shown); answer.Status != http.StatusOK || !strings.Contains(string(answer.Body), "to continue to Demo partner") {
		t.Errorf("the page is %d %s", answer.Status, answer.Body)
	}
	wrong := submit(page, url.Values{"user": {"Duchess"}, "password": {"pepper"}, "decision": {"accept"}})
	if wrong.Status != http.StatusOK || !strings.Contains(string(wrong.Body), "That is not the password.") {
		t.Errorf("with a wrong password: %d %s", wrong.Status, wrong.Body)
	}
	page = back(submit(page, url.Values{"user": {"Duchess"}, "password": {password}, "decision": {"accept"}}))
	if page.Path != "/consent" {
		t.Fatalf("after the sign-in: %s", page)
	}
	end := back(submit(page, url.Values{"decision": {"accept"}}))
	tokens := r.Exchange(t, apitest.DemoPartner, end.Query().Get("code"))
	if tokens.Status != http.StatusOK || apitest.Claims(t, tokens.Text("access_token"))["sub"] != "example-duchess" {
		t.Errorf("tokens %d %s", tokens.Status, tokens.Body)
	}
	page = v.Open("/oauth2/authorize?" + apitest.CodeQuery("demo-partner", "read write").Encode()).Outside
	if end := back(submit(page, url.Values{"decision": {"reject"}})); end.Query().Get("error") != "access_denied" {
		t.Errorf("rejected: %s", end)
	}
	if over := submit(&url.URL{Path: "/login"}, url.Values{"password": {password}, "decision": {"accept"}}); over.Status != http.StatusBadGateway {
		t.Errorf("without a request: %d", over.Status)
	}
}
