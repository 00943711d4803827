// Command login-example is an operator's own page to sign in and to agree at, as
// small as it can be: it shows how the admin API accepts and rejects pending
// authorizations. Everybody is let in who knows the one password.
//
//	chancery serve --dev --login-url http://127.0.0.1:8090/login --consent-url http://127.0.0.1:8090/consent
//	go run ./cmd/login-example
package main

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"flag"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// password is everybody's. A real page asks a directory.
const password = "through-the-looking-glass"

const allow = "Allow access?"

// page is one form. It needs no token against forgery: what is decided here is
// good for the request in it alone, and that in one browser only.
var page = template.Must(template.New("page").Parse(`<!doctype html><html lang="en"><title>{{.Title}}</title>
<h1>{{.Title}}</h1>
{{with .Client}}<p>to continue to {{or .Name .ID}}</p>{{end}}
{{with .Problem}}<p role="alert">{{.}}</p>{{end}}
<form method="post"><input type="hidden" name="request" value="{{.Request}}">
{{if .Agree}}<p>{{.Subject}}, it asks for:</p><ul>{{range .Scope}}<li>{{.}}</li>{{end}}</ul>
{{else}}<p><label>User <input name="user" value="{{.LoginHint}}" required></label>
<p><label>Password <input name="password" type="password" required></label>
{{end}}<button name="decision" value="accept">Continue</button>
<button name="decision" value="reject" formnovalidate>Cancel</button></form></html>`))

// authorization is what the admin API shows, and what the page is made of.
type authorization struct {
	Client *struct {
		ID   string `json:"client_id"`
		Name string `json:"client_name"`
	} `json:"client"`
	Scope     []string `json:"scope"`
	LoginHint string   `json:"login_hint"`
	Subject   string   `json:"subject"`

	Title, Request, Problem string `json:"-"`
	Agree                   bool   `json:"-"`
}

// authority is the admin API of one.
type authority struct {
	url, key string
	http     *http.Client
}

// call sends in and reads the answer into out.
func (a authority) call(r *http.Request, what string, in map[string]any, out any) error {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(in); err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(r.Context(), http.MethodPost, a.url+"/admin/v1/authorizations/"+what, &body)
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+a.key)
	q.Header.Set("Content-Type", "application/json")
	answer, err := a.http.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", what, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

// ask shows the form, for a request that still waits.
func (a authority) ask(w http.ResponseWriter, r *http.Request, title, problem string) {
	shown := authorization{Title: title, Request: r.FormValue("request"), Problem: problem, Agree: title == allow}
	if err := a.call(r, "show", map[string]any{"request": shown.Request}, &shown); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.Header().Set("Referrer-Policy", "no-referrer") // the request is in the address
	_ = page.Execute(w, shown)                       // nobody is left to be told
}

// decide accepts or rejects, and sends the browser back.
func (a authority) decide(w http.ResponseWriter, r *http.Request, what string, in map[string]any) {
	if r.FormValue("decision") != "accept" {
		what, in = "reject", map[string]any{"error": "access_denied"}
	}
	in["request"] = r.FormValue("request")
	var next struct {
		RedirectTo string `json:"redirect_to"`
	}
	if err := a.call(r, what, in, &next); err != nil {
		fail(w, err)
		return
	}
	http.Redirect(w, r, next.RedirectTo, http.StatusSeeOther)
}

func (a authority) login(w http.ResponseWriter, r *http.Request) {
	right := subtle.ConstantTimeCompare([]byte(r.PostFormValue("password")), []byte(password)) == 1
	if r.FormValue("decision") == "accept" && !right {
		a.ask(w, r, "Sign in", "That is not the password.")
		return
	}
	subject := "example-" + strings.ToLower(r.PostFormValue("user"))
	a.decide(w, r, "accept-login", map[string]any{"subject": subject, "amr": []string{"pwd"}})
}

func fail(w http.ResponseWriter, err error) {
	log.Print(err)
	http.Error(w, "This did not work. Go back to the application and begin again.", http.StatusBadGateway)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "address to listen on")
	admin := flag.String("admin-url", "http://127.0.0.1:8081", "address of the admin API")
	file := flag.String("admin-key-file", filepath.Join("chancery-data", "admin-key"), "file that holds the admin key")
	flag.Parse()
	key, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	a := authority{*admin, strings.TrimSpace(string(key)), &http.Client{Timeout: 10 * time.Second}}
	server := http.Server{Addr: *listen, Handler: pages(a), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func pages(a authority) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { a.ask(w, r, "Sign in", "") })
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("GET /consent", func(w http.ResponseWriter, r *http.Request) { a.ask(w, r, allow, "") })
	mux.HandleFunc("POST /consent", func(w http.ResponseWriter, r *http.Request) { a.decide(w, r, "accept-consent", map[string]any{}) })
	return mux
}
