// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// answers runs a command in a cluster with these Leases.
func answers(t *testing.T, cluster Cluster, leases map[string]*Lease, leaseErr error, args ...string) (code int, out string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(t.Context(), Host{Now: func() time.Time { return noon }, In: strings.NewReader(""), Out: &o, Err: &e, Open: fstest.MapFS{}.Open, Connection: connection(),
		Cluster: func(context.Context) (Cluster, error) { return cluster, nil },
		Lease: func(_ context.Context, namespace, name string) (*Lease, error) {
			return leases[namespace+"/"+name], leaseErr
		}}, args)
	return code, o.String() + e.String()
}

func lease(holder string, age time.Duration) *Lease {
	return &Lease{Holder: holder, Renewed: noon.Add(-age), Duration: 15 * time.Second, Now: noon}
}

func TestWhoPlacesThePod(t *testing.T) {
	cluster := func(scheduler string) Cluster {
		pod := podAsking("db", "", "2")
		pod.Spec.SchedulerName = scheduler
		return Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "restricted", nil)}, Pods: []corev1.Pod{pod}}
	}
	const own = "corepin-system/corepin-scheduler"
	const stock = "kube-system/kube-scheduler"
	for name, test := range map[string]struct {
		scheduler string
		leases    map[string]*Lease
		err       error
		flag      string
		code      int
		want      string // "" for nothing to say
	}{
		"somebody leads":    {"corepin", map[string]*Lease{own: lease("corepin-scheduler-a", 2*time.Second)}, nil, "", exitOK, ""},
		"nobody leads":      {"corepin", map[string]*Lease{own: lease("corepin-scheduler-a", 93*time.Second)}, nil, "", exitRefused, "Problem: no corepin-scheduler leads since 2026-11-30T11:58:42Z: Lease corepin-system/corepin-scheduler was last renewed 1m33s ago, by corepin-scheduler-a, so nobody places the pod, whatever room there is: kubectl get pods -n corepin-system.\n"},
		"nobody ever led":   {"corepin", nil, nil, "", exitRefused, "Problem: no corepin-scheduler leads: there is no Lease corepin-system/corepin-scheduler, so nobody places the pod"},
		"it was given up":   {"corepin", map[string]*Lease{own: lease("", time.Second)}, nil, "", exitRefused, "nobody holds Lease corepin-system/corepin-scheduler"},
		"a misspelt name":   {"corpin", map[string]*Lease{own: lease("corepin-scheduler-a", 0)}, nil, "", exitRefused, `Problem: no corepin-scheduler is known by schedulerName "corpin" (known: corepin); unless another scheduler has that name, nobody places the pod.`},
		"it is known":       {"corpin", map[string]*Lease{"x/y": lease("z", 0)}, nil, "corpin=x/y", exitOK, ""},
		"no name":           {"", map[string]*Lease{own: lease("corepin-scheduler-a", 0)}, nil, "", exitOK, "Note: the pod names no scheduler, so the cluster's own places it"},
		"in its place":      {"", map[string]*Lease{stock: lease("corepin-scheduler-a", 0)}, nil, "", exitOK, ""},
		"in its place too":  {"corepin", map[string]*Lease{stock: lease("corepin-scheduler-a", 0)}, nil, "", exitOK, ""},
		"not in its place":  {"corepin", map[string]*Lease{stock: lease("master-1", 0)}, nil, "", exitRefused, "there is no Lease corepin-system/corepin-scheduler"},
		"it cannot be read": {"corepin", nil, errors.New("forbidden"), "", exitOK, "Note: whether a corepin-scheduler leads is not known: forbidden.\n"},
		"a bad flag":        {"corepin", nil, nil, "corepin", exitError, `error: --scheduler is "corepin"; want NAME=NAMESPACE/LEASE`},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"explain", "pod", "db"}
			if test.flag != "" {
				args = append(args, "--scheduler", test.flag)
			}
			code, out := answers(t, cluster(test.scheduler), test.leases, test.err, args...)
			said := strings.HasPrefix(out, "Problem") || strings.HasPrefix(out, "Note")
			if code != test.code || !strings.Contains(out, test.want) || said != (test.want != "" && test.code != exitError) {
				t.Errorf("code %d, want %d; want %q in\n%s", code, test.code, test.want, out)
			}
		})
	}
}

// fit says it of each pod, and does not refuse for it: the kubelets would admit the pod.
func TestFitSaysThatNobodyLeads(t *testing.T) {
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "restricted", nil)}}
	pod := podAsking("db", "", "2")
	pod.Spec.SchedulerName = "corepin"
	input := fstest.MapFS{"pod.json": &fstest.MapFile{Data: []byte(stream(t, pod))}}
	for output, want := range map[string]string{
		"text": "db: problem: no corepin-scheduler leads: there is no Lease corepin-system/corepin-scheduler",
		"json": `"unplaced":"no corepin-scheduler leads: there is no Lease corepin-system/corepin-scheduler`,
	} {
		var o bytes.Buffer
		Run(t.Context(), Host{Now: func() time.Time { return noon }, In: strings.NewReader(""), Out: &o, Err: &o, Open: input.Open, Connection: connection(),
			Cluster: func(context.Context) (Cluster, error) { return cluster, nil },
			Lease:   func(context.Context, string, string) (*Lease, error) { return nil, nil }}, []string{"fit", "-f", "pod.json", "-o", output})
		if !strings.Contains(o.String(), want) {
			t.Errorf("want %q in\n%s", want, o.String())
		}
	}
}

// What is said of a node that is not heard from is said as of then.
func TestTextsOfASilentNode(t *testing.T) {
	vm := podAsking("launcher", "n1", "2")
	vm.Status.Phase = corev1.PodRunning
	vm.Spec.SchedulerName = "corepin"
	vm.Labels = map[string]string{"kubevirt.io": "virt-launcher"}
	vm.Annotations = map[string]string{"kubevirt.io/domain": "db"}
	vm.Spec.Containers[0].Name = "compute"
	vm.Spec.NodeSelector = map[string]string{"cpumanager": "true"}
	agent := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "corepin-system", Name: "corepin-agent-n1", UID: "a"}}
	waits := podAsking("waits", "", "2")
	waits.Spec.NodeSelector = vm.Spec.NodeSelector
	waits.Labels = vm.Labels
	waits.Spec.SchedulerName = "corepin"
	report := func(granted map[types.UID]map[string]cpuset.Set) v1alpha1.NodeCPU {
		nc := reportOf(t, "n1", eightCores, "restricted", granted)
		nc.Status.Agent = &v1alpha1.AgentPod{Namespace: agent.Namespace, Name: agent.Name, UID: agent.UID}
		nc.Status.Conditions = append(nc.Status.Conditions,
			metav1.Condition{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue},
			metav1.Condition{Type: v1alpha1.ConditionSeen, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour))})
		return nc
	}
	const since = "not heard from since 2026-11-30T11:00:00Z"
	leads := map[string]*Lease{"corepin-system/corepin-scheduler": lease("corepin-scheduler-a", 0)}
	granted := map[types.UID]map[string]cpuset.Set{"launcher": {"compute": cpuset.Of(1, 9)}}
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"cpumanager": "true"}}}
	node.Status.Allocatable = vm.Spec.Containers[0].Resources.Limits.DeepCopy()
	node.Status.Allocatable[corev1.ResourceCPU] = plenty.DeepCopy()
	node.Status.Allocatable[corev1.ResourceMemory] = resource.MustParse("64Gi")
	node.Status.Allocatable[corev1.ResourcePods] = plenty.DeepCopy()
	for name, test := range map[string]struct {
		granted map[types.UID]map[string]cpuset.Set
		args    []string
		want    string
	}{
		"pins, before": {nil, []string{"pins"}, "problem: node n1 is " + since + ", and as of then its kubelet had granted the VM's container compute no CPUs\n"},
		"pins":         {granted, []string{"pins"}, "  note: node n1 is " + since + "; what follows is as of then\n"},
		"nodes":        {granted, []string{"nodes"}, "n1\nsilent    the node is " + since + "; what follows is as of then\n"},
		"explain, there": {granted, []string{"explain", "pod", "launcher"},
			"is on node n1: compute 1,9 (the node is " + since + "; this is as of then)\n"},
		"explain, there, before": {nil, []string{"explain", "pod", "launcher"},
			"is on node n1: the node is " + since + "; as of then its kubelet had not granted it CPUs of its own\n"},
		"explain": {granted, []string{"explain", "pod", "waits"}, "is " + since + "; as of then its report was exact"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := Cluster{Reports: []v1alpha1.NodeCPU{report(test.granted)}, Nodes: []corev1.Node{node}, Pods: []corev1.Pod{vm, waits, agent}}
			_, out := answers(t, cluster, leads, nil, test.args...)
			if !strings.Contains(out, test.want) {
				t.Errorf("want %q in\n%s", test.want, out)
			}
			if strings.Contains(out, "the kubelet granted none") {
				t.Errorf("it says what an old report cannot know:\n%s", out)
			}
			// The agent is back, and nobody has written so yet.
			cluster.Pods[2].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			if _, out := answers(t, cluster, leads, nil, test.args...); strings.Contains(out, "heard") {
				t.Errorf("of a node that is heard from:\n%s", out)
			}
		})
	}
}
