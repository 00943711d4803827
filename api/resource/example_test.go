package resource_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/chancery-authority/chancery/api/resource"
)

// A resource server verifies tokens by itself, and answers 503 while it cannot know
// what was revoked.
func Example() {
	v, err := resource.Open(context.Background(), resource.Config{
		Issuer:       "http://127.0.0.1:1", // https://auth.example
		Audience:     []string{"https://api.example"},
		ClientID:     "api",
		ClientSecret: "its-secret",
		MaxAge:       5 * time.Second, // revocations are refused at the latest then
		// Introspect: true,           // ask the authority meanwhile
		// Grace: time.Minute,         // or accept what is not known to have ended
	})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	notes := http.NewServeMux()
	notes.Handle("GET /notes", v.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims := resource.ClaimsOf(r.Context())
		_, _ = fmt.Fprintln(w, "the notes of", claims.Subject)
	})))
	notes.Handle("/.well-known/oauth-protected-resource", v.Metadata("https://api.example", "read"))

	for _, authorization := range []string{"", "Bearer a.b.c"} {
		request := httptest.NewRequest(http.MethodGet, "/notes", nil)
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		answer := httptest.NewRecorder()
		notes.ServeHTTP(answer, request)
		fmt.Printf("%d %s\n", answer.Code, answer.Header().Get("WWW-Authenticate"))
	}
	// Output:
	// 401 Bearer realm="chancery"
	// 503
}
