package server

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"strings"
	"text/template"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/secret"
)

// tourText can be pasted into a shell from top to bottom.
//
//go:embed tour.txt
var tourText string

// tour is what the text needs to know.
type tour struct {
	Public, Admin, AdminKey  string
	ServiceSecret, WebSecret string
	User, Password, Redirect string
	Verifier, Challenge      string
}

// refuseDemo keeps a log that was tried out with Dev from the public while its
// demonstration secrets work: everybody knows them.
func (s *Server) refuseDemo(ctx context.Context) error {
	issuer, err := url.Parse(s.cfg.Settings.Issuer)
	if err != nil || s.cfg.Dev || loopback(s.cfg.Public.Listen) && config.IsLoopback(issuer.Hostname()) {
		return err
	}
	names, err := s.api.DemoInForce(ctx)
	if err != nil {
		return fmt.Errorf("looking for the demonstration: %w", err)
	}
	if len(names) > 0 {
		return fmt.Errorf("refused, because the log has demonstration secrets that everybody knows: start on loopback, with a loopback issuer, and disable %s, or use other data",
			strings.Join(names, ", "))
	}
	return nil
}

// demonstrate registers the demonstration clients and user and prints the
// banner and the tour. The admin key is in it: on loopback, for this once.
func (s *Server) demonstrate(ctx context.Context, adminKey secret.Secret) error {
	if err := s.api.SeedDemo(ctx); err != nil {
		return fmt.Errorf("the demonstration: %w", err)
	}
	if s.cfg.Out == nil {
		return nil
	}
	text, err := template.New("tour").Parse(tourText)
	if err != nil {
		return fmt.Errorf("the tour: %w", err)
	}
	return text.Execute(s.cfg.Out, tour{
		Public: s.PublicURL(), Admin: s.AdminURL(), AdminKey: adminKey.Reveal(),
		ServiceSecret: authority.DemoServiceSecret, WebSecret: authority.DemoWebSecret,
		User: authority.DemoUser, Password: authority.DemoPassword, Redirect: authority.DemoRedirect,
		// RFC 7636, appendix B.
		Verifier:  "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
		Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
	})
}
