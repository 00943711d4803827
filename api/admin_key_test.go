package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
)

// TestNoAdminKeyAdmitsNobody is a Server that was given none.
func TestNoAdminKeyAdmitsNobody(t *testing.T) {
	t.Parallel()
	handler := (&Server{}).requireAdmin(func(echo.Context) error { return nil })
	for _, header := range []string{"", "Bearer", "Bearer ", "bearer "} {
		r := httptest.NewRequest(http.MethodGet, "/admin/v1/clients", http.NoBody)
		r.Header.Set("Authorization", header)
		err := handler(echo.New().NewContext(r, httptest.NewRecorder()))
		if refusal := new(rules.Refusal); !errors.As(err, &refusal) || refusal.Reason != adminKeyRequired {
			t.Errorf("%q: %v", header, err)
		}
	}
}
