package pages_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/text/language"

	"github.com/chancery-authority/chancery/api/pages"
)

// BenchmarkWrite writes the consent page.
func BenchmarkWrite(b *testing.B) {
	r, err := pages.New(pages.Config{})
	if err != nil {
		b.Fatal(err)
	}
	page := samples()["consent"]
	for b.Loop() {
		if err := r.Write(httptest.NewRecorder(), http.StatusOK, language.German, page); err != nil {
			b.Fatal(err)
		}
	}
}
