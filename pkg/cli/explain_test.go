package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// launcherAsking is the launcher pod of VM name, of the namespace default.
func launcherAsking(name, node string, amounts ...string) corev1.Pod {
	pod := podAsking("virt-launcher-"+name, node, amounts...)
	pod.Namespace = metav1.NamespaceDefault
	pod.Labels, pod.Annotations = map[string]string{"kubevirt.io": "virt-launcher"}, map[string]string{"kubevirt.io/domain": name}
	pod.Spec.NodeSelector = map[string]string{"cpumanager": "true"}
	return pod
}

// explainVMI runs explain vmi in a live cluster, in which VMI smt has guest cores of two threads.
func explainVMI(t *testing.T, cluster Cluster, name string) (code int, out string) {
	t.Helper()
	var text bytes.Buffer
	host := Host{In: strings.NewReader(""), Out: &text, Err: &text,
		Cluster: func(context.Context, Access) (Cluster, error) { return cluster, nil },
		VMI: func(_ context.Context, _ Access, vm types.NamespacedName) (map[string]any, error) {
			if vm.Name != "smt" {
				return nil, errors.New("nobody may get it")
			}
			return map[string]any{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
				"metadata": map[string]any{"name": vm.Name, "namespace": vm.Namespace},
				"spec":     map[string]any{"domain": map[string]any{"cpu": map[string]any{"cores": int64(2), "threads": int64(2), "dedicatedCpuPlacement": true}}}}, nil
		}}
	code = Run(t.Context(), host, []string{"explain", "vmi", name})
	return code, text.String()
}

func TestExplainOfTheCluster(t *testing.T) {
	labelled := func(name, cpus string) corev1.Node {
		node := nodeOffering(cpus, "64Gi", "110")
		node.Name, node.Labels = name, map[string]string{"kubevirt.io/cpumanager": "true"}
		return node
	}
	const oneThread = "1 sockets x 1 numa x 8 cores x 1 threads" // CPU 0 is reserved
	granted := func(cpus ...int) map[types.UID]map[string]cpuset.Set {
		return map[types.UID]map[string]cpuset.Set{"virt-launcher-old": {"c0": cpuset.Of(cpus...)}}
	}
	for name, test := range map[string]struct {
		cluster Cluster
		vmi     string
		code    int
		want    []string
	}{
		"the VM's own wishes count": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "7")},
			Pods: []corev1.Pod{launcherAsking("smt", "", "4")}}, "smt", exitRefused,
			[]string{"n1: its kubelet would admit the pod, with CPUs that do not do for the VM (1-4): a guest core would be split"}},
		"they may be unknown": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "7")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitOK,
			[]string{"Note: what VMI vm itself wants of its CPUs is left out: nobody may get it.", "n1: fits: c0 1-4"}},
		"who is gone holds nothing": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", granted(1, 2, 3, 4))}, Nodes: []corev1.Node{labelled("n1", "7")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "6")}}, "vm", exitOK, []string{"n1: fits: c0 1-6"}},
		"who is there does": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", granted(1, 2, 3, 4))}, Nodes: []corev1.Node{labelled("n1", "16")},
			Pods: []corev1.Pod{launcherAsking("old", "n1", "4"), launcherAsking("vm", "", "6")}}, "vm", exitRefused,
			[]string{"n1: 3 free CPUs; needs 6 CPUs", "  fits if VM old (4 CPUs) moves"}},
		"who is coming is waited for": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "16")},
			Pods: []corev1.Pod{launcherAsking("new", "n1", "4"), launcherAsking("vm", "", "6")}}, "vm", exitRefused, []string{"n1: 1 pod in flight to it, its report will tell"}},
		"a node without a report": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "3"), labelled("n2", "7")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitRefused,
			[]string{"n1: 3000m of 3000m CPU left by count, of 4000m asked", "n2: has no CPU report", "0 of 2 nodes have room for it."}},
	} {
		code, out := explainVMI(t, test.cluster, test.vmi)
		for _, want := range test.want {
			if code != test.code || !strings.Contains(out, want) {
				t.Errorf("%s: exit code %d, want %d and %q in\n%s", name, code, test.code, want, out)
			}
		}
	}
}

// Of several launcher pods of a VMI, the one that looks for a node is asked about, else the one that runs.
func TestExplainChoosesTheLauncherPod(t *testing.T) {
	refused, running, waiting := launcherAsking("vm", "n1", "2"), launcherAsking("vm", "n1", "2"), launcherAsking("vm", "", "2")
	refused.Status.Phase, running.Status.Phase = corev1.PodFailed, corev1.PodRunning
	refused.Name, running.Name, waiting.Name = "refused", "running", "waiting"
	for _, test := range []struct {
		pods []corev1.Pod
		want string
	}{
		{[]corev1.Pod{refused, waiting, running}, "pod waiting (VM vm) asks for 2 CPUs of its own."},
		{[]corev1.Pod{refused, running}, "pod running (VM vm) is on node n1: its kubelet has not granted it CPUs of its own"},
		{[]corev1.Pod{refused}, "pod refused (VM vm) asks for 2 CPUs of its own."},
	} {
		cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "none", nil)}, Pods: test.pods}
		if _, out := explainVMI(t, cluster, "vm"); !strings.HasPrefix(out, test.want) {
			t.Errorf("want %q, got\n%s", test.want, out)
		}
	}
}
