package setup

import (
	"fmt"
	"strings"
	"text/template"
)

// accounts is the part of a NATS server's configuration that says who may do
// what. Nobody else is let in.
type accounts struct {
	Log, System []user
	// RoutePassword keeps others than servers of the cluster from its routes,
	// where nobody's permissions are asked for.
	RoutePassword string
	// Routes are the addresses of those servers.
	Routes []string
}

// A server's configuration includes it, and uses $route_password and $routes.
var accountsConf = template.Must(template.New("accounts").Funcs(template.FuncMap{"subjects": subjects}).Parse(
	`# Written by "chancery setup secrets", and written again by it.
accounts {
  CHANCERY {
    jetstream: enabled
    users: [
{{- range .Log}}{{template "user" .}}{{end}}
    ]
  }
  SYSTEM {
    users: [
{{- range .System}}{{template "user" .}}{{end}}
    ]
  }
}
system_account: SYSTEM
{{- if .Routes}}
route_password: "{{.RoutePassword}}"
routes: [
{{- range .Routes}}
  "nats-route://route:{{$.RoutePassword}}@{{.}}"
{{- end}}
]
{{- end}}
{{define "user"}}
      # {{.Role}}
      {
        nkey: {{.Public}}
        permissions {
          publish {{subjects .Publish}}
          subscribe {{subjects .Subscribe}}
        }
      }
{{- end}}`))

func (a accounts) String() string {
	var text strings.Builder
	if err := accountsConf.Execute(&text, a); err != nil {
		panic(err) // of a template that every test executes
	}
	return text.String()
}

// subjects is a permission as nats-server reads it.
func subjects(p permission) string {
	var b strings.Builder
	b.WriteString("{\n")
	for _, l := range []struct {
		verb     string
		subjects []string
	}{{"allow", p.allow}, {"deny", p.deny}} {
		if len(l.subjects) == 0 {
			continue
		}
		fmt.Fprintf(&b, "            %s: [\n", l.verb)
		for _, s := range l.subjects {
			fmt.Fprintf(&b, "              %q\n", s)
		}
		b.WriteString("            ]\n")
	}
	b.WriteString("          }")
	return b.String()
}
