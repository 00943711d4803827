package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// root is the top of the repository.
const root = "../.."

// A composition is what is said of services in docker-compose.yml.
type composition struct {
	Services map[string]composedService
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
}

type composedService struct {
	Image       string
	Entrypoint  []string
	Command     []string
	User        string
	Environment map[string]string
	Volumes     []string
	Ports       []string
	Networks    []string
	NetworkMode string                                `yaml:"network_mode"`
	ReadOnly    bool                                  `yaml:"read_only"`
	CapDrop     []string                              `yaml:"cap_drop"`
	CapAdd      []string                              `yaml:"cap_add"`
	SecurityOpt []string                              `yaml:"security_opt"`
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Profiles    []string
	Restart     string
	Grace       string `yaml:"stop_grace_period"`
	Deploy      struct {
		Resources struct{ Limits map[string]any }
	}
	Healthcheck struct{ Test []string }
}

// defaulted is a variable of the shell that runs Compose, with its default.
var defaulted = regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`)

func readComposition(t *testing.T) composition {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var c composition
	if err := yaml.Unmarshal(defaulted.ReplaceAll(text, []byte("$1")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// ours reports whether the service runs the program.
func (s composedService) ours() bool { return strings.HasPrefix(s.Image, "chancery:") }

// once reports whether the service ends by itself, or is only called.
func (s composedService) once() bool { return s.Restart != "unless-stopped" }

func TestComposeServices(t *testing.T) {
	c := readComposition(t)
	for name, s := range c.Services {
		wrong := func(is bool, what string) {
			if is {
				t.Errorf("%s: %s", name, what)
			}
		}
		image, tag, _ := strings.Cut(s.Image, ":")
		wrong(image == "" || tag == "" || tag == "latest", "its image has no version: "+s.Image)
		wrong(!s.ReadOnly, "its root is not read-only")
		wrong(!slices.Equal(s.CapDrop, []string{"ALL"}), "it keeps capabilities")
		wrong(len(s.CapAdd) > 0 && name != "volumes", "it has capabilities")
		wrong(!slices.Contains(s.SecurityOpt, "no-new-privileges:true"), "it may gain privileges")
		wrong(strings.HasPrefix(s.User, "0") && name != "volumes", "it runs as root")
		wrong(s.ours() && s.User != "65532:65532", "it runs as another user than its files belong to")
		wrong(!s.once() && len(s.Healthcheck.Test) == 0, "nobody asks for its health")
		wrong(!s.once() && (s.Deploy.Resources.Limits["memory"] == nil || s.Deploy.Resources.Limits["cpus"] == nil), "it has no limits")
		for _, p := range s.Ports {
			wrong(!strings.HasPrefix(p, "127.0.0.1:"), "it is reached from elsewhere at "+p)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			wrong(!c.hasSource(source), "nothing is at "+source)
		}
		for on, d := range s.DependsOn {
			other, ok := c.Services[on]
			wrong(!ok, "it waits for "+on+", which is no service")
			wrong(d.Condition != "service_healthy" && d.Condition != "service_completed_successfully", "it waits for nothing of "+on)
			wrong((d.Condition == "service_healthy") == other.once(), "it waits for what "+on+" never is")
		}
		for _, n := range s.Networks {
			_, ok := c.Networks[n]
			wrong(!ok, "no network "+n)
		}
	}
	if !c.Networks["log"].Internal {
		t.Error("the log is reached from outside")
	}
}

// hasSource reports whether a volume has that name, or a file that path.
func (c composition) hasSource(source string) bool {
	if !strings.HasPrefix(source, ".") {
		_, ok := c.Volumes[source]
		return ok
	}
	_, err := os.Stat(filepath.Join(root, source))
	return err == nil
}

// Secrets are seen by those that they are for.
func TestComposeSecrets(t *testing.T) {
	for name, s := range readComposition(t).Services {
		if name == "volumes" || name == "secrets" {
			continue
		}
		for _, v := range s.Volumes {
			volume, path, _ := strings.Cut(v, ":")
			of, ok := strings.CutPrefix(volume, "secrets-")
			if ok && (!strings.HasSuffix(path, ":ro") || !strings.HasPrefix(name, of) && (name != "streams" || of != "operator")) {
				t.Errorf("%s has %s", name, v)
			}
		}
	}
}

// TestComposeDrains has a replica go on until the proxy, which asks every half
// second, has noticed, and has it killed no sooner than that and the ten seconds that
// stopping takes.
func TestComposeDrains(t *testing.T) {
	c := readComposition(t)
	for _, name := range []string{"api-1", "api-2"} {
		s := c.Services[name]
		delay, err := time.ParseDuration(s.Environment["CHANCERY_DRAIN_DELAY"])
		if err != nil || delay < time.Second {
			t.Errorf("%s goes on for %v: %v", name, delay, err)
		}
		if grace, err := time.ParseDuration(s.Grace); err != nil || grace < 10*time.Second+delay {
			t.Errorf("%s is killed after %v: %v", name, grace, err)
		}
	}
}

// Every argument and variable is one that the command knows, and what they say
// together can be run.
func TestComposeSettings(t *testing.T) {
	for name, s := range readComposition(t).Services {
		if !s.ours() || name == "operator" { // which gets its command when it is called
			continue
		}
		checkCall(t, name, s.Command, s.Environment)
		if len(s.Healthcheck.Test) > 0 {
			test := s.Healthcheck.Test
			if !slices.Equal(test[:2], []string{"CMD", "/chancery"}) {
				t.Errorf("%s: there is no %q in the image", name, test)
			}
			// It has the settings of the process, of which it needs few.
			parseCall(t, name, test[2:], s.Environment)
		}
	}
	operator := readComposition(t).Services["operator"]
	checkCall(t, "operator", []string{"client", "list"}, operator.Environment)
}

// checkCall parses a call by the grammar of the program and, if it runs a
// process, checks its configuration.
func checkCall(t *testing.T, name string, args []string, env map[string]string) {
	t.Helper()
	call, _ := parseCall(t, name, args, env)
	known := map[string]bool{}
	for _, f := range call.Flags() {
		known[variable(f.Name)] = isSetting(f)
	}
	for v := range env {
		if strings.HasPrefix(v, "CHANCERY_") && !known[v] {
			t.Errorf("%s: %s is no setting of %q", name, v, args)
		}
	}
	switch args[0] {
	case "serve", "api", "projector":
	default:
		return
	}
	var out bytes.Buffer
	call, set := parseCall(t, name, append(slices.Clone(args), "--print-config"), env)
	if err := call.Run(set, terminal{out: &out, err: io.Discard}); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

func parseCall(t *testing.T, name string, args []string, env map[string]string) (*kong.Context, *settings) {
	t.Helper()
	set := newSettings(func(v string) string { return env[v] })
	parser, err := newParser(&cli{}, set, io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	call, err := parser.Parse(args)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	call.BindTo(t.Context(), (*context.Context)(nil))
	return call, set
}

// What Prometheus scrapes and HAProxy shares requests among are services, at
// the ports where these listen.
func TestComposeAddresses(t *testing.T) {
	c := readComposition(t)
	ports := map[string][]string{}
	for name, s := range c.Services {
		for _, v := range []string{"CHANCERY_LISTEN", "CHANCERY_ADMIN_LISTEN"} {
			if _, port, err := net.SplitHostPort(s.Environment[v]); err == nil {
				ports[name] = append(ports[name], port)
			}
		}
	}
	var scraped struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(readRoot(t, "cmd/compose/prometheus/prometheus.yml"), &scraped); err != nil {
		t.Fatal(err)
	}
	proxy := string(readRoot(t, "cmd/compose/haproxy/haproxy.cfg"))
	targets := regexp.MustCompile(`(?m)^ *server \S+ (\S+)`).FindAllStringSubmatch(proxy, -1)
	var all []string
	for _, m := range targets {
		all = append(all, m[1])
	}
	for _, job := range scraped.ScrapeConfigs {
		for _, static := range job.StaticConfigs {
			all = append(all, static.Targets...)
		}
	}
	ports["haproxy"] = regexp.MustCompile(`(?m)^ *bind :(\d+)`).FindStringSubmatch(proxy)[1:]
	ports["haproxy"] = append(ports["haproxy"], "8405")
	found := map[string]bool{}
	for _, target := range all {
		host, port, err := net.SplitHostPort(target)
		if err != nil || !slices.Contains(ports[host], port) {
			t.Errorf("nothing listens at %s", target)
		}
		found[host] = true
	}
	for name, s := range c.Services {
		if s.ours() && !s.once() && !found[name] {
			t.Errorf("%s is not scraped", name)
		}
	}
}

func TestDockerfileToolchain(t *testing.T) {
	found := regexp.MustCompile(`golang:([0-9.]+)-`).FindSubmatch(readRoot(t, "cmd/chancery/Dockerfile"))
	if found == nil || !bytes.Contains(readRoot(t, "go.mod"), []byte("\ngo "+string(found[1])+"\n")) {
		t.Errorf("the Dockerfile has another Go than go.mod: %q", found)
	}
}

func readRoot(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
