package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// A metricSeen is what a scrape has of one metric: its help, and the values of each
// of its labels.
type metricSeen struct {
	help   string
	labels map[string]map[string]bool
}

var (
	sampleLine = regexp.MustCompile(`^(chancery_\w+)(?:\{(.*)\})? \S+$`)
	labelPair  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
	ofSeries   = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// readMetrics reads the text format. Series of a histogram count as it and as
// themselves.
func readMetrics(text string) map[string]*metricSeen {
	seen := map[string]*metricSeen{}
	at := func(name string) *metricSeen {
		if seen[name] == nil {
			seen[name] = &metricSeen{labels: map[string]map[string]bool{}}
		}
		return seen[name]
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if about, ok := strings.CutPrefix(line, "# HELP chancery_"); ok {
			name, help, _ := strings.Cut(about, " ")
			at("chancery_" + name).help = help
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for _, name := range []string{m[1], ofSeries.ReplaceAllString(m[1], "")} {
			s := at(name)
			for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
				if s.labels[pair[1]] == nil {
					s.labels[pair[1]] = map[string]bool{}
				}
				s.labels[pair[1]][pair[2]] = true
			}
		}
	}
	return seen
}

// tokens asks the demonstration's service for tokens, rightly and wrongly.
func tokens(t *testing.T, s *Server) {
	t.Helper()
	for _, password := range []string{"demo-service-secret", "wrong"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.PublicURL()+"/oauth2/token",
			strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("demo-service", password)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[password != "wrong"]; answer.StatusCode != want {
			t.Fatalf("token: %d, want %d", answer.StatusCode, want)
		}
	}
}

// rebuild begins to build a read model beside the live one.
func rebuild(t *testing.T, s *Server, key secret.Secret) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.AdminURL()+"/admin/v1/projections/MAIN_EVENTS_0/rebuild", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+key.Reveal())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("rebuild: %d", answer.StatusCode)
	}
}

// everyMetric is what a process exports once everything has happened to it that is
// counted only then.
func everyMetric(t *testing.T) map[string]*metricSeen {
	t.Helper()
	c := local(All, t.TempDir())
	c.Dev, c.Keys.AdminKey = true, secret.New("the-admin-key")
	s := start(t, c)
	tokens(t, s)
	rebuild(t, s, c.Keys.AdminKey)
	var seen map[string]*metricSeen
	embeddedtest.Eventually(t, "all to be folded and signed", func() bool {
		status, body := get(t, s.AdminURL()+"/metrics", noKey)
		if status != http.StatusOK {
			t.Fatalf("metrics: %d %s", status, body)
		}
		seen = readMetrics(body)
		folded := seen["chancery_projector_folded_events_total"]
		return folded != nil && len(folded.labels["model"]) == 3 && seen["chancery_projector_rebuild_position"] != nil
	})
	return seen
}

// TestDashboards holds all that is said about metrics against what is exported:
// the queries of dashboards and alerts, and the table of the README.
func TestDashboards(t *testing.T) {
	t.Parallel()
	seen := everyMetric(t)
	for where, query := range queries(t) {
		for _, wrong := range wrongIn(query, seen) {
			t.Errorf("%s: %s in %s", where, wrong, query)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		m := seen[name]
		if ofSeries.MatchString(name) && seen[ofSeries.ReplaceAllString(name, "")].help != "" {
			continue // a series of a histogram
		}
		delete(m.labels, "le")
		row := fmt.Sprintf("| `%s` | %s | %s |", name, strings.Join(slices.Sorted(maps.Keys(m.labels)), ", "), m.help)
		if m.help == "" || !strings.Contains(string(readme), row+"\n") {
			t.Errorf("the README lacks\n%s", row)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(chancery_\\w+)`").FindAllStringSubmatch(string(readme), -1) {
		if seen[m[1]] == nil {
			t.Errorf("the README has %s, which is not exported", m[1])
		}
	}
}

var (
	ofChancery = regexp.MustCompile(`(chancery_\w+)(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
)

// wrongIn is what a query names that there is not: metrics, their labels, or values
// that a label is compared with.
func wrongIn(query string, seen map[string]*metricSeen) (wrong []string) {
	known := map[string]bool{"instance": true, "job": true, "le": true}
	for _, m := range ofChancery.FindAllStringSubmatch(query, -1) {
		s := seen[m[1]]
		if s == nil {
			wrong = append(wrong, "no metric "+m[1])
			continue
		}
		for label := range s.labels {
			known[label] = true
		}
		for _, by := range matcher.FindAllStringSubmatch(m[2], -1) {
			label, how, value := by[1], by[2], by[3]
			switch {
			case label == "instance":
			case s.labels[label] == nil:
				wrong = append(wrong, "no label "+label)
			case how == "=" && label != "status" && !s.labels[label][value]:
				wrong = append(wrong, "no value "+value)
			}
		}
	}
	for _, by := range grouping.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(by[1], ",") {
			if label = strings.TrimSpace(label); !known[label] {
				wrong = append(wrong, "no label "+label)
			}
		}
	}
	return wrong
}

// queries are all of the dashboards and alerts, by where they are.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	paths, err := filepath.Glob("../compose/grafana/dashboards/*.json")
	if err != nil || len(paths) != 2 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		maps.Copy(all, queriesOfDashboard(t, path))
	}
	text, err := os.ReadFile("../compose/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var alerts struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &alerts); err != nil {
		t.Fatal(err)
	}
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			if r.Expr == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %s does not say all that it must", r.Alert)
			}
			all["alert "+r.Alert] = r.Expr
		}
	}
	if len(all) < 50 {
		t.Fatalf("only %d queries were found", len(all))
	}
	return all
}

// queriesOfDashboard expects each panel to say what to do.
func queriesOfDashboard(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID, Title string
		Panels     []struct {
			ID                       int
			Type, Title, Description string
			Targets                  []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	all, ids := map[string]string{}, map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: two panels have the id %d", d.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("%s: %s says nothing", d.Title, p.Title)
		}
		for _, q := range p.Targets {
			all[d.Title+", "+p.Title+", "+q.RefID] = q.Expr
		}
	}
	return all
}

// TestMetricsKey lets read the metrics who may.
func TestMetricsKey(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	key := secret.New("the-metrics-key")
	none, keyed := projectorOn(node, t.TempDir()), projectorOn(node, t.TempDir())
	none.Metrics.NoMetrics = true
	keyed.Metrics.MetricsKey, keyed.Keys.AdminKey = key, secret.New("the-admin-key")
	withNone, withKey := start(t, none), start(t, keyed)
	for _, test := range []struct {
		of     *Server
		key    secret.Secret
		status int
	}{
		{withNone, noKey, http.StatusNotFound},
		{withKey, noKey, http.StatusUnauthorized},
		{withKey, keyed.Keys.AdminKey, http.StatusUnauthorized},
		{withKey, key, http.StatusOK},
	} {
		status, body := get(t, test.of.AdminURL()+"/metrics", test.key)
		if status != test.status {
			t.Errorf("metrics: %d, want %d", status, test.status)
		}
		if status == http.StatusOK && (!strings.Contains(body, "chancery_projector_serving") || !strings.Contains(body, "chancery_log_durable 0")) {
			t.Errorf("metrics of a projector: %s", body)
		}
	}
}
