package main

import (
	"errors"
	"io"
	"maps"
	"path"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The parts of Kubernetes' objects that the README's example uses. What is
// misspelt there is no field here.
type (
	object struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   metadata
		Data       map[string]string
		Spec       spec
	}
	metadata struct {
		Name   string
		Labels map[string]string
	}
	spec struct {
		// Of workloads.
		ServiceName          string `yaml:"serviceName"`
		Replicas             int
		PodManagementPolicy  string `yaml:"podManagementPolicy"`
		Strategy             any
		Selector             map[string]any
		Template             template
		VolumeClaimTemplates []struct {
			Metadata metadata
			Spec     any
		} `yaml:"volumeClaimTemplates"`
		// Of services.
		ClusterIP string `yaml:"clusterIP"`
		Ports     []struct {
			Name       string
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
		// Of disruption budgets.
		MinAvailable int `yaml:"minAvailable"`
	}
	template struct {
		Metadata metadata
		Spec     podSpec
	}
	podSpec struct {
		AutomountServiceAccountToken  bool           `yaml:"automountServiceAccountToken"`
		TerminationGracePeriodSeconds int            `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               map[string]any `yaml:"securityContext"`
		TopologySpreadConstraints     []any          `yaml:"topologySpreadConstraints"`
		Containers                    []container
		Volumes                       []struct {
			Name     string
			Secret   map[string]any
			EmptyDir any `yaml:"emptyDir"`
		}
	}
	container struct {
		Name, Image string
		Args        []string
		EnvFrom     []struct {
			ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
		} `yaml:"envFrom"`
		Env   []struct{ Name, Value string }
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		StartupProbe         probe `yaml:"startupProbe"`
		LivenessProbe        probe `yaml:"livenessProbe"`
		ReadinessProbe       probe `yaml:"readinessProbe"`
		Lifecycle, Resources any
		SecurityContext      map[string]any `yaml:"securityContext"`
		VolumeMounts         []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	probe struct {
		HTTPGet          struct{ Path, Port string } `yaml:"httpGet"`
		PeriodSeconds    int                         `yaml:"periodSeconds"`
		TimeoutSeconds   int                         `yaml:"timeoutSeconds"`
		FailureThreshold int                         `yaml:"failureThreshold"`
	}
)

func readObjects(t *testing.T) (all []object) {
	t.Helper()
	_, text, ok := strings.Cut(string(readRoot(t, "cmd/README.md")), "<!-- kubernetes: begin -->\n```yaml\n")
	text, _, closed := strings.Cut(text, "```\n<!-- kubernetes: end -->")
	if !ok || !closed {
		t.Fatal("the README has no example")
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	for {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
}

func TestKubernetesExample(t *testing.T) {
	objects := readObjects(t)
	settings, pods := map[string]map[string]string{}, map[string]container{}
	for _, o := range objects {
		if o.Kind == "ConfigMap" {
			settings[o.Metadata.Name] = o.Data
		}
		if o.Kind == "StatefulSet" || o.Kind == "Deployment" {
			app := o.Spec.Template.Metadata.Labels["app"]
			pods[app] = o.Spec.Template.Spec.Containers[0]
			if labels, _ := o.Spec.Selector["matchLabels"].(map[string]any); labels["app"] != app {
				t.Errorf("%s selects %v and makes %s", o.Metadata.Name, labels, app)
			}
		}
	}
	for _, o := range objects {
		switch o.Kind {
		case "ConfigMap":
		case "StatefulSet", "Deployment":
			checkPod(t, o, settings)
		case "Service":
			app, _ := o.Spec.Selector["app"].(string)
			for _, p := range o.Spec.Ports {
				if !pods[app].has(p.TargetPort) {
					t.Errorf("service %s: no port %q in pods %q", o.Metadata.Name, p.TargetPort, app)
				}
			}
		case "PodDisruptionBudget":
			labels, _ := o.Spec.Selector["matchLabels"].(map[string]any)
			if app, _ := labels["app"].(string); pods[app].Name == "" {
				t.Errorf("budget %s: no pods %v", o.Metadata.Name, labels)
			}
		default:
			t.Errorf("%s is not looked at", o.Kind)
		}
	}
}

func (c container) has(port string) bool {
	for _, p := range c.Ports {
		if p.Name == port {
			return true
		}
	}
	return false
}

// checkPod checks that the program can be run so, with files that are there.
func checkPod(t *testing.T, o object, settings map[string]map[string]string) {
	t.Helper()
	pod, name := o.Spec.Template.Spec, o.Metadata.Name
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, v := range o.Spec.VolumeClaimTemplates {
		volumes[v.Metadata.Name] = true
	}
	for _, c := range pod.Containers {
		env := map[string]string{}
		for _, from := range c.EnvFrom {
			maps.Copy(env, settings[from.ConfigMapRef.Name])
		}
		for _, e := range c.Env {
			env[e.Name] = e.Value
		}
		checkCall(t, name, c.Args, env)
		for probe, p := range map[string]probe{"/health/ready": c.ReadinessProbe, "/health/live": c.LivenessProbe} {
			if p.HTTPGet.Path != probe || p.HTTPGet.Port != "admin" || !c.has("admin") {
				t.Errorf("%s: asked for %+v", name, p.HTTPGet)
			}
		}
		if c.StartupProbe.HTTPGet != c.ReadinessProbe.HTTPGet {
			t.Errorf("%s: when it has started is asked at %+v", name, c.StartupProbe.HTTPGet)
		}
		mounted := map[string]bool{}
		for _, m := range c.VolumeMounts {
			mounted[m.MountPath] = true
			if !volumes[m.Name] {
				t.Errorf("%s: no volume %s", name, m.Name)
			}
		}
		for variable, value := range env {
			if strings.HasPrefix(value, "/") && !mounted[path.Dir(value)] {
				t.Errorf("%s: %s is in no volume", name, variable)
			}
		}
		if pod.SecurityContext["runAsNonRoot"] != true || c.SecurityContext["readOnlyRootFilesystem"] != true || pod.AutomountServiceAccountToken {
			t.Errorf("%s may do more than it needs", name)
		}
	}
}
