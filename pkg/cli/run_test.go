// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
)

// run runs a command with this on its standard input, and no files.
func run(t testing.TB, input string, args ...string) (code int, out, errs string) {
	t.Helper()
	return runIn(t, fstest.MapFS{}, Cluster{}, input, args...)
}

// noon is when the tests run commands.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func runIn(t testing.TB, files fstest.MapFS, cluster Cluster, input string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(t.Context(), Host{Now: func() time.Time { return noon }, In: strings.NewReader(input), Out: &o, Err: &e, Open: files.Open, Connection: connection(),
		Cluster: func(context.Context) (Cluster, error) { return cluster, nil }}, args)
	return code, o.String(), e.String()
}

// connection are some of kubectl's flags.
func connection() *pflag.FlagSet {
	flags := pflag.NewFlagSet("connection", pflag.ContinueOnError)
	flags.String("kubeconfig", "", "")
	flags.String("context", "", "")
	flags.String("as", "", "")
	return flags
}

// reportOf is a node with 2 reserved CPUs on the first core, and nothing granted but what is given.
func reportOf(t testing.TB, name, machine, policy string, granted map[types.UID]map[string]cpuset.Set) v1alpha1.NodeCPU {
	t.Helper()
	topology := cputopology.MustParse(machine)
	nc := v1alpha1.NodeCPU{TypeMeta: reportKind, ObjectMeta: metav1.ObjectMeta{Name: name}}
	nc.Status = v1alpha1.NodeCPUStatus{Format: v1alpha1.FormatVersion, KubeletVersion: "v1.36.3",
		CPUManager:      v1alpha1.CPUManager{Policy: "static"},
		TopologyManager: v1alpha1.TopologyManager{Policy: policy, Scope: "container"},
		ReservedCPUs:    topology.Cores()[0].CPUs.String()}
	nodereport.SetTopology(&nc.Status, topology)
	nodereport.SetGranted(&nc.Status, granted)
	shared := topology.CPUs()
	for _, containers := range granted {
		for _, cpus := range containers {
			shared = shared.Minus(cpus)
		}
	}
	nc.Status.SharedCPUs = shared.String()
	return nc
}

// podAsking is a pod with one container for each amount of CPU, bound to node if that is not "".
func podAsking(name, node string, amounts ...string) corev1.Pod {
	pod := corev1.Pod{TypeMeta: podKind, ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	pod.Spec.NodeName = node
	for i, amount := range amounts {
		limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(amount), corev1.ResourceMemory: resource.MustParse("1Gi")}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("c%d", i), Resources: corev1.ResourceRequirements{Limits: limits, Requests: limits}})
	}
	return pod
}

// stream writes objects as JSON, an object a line.
func stream(t testing.TB, objects ...any) string {
	t.Helper()
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	for _, o := range objects {
		if err := encoder.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

const eightCores = "1 sockets x 1 numa x 8 cores x 2 threads" // core 0 is reserved: 0,8

func TestArrival(t *testing.T) {
	gpu := podAsking("gpu", "", "2")
	gpu.Spec.Containers[0].Resources.Limits["example.com/gpu"] = resource.MustParse("1")
	kvm := podAsking("kvm", "", "2")
	kvm.Spec.Containers[0].Resources.Limits["devices.kubevirt.io/kvm"] = resource.MustParse("1")
	limited := podAsking("limited", "", "4")
	limited.Spec.Containers[0].Resources.Requests = nil
	vm := podAsking("vm", "", "2", "100m")
	vm.Labels, vm.Spec.NodeSelector = map[string]string{"kubevirt.io": "virt-launcher"}, map[string]string{"cpumanager": "true"}
	delete(vm.Spec.Containers[1].Resources.Limits, corev1.ResourceMemory)
	held := map[types.UID]map[string]cpuset.Set{"here": {"c0": cpuset.Of(1, 9)}}
	whole := podAsking("whole", "", "2", "1")
	whole.Labels, whole.Spec.NodeSelector = vm.Labels, vm.Spec.NodeSelector
	mirror := podAsking("mirror", "n1", "2")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "here"}
	for name, test := range map[string]struct {
		granted map[types.UID]map[string]cpuset.Set
		pods    []corev1.Pod
		want    string // node and CPUs of each pod, or the reason
	}{
		"one after the other":               {nil, []corev1.Pod{podAsking("a", "", "4"), podAsking("b", "", "4")}, "n1[c0=1-2,9-10] n1[c0=3-4,11-12]"},
		"the second has no room":            {nil, []corev1.Pod{podAsking("a", "n1", "12"), podAsking("b", "n1", "4")}, "n1[c0=1-6,9-14] TopologyAffinityError"},
		"the second goes to the next node":  {nil, []corev1.Pod{podAsking("a", "", "12"), podAsking("b", "", "4")}, "n1[c0=1-6,9-14] n2[c0=1-2,9-10]"},
		"a refused pod holds nothing":       {nil, []corev1.Pod{podAsking("a", "", "12", "4"), podAsking("b", "", "14")}, "TopologyAffinityError n1[c0=1-7,9-15]"},
		"no exclusive CPUs":                 {nil, []corev1.Pod{podAsking("a", "", "500m")}, "n1[]"},
		"a limit is a request too":          {nil, []corev1.Pod{limited}, "n1[c0=1-2,9-10]"},
		"a device with a NUMA node":         {nil, []corev1.Pod{gpu}, "NotExact"},
		"a device without":                  {nil, []corev1.Pod{kvm}, "n1[c0=1,9]"},
		"a launcher that is not guaranteed": {nil, []corev1.Pod{vm}, "n1[] container \"c1\" has no memory limit"},
		"a launcher with CPUs beside":       {nil, []corev1.Pod{whole}, "n1[c0=1,9 c1=2] container \"c1\" asks for a whole number of CPUs"},
		"a static pod is there already":     {held, []corev1.Pod{mirror}, "n1[c0=1,9] it has them already"},
		"it is there already":               {held, []corev1.Pod{podAsking("here", "n1", "2"), podAsking("b", "n1", "2")}, "n1[c0=1,9] it has them already n1[c0=2,10]"},
		"it is there by half":               {held, []corev1.Pod{podAsking("here", "n1", "2", "4"), podAsking("b", "n1", "2")}, "n1[c0=1,9 c1=2-3,10-11] n1[c0=4,12]"},
		"nobody knows who is there":         {held, []corev1.Pod{podAsking("b", "n1", "2")}, "n1[c0=2,10]"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []any{reportOf(t, "n1", eightCores, "restricted", test.granted), reportOf(t, "n2", eightCores, "restricted", nil)}
			for _, pod := range test.pods {
				objects = append(objects, pod)
			}
			code, out, errs := run(t, stream(t, objects...), "fit", "-f", "-", "-o", "json")
			if got := brief(t, out); !strings.HasPrefix(got, test.want) || errs != "" {
				t.Errorf("got %q, want %q; error %q", got, test.want, errs)
			}
			if want := map[bool]int{true: exitRefused, false: exitOK}[strings.Contains(out, `"admitted":false`)]; code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
		})
	}
}

// brief gives the node and CPUs of each pod, or the reason why it has none, and the message of an admitted
// one.
func brief(t *testing.T, out string) string {
	t.Helper()
	var parts []string
	for _, l := range linesOf(t, out) {
		if !l.Admitted {
			parts = append(parts, l.Reason)
			continue
		}
		cpus := strings.ReplaceAll(strings.TrimPrefix(fmt.Sprint(l.CPUs), "map"), ":", "=")
		parts = append(parts, strings.TrimSpace(l.Node+cpus+" "+l.Message))
	}
	return strings.Join(parts, " ")
}

// linesOf reads what fit -o json has written.
func linesOf(t *testing.T, out string) (lines []fitLine) {
	t.Helper()
	for text := range strings.Lines(out) {
		var line fitLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestNodesFromTheCluster(t *testing.T) {
	now := metav1.Unix(1000, 0)
	granted := map[types.UID]map[string]cpuset.Set{"old": {"c0": cpuset.Of(1, 9)}}
	coming, ended := podAsking("coming", "n1", "4"), podAsking("ended", "n1", "8")
	coming.CreationTimestamp, ended.Status.Phase = now, corev1.PodFailed
	unread := reportOf(t, "n0", eightCores, "restricted", nil)
	unread.Status.CPUManager.Policy = ""
	cluster := Cluster{
		Reports: []v1alpha1.NodeCPU{unread, reportOf(t, "n1", eightCores, "restricted", granted)},
		Pods:    []corev1.Pod{coming, podAsking("old", "n1", "2"), ended},
	}
	code, out, errs := runIn(t, nil, cluster, stream(t, podAsking("new", "", "8")), "fit", "-f", "-")
	want := `new: admitted by n1: c0 4-7,12-15

n1
s0 n0  RR AA BB BB CC CC CC CC
R reserved  A old  B coming (in flight)  C new  . shared pool
`
	if code != exitOK || out != want || errs != "" {
		t.Errorf("exit code %d, error %q, got\n%s\nwant\n%s", code, errs, out, want)
	}
	code, out, errs = runIn(t, nil, cluster, "", "nodes")
	for _, part := range []string{"n0\ncpuManager.policy is empty", "A old  B coming (in flight)  . shared pool"} {
		if code != exitOK || !strings.Contains(out, part) || errs != "" {
			t.Errorf("exit code %d, error %q, want %q in\n%s", code, errs, part, out)
		}
	}
	code, _, errs = runIn(t, nil, Cluster{}, "", "nodes")
	if code != exitError || !strings.Contains(errs, "is corepin-agent running") {
		t.Errorf("without reports: exit code %d, error %q", code, errs)
	}
}

func TestFolders(t *testing.T) {
	vm := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: fmt.Appendf(nil, "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\n"+
			"metadata: {name: %s}\nspec: {domain: {cpu: {cores: 1}, memory: {guest: 1Gi}}}\n", name)}
	}
	files := fstest.MapFS{"d/b.yaml": vm("b"), "d/a.yml": vm("a"), "d/notes.txt": vm("no"), "d/sub/c.json": vm("c"), "e/notes.txt": vm("named")}
	for _, test := range []struct {
		args []string
		want string // the names, or the error
	}{
		{[]string{"-f", "d"}, "a b "},
		{[]string{"-R", "-f", "d"}, "a b c "},
		{[]string{"-f", "e/notes.txt", "d/b.yaml"}, "named b "},
		{[]string{"-f", "e"}, "error: reading input: there is no object in e\n"},
		{[]string{"-f", "-", "-f", "-"}, "error: standard input can be read once only; name - once\n"},
		{nil, "error: nothing to read: name files or folders with -f, or - for standard input\n"},
	} {
		_, out, got := runIn(t, files, Cluster{}, "", append([]string{"check", "-o", "json"}, test.args...)...)
		for line := range strings.Lines(out) {
			var v checked
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatal(err)
			}
			got += v.Name + " "
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.args, got, test.want)
		}
	}
}

// broken is a stream that nothing can be written to.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestAnswersThatCannotBeWritten(t *testing.T) {
	var errs bytes.Buffer
	input := stream(t, reportOf(t, "n1", eightCores, "restricted", nil), podAsking("a", "", "2"))
	code := Run(t.Context(), Host{In: strings.NewReader(input), Out: broken{}, Err: &errs}, []string{"fit", "-f", "-"})
	if code != exitError || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("exit code %d, error %q", code, errs.String())
	}
}
