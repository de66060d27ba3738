// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"
)

const (
	deployment = "Deployment corepin-system/corepin-scheduler"
	daemons    = "DaemonSet corepin-system/corepin-agent"
	schedConf  = "ConfigMap corepin-system/corepin-scheduler-config"
	agentConf  = "ConfigMap corepin-system/corepin-agent-config"
)

func field(steps ...any) []any { return steps }

var container = field("spec", "template", "spec", "containers", 0)

// Every value has the effect that it names.
func TestValues(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for values, tc := range map[string]struct {
		object string
		path   []any
		want   any
	}{
		"image: {repository: registry.example/x, tag: v1}":  {deployment, append(container, "image"), "registry.example/x/corepin-scheduler:v1"},
		"image: {digests: {agent: '" + digest + "'}}":       {daemons, append(container, "image"), "corepin.dev/corepin-agent:dev@" + digest},
		"scheduler: {kubernetes: '1.35'}":                   {deployment, append(container, "image"), "corepin.dev/corepin-scheduler:dev-k1.35"},
		"image: {pullPolicy: Always}":                       {daemons, append(container, "imagePullPolicy"), "Always"},
		"image: {pullSecrets: [a]}":                         {deployment, field("spec", "template", "spec", "imagePullSecrets", 0, "name"), "a"},
		"scheduler: {replicas: 3}":                          {deployment, field("spec", "replicas"), 3.0},
		"scheduler: {verbosity: 4}":                         {deployment, append(container, "args", 2), "--v=4"},
		"scheduler: {resources: {requests: {cpu: 1}}}":      {deployment, append(container, "resources", "requests", "cpu"), 1.0},
		"scheduler: {nodeSelector: {a: b}}":                 {deployment, field("spec", "template", "spec", "nodeSelector"), object{"a": "b", "kubernetes.io/os": "linux"}},
		"scheduler: {tolerations: [{operator: Exists}]}":    {deployment, field("spec", "template", "spec", "tolerations"), []any{object{"operator": "Exists"}}},
		"scheduler: {priorityClassName: p}":                 {deployment, field("spec", "template", "spec", "priorityClassName"), "p"},
		"scheduler: {podAnnotations: {a: b}}":               {deployment, field("spec", "template", "metadata", "annotations", "a"), "b"},
		"agent: {appArmorProfile: p}":                       {daemons, field("spec", "template", "spec", "securityContext", "appArmorProfile"), object{"type": "Localhost", "localhostProfile": "p"}},
		"scheduler: {appArmorProfile: p}":                   {deployment, field("spec", "template", "spec", "securityContext", "appArmorProfile", "localhostProfile"), "p"},
		"agent: {kubeletRootDir: /data/kubelet}":            {daemons, append(container, "volumeMounts", 1, "mountPath"), "/data/kubelet"},
		"agent: {verbosity: 3}":                             {daemons, append(container, "args", 2), "--v=3"},
		"agent: {resources: {limits: {memory: 256Mi}}}":     {daemons, append(container, "resources", "requests", "memory"), "64Mi"},
		"monitoring: {enabled: true, labels: {release: p}}": {"PodMonitor corepin-system/corepin-agent", field("metadata", "labels", "release"), "p"},
		"networkPolicy: {enabled: true, prometheusNamespace: p}": {"NetworkPolicy corepin-system/corepin-agent",
			field("spec", "ingress", 0, "from", 0, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name"), "p"},
	} {
		all := chartObjects(t, "corepin-system", values)
		if got := dig(all[tc.object], tc.path...); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %s has %v at %v, want %v", values, tc.object, got, tc.path, tc.want)
		}
	}
}

// configuration is the file in a ConfigMap.
func configuration(t *testing.T, all map[string]object, name string) object {
	t.Helper()
	text, _ := dig(all[name], "data", "config.yaml").(string)
	var decoded object
	if err := yaml.Unmarshal([]byte(text), &decoded); err != nil || decoded == nil {
		t.Fatalf("%s has the configuration %q, %v", name, text, err)
	}
	return decoded
}

func TestConfiguration(t *testing.T) {
	all := chartObjects(t, "corepin-system", "scheduler: {args: {strictness: Strict}, singleProcess: true}\nagent: {kubeletRootDir: /data/kubelet, config: {labels: {overrideKubeVirt: true}}}")
	scheduler := configuration(t, all, schedConf)
	for i := range 2 {
		if got := dig(scheduler, "profiles", i, "pluginConfig", 0, "args", "strictness"); got != "Strict" {
			t.Errorf("strictness of profile %d is %v", i, got)
		}
	}
	agent := configuration(t, all, agentConf)
	for want, at := range map[any][]any{
		"/data/kubelet": field("kubeletRootDir"), true: field("labels", "overrideKubeVirt"), "enforce": field("pinning", "mode"),
	} {
		if got := dig(agent, at...); got != want {
			t.Errorf("%v of the agent is %v, want %v", at, got, want)
		}
	}
	kept := configuration(t, chartObjects(t, "corepin-system", "scheduler: {args: {strictness: Strict}}"), schedConf)
	if got := dig(kept, "profiles", 0, "pluginConfig", 0, "args", "scoringStrategy"); got != "LeastFragmentation" {
		t.Errorf("with another argument set, scoringStrategy is %v", got)
	}
}

// A changed configuration rolls the pods of whoever reads it.
func TestConfigurationRollsThePods(t *testing.T) {
	at := field("spec", "template", "metadata", "annotations", "checksum/config")
	before := chartObjects(t, "corepin-system", "")
	after := chartObjects(t, "corepin-system", "agent: {config: {pinning: {mode: observe}}}")
	if a, b := dig(before[daemons], at...), dig(after[daemons], at...); a == b || a == nil {
		t.Errorf("the agents' checksum is %v, and %v with another configuration", a, b)
	}
	if a, b := dig(before[deployment], at...), dig(after[deployment], at...); a != b {
		t.Errorf("the schedulers' checksum is %v, and %v with another configuration of the agents", a, b)
	}
}

func TestAnotherNamespaceIsUsedEverywhere(t *testing.T) {
	files, err := render(chartDir, "elsewhere", chartutil.Values{"monitoring": object{"enabled": true}, "networkPolicy": object{"enabled": true}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if strings.Contains(text, "corepin-system") {
			t.Errorf("%s names corepin-system", name)
		}
	}
}

func TestPoliciesCanBeLeftOut(t *testing.T) {
	// Two are about VMs. The others hold the agents and the scheduler to what they write, and stay.
	for values, want := range map[string]int{"": 4, "admission: {refuse: false}": 3, "admission: {refuse: false, warn: false}": 2} {
		n := 0
		for key := range chartObjects(t, "corepin-system", values) {
			if strings.HasPrefix(key, "ValidatingAdmissionPolicy ") {
				n++
			}
		}
		if n != want {
			t.Errorf("with %q there are %d policies, want %d", values, n, want)
		}
	}
}

// A value that is misspelled, or that the programs would refuse, is refused before anything is installed.
func TestSchemaRefuses(t *testing.T) {
	for _, values := range []string{
		"schedular: {}", "scheduler: {replicas: 0}", "scheduler: {replicas: two}", "scheduler: {args: {strictness: Lax}}",
		"scheduler: {args: {strictnes: Strict}}", "scheduler: {kubernetes: 1.35}", "scheduler: {kubernetes: v1.35.4}", "image: {digests: {agent: abc}}", "agent: {kubeletRootDir: var/lib}",
		"monitoring: {runbookURL: runbooks}", "image: {pullPolicy: Sometimes}", "agent: {appArmorProfile: 'a b'}", "uninstall: {takeBackLabels: 'yes'}",
	} {
		parsed, err := chartutil.ReadValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := render(chartDir, "corepin-system", parsed); err == nil {
			t.Errorf("%s: accepted", values)
		}
	}
}

func TestUninstallTakesLabelsBackFirst(t *testing.T) {
	files, err := render(chartDir, "corepin-system", chartutil.Values{})
	if err != nil {
		t.Fatal(err)
	}
	text := files["corepin/templates/uninstall.yaml"]
	if strings.Count(text, "helm.sh/hook: pre-delete") != strings.Count(text, "\nkind: ") || !strings.Contains(text, "args: [take-back-labels, --namespace=corepin-system]") {
		t.Errorf("not every object is a hook, or the Job does not take labels back:\n%s", text)
	}
	without, err := render(chartDir, "corepin-system", chartutil.Values{"uninstall": object{"takeBackLabels": false}})
	if err != nil || without["corepin/templates/uninstall.yaml"] != "" {
		t.Errorf("the hook is there although it is not wanted (%v)", err)
	}
}

// The chart of a release names its images by tag and digest, until the user names a tag.
func TestDigestsOfARelease(t *testing.T) {
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	c.Metadata.AppVersion = "v1.2.3"
	c.Metadata.Annotations = map[string]string{"corepin.dev/agent-digest": "sha256:abc"}
	for want, values := range map[string]chartutil.Values{
		"image: corepin.dev/corepin-agent:v1.2.3@sha256:abc\n": {},
		"image: here/corepin-agent:v1.2.3@sha256:abc\n":        {"image": object{"repository": "here"}},
		"image: corepin.dev/corepin-agent:v9\n":                {"image": object{"tag": "v9"}},
	} {
		files, err := renderChart(c, "corepin-system", values)
		if err != nil {
			t.Fatal(err)
		}
		// The agents, what helm test runs, and what helm uninstall runs.
		for _, name := range []string{"agent.yaml", "tests/installation.yaml", "uninstall.yaml"} {
			if !strings.Contains(files["corepin/templates/"+name], want) {
				t.Errorf("%s lacks %q with %v", name, want, values)
			}
		}
		if text := files["corepin/templates/scheduler.yaml"]; strings.Contains(text, "@") {
			t.Errorf("the scheduler has a digest that nobody gave:\n%s", text)
		}
	}
}

// The chart of a release runs the newest scheduler that is not newer than the API server, until the user names one.
func TestSchedulerOfTheClustersMinor(t *testing.T) {
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	c.Metadata.AppVersion = "v1.2.3"
	c.Metadata.Annotations = map[string]string{"corepin.dev/agent-digest": "sha256:a",
		"corepin.dev/scheduler-k1.35-digest": "sha256:5", "corepin.dev/scheduler-k1.36-digest": "sha256:6"}
	for _, test := range []struct {
		minor, want string
		values      chartutil.Values
	}{
		{"35", "corepin.dev/corepin-scheduler:v1.2.3-k1.35@sha256:5\n", nil},
		{"36+", "corepin.dev/corepin-scheduler:v1.2.3-k1.36@sha256:6\n", nil},
		{"38", "corepin.dev/corepin-scheduler:v1.2.3-k1.36@sha256:6\n", nil},
		{"36", "corepin.dev/corepin-scheduler:v1.2.3-k1.35@sha256:5\n", chartutil.Values{"scheduler": object{"kubernetes": "1.35"}}},
		{"36", "corepin.dev/corepin-scheduler:v9-k1.36\n", chartutil.Values{"image": object{"tag": "v9"}}},
	} {
		server := chartutil.DefaultCapabilities.Copy()
		server.KubeVersion = chartutil.KubeVersion{Version: "v1." + strings.TrimSuffix(test.minor, "+") + ".0", Major: "1", Minor: test.minor}
		files, err := renderFor(c, "corepin-system", test.values, server)
		if err != nil {
			t.Fatal(err)
		}
		if text := files["corepin/templates/scheduler.yaml"]; !strings.Contains(text, "image: "+test.want) {
			t.Errorf("on 1.%s with %v the scheduler's image is not %s in\n%s", test.minor, test.values, test.want, text)
		}
	}
}

// helm test asks with rights that come and go with it, for the Lease of the scheduler that there is.
func TestTheTestIsAHook(t *testing.T) {
	for values, lease := range map[string]string{"": "corepin-system/corepin-scheduler", "scheduler: {singleProcess: true}": "kube-system/kube-scheduler"} {
		parsed, err := chartutil.ReadValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		files, err := render(chartDir, "corepin-system", parsed)
		if err != nil {
			t.Fatal(err)
		}
		text := files["corepin/templates/tests/installation.yaml"]
		if n := strings.Count(text, "helm.sh/hook: test"); n != strings.Count(text, "\nkind: ") || n != strings.Count(text, "hook-delete-policy: before-hook-creation,hook-succeeded") {
			t.Errorf("not every object is a hook that goes when it has succeeded:\n%s", text)
		}
		if !strings.Contains(text, "- --lease="+lease+"\n") {
			t.Errorf("with %q it does not ask for Lease %s:\n%s", values, lease, text)
		}
	}
}
