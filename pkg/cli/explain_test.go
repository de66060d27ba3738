// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

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
	if node != "" {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	}
	return pod
}

// assumed are launcher pods that wait for their volumes: they have a node in kube-scheduler's cache only.
func assumed(pods int, node string, amounts ...string) (all []corev1.Pod) {
	for i := range pods {
		pod := launcherAsking(fmt.Sprint("vm-", i), node, amounts...)
		pod.Status.Conditions = nil
		all = append(all, pod)
	}
	return all
}

// machines are the VMIs of the cluster, by name: their spec.domain.cpu beside dedicatedCpuPlacement, and their UID.
var machines = map[string]struct {
	cpu map[string]any
	uid string
}{
	"smt":    {cpu: map[string]any{"cores": int64(2), "threads": int64(2)}},
	"grown":  {cpu: map[string]any{"cores": int64(4), "isolateEmulatorThread": true}},
	"broken": {cpu: map[string]any{"cores": int64(4), "realtime": map[string]any{"mask": "x"}}},
	"odd":    {cpu: map[string]any{"cores": "four"}},
	"again":  {cpu: map[string]any{"cores": "four"}, uid: "younger"},
	"shared": {cpu: map[string]any{"cores": int64(4), "dedicatedCpuPlacement": false}},
}

// explainVMI runs explain vmi in a live cluster.
func explainVMI(t *testing.T, cluster Cluster, name string) (code int, out string) {
	t.Helper()
	var text bytes.Buffer
	host := Host{Now: func() time.Time { return noon }, In: strings.NewReader(""), Out: &text, Err: &text,
		Cluster: func(context.Context) (Cluster, error) { return cluster, nil },
		VMI: func(_ context.Context, vm types.NamespacedName) (map[string]any, error) {
			machine, is := machines[vm.Name]
			if !is {
				return nil, errors.New("nobody may get it")
			}
			cpu := map[string]any{"dedicatedCpuPlacement": true}
			maps.Copy(cpu, machine.cpu)
			return map[string]any{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
				"metadata": map[string]any{"name": vm.Name, "namespace": vm.Namespace, "uid": machine.uid},
				"spec":     map[string]any{"domain": map[string]any{"cpu": cpu, "memory": map[string]any{"guest": "1Gi"}}}}, nil
		}}
	code = Run(t.Context(), host, []string{"explain", "vmi", name})
	return code, text.String()
}

// staticUID is one that a kubelet makes.
const staticUID = "0123456789abcdef0123456789abcdef"

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
	static := map[types.UID]map[string]cpuset.Set{staticUID: {"c0": cpuset.Of(1, 2, 3, 4)}}
	older, newer, idle := reportOf(t, "n1", oneThread, "none", nil), reportOf(t, "n2", oneThread, "none", nil), reportOf(t, "n1", oneThread, "none", nil)
	older.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "older"}}
	again := labelled("n1", "7")
	again.UID = "younger"
	newer.Status.Format = v1alpha1.FormatVersion + 1
	young := func(node corev1.Node, age time.Duration) corev1.Node {
		node.CreationTimestamp = metav1.NewTime(noon.Add(-age))
		return node
	}
	upgraded := labelled("n1", "7")
	upgraded.Status.NodeInfo.KubeletVersion = "v1.37.2"
	idle.Status.CPUManager.Policy = "none"
	idle.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionFalse, Message: "something else is odd too"}}
	for name, test := range map[string]struct {
		cluster Cluster
		vmi     string
		code    int
		want    []string
	}{
		"the VM's own wishes count": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "7")},
			Pods: []corev1.Pod{launcherAsking("smt", "", "4")}}, "smt", exitRefused,
			[]string{"n1: its kubelet would admit the pod, but the granted CPUs (1-4) do not satisfy the VM: a guest core would be split"}},
		"they may be unknown": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "7")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitOK,
			[]string{"Note: what VMI vm itself says, and wants of its CPUs, is left out: nobody may get it.", "n1: fits: c0 1-4"}},
		"who is gone holds nothing": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", granted(1, 2, 3, 4))}, Nodes: []corev1.Node{labelled("n1", "7")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "6")}}, "vm", exitOK, []string{"n1: fits: c0 1-6"}},
		"who is there does": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", granted(1, 2, 3, 4))}, Nodes: []corev1.Node{labelled("n1", "16")},
			Pods: []corev1.Pod{launcherAsking("old", "n1", "4"), launcherAsking("vm", "", "6")}}, "vm", exitRefused,
			[]string{"n1: 3 free CPUs; needs 6 CPUs", "  fits if VM old (4 CPUs) moves"}},
		"who is coming is waited for": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "16")},
			Pods: []corev1.Pod{launcherAsking("new", "n1", "4"), launcherAsking("vm", "", "6")}}, "vm", exitRefused, []string{"n1: 1 pod (VM new) in flight to it, the next report will show"}},
		"those who wait for volumes need no order, since they ask alike": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "16")},
			Pods: append(assumed(5, "n1", "1"), launcherAsking("vm", "", "1"))}, "vm", exitOK, []string{"n1: fits"}},
		"a place is kept for those who wait for volumes": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "16")},
			Pods: append(assumed(1, "n1", "6"), launcherAsking("vm", "", "4"))}, "vm", exitRefused, []string{"n1: its CPUs are kept for 1 pod (VM vm-0) still to come: in some order of admission"}},
		"a new node's first report is awaited": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "3"), young(labelled("n2", "7"), time.Minute)},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitRefused, []string{"n2: is starting, and its first CPU report is awaited: the Node is new"}},
		"for some minutes": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "3"), young(labelled("n2", "7"), 10*time.Minute)},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitOK, []string{"n2: fits, estimated by counting"}},
		"a kubelet that is newer than the report": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{upgraded},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitOK, []string{"since the node has a CPU report that its Node contradicts: the Node says kubelet version v1.37.2, and the report v1.36.3"}},
		"a node without a report": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "3"), labelled("n2", "7")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitOK,
			[]string{"n1: 3000m of 3000m CPU left by count, of 4000m asked\n", "n2: fits, estimated by counting (7000m of 7000m CPU left, 4000m asked), since the node has no CPU report",
				"1 of 2 nodes have room for it, 1 of them as estimated."}},
		"a node without a report, and without room": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", nil)}, Nodes: []corev1.Node{labelled("n1", "3"), labelled("n2", "3")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitRefused,
			[]string{"n2: 3000m of 3000m CPU left by count, of 4000m asked; estimated by counting, since the node has no CPU report", "0 of 2 nodes have room for it."}},
		"a node with a report of another, and one that can't be read": {Cluster{Reports: []v1alpha1.NodeCPU{older, newer}, Nodes: []corev1.Node{again, labelled("n2", "7")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitOK,
			[]string{"since the node has no CPU report (NodeCPU) but that of an earlier Node of its name", "since the node has a CPU report of a newer corepin", "2 of 2 nodes have room for it, 2 of them as estimated."}},
		"a node without a CPU manager is not estimated": {Cluster{Reports: []v1alpha1.NodeCPU{idle}, Nodes: []corev1.Node{labelled("n1", "7")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitRefused, []string{"n1: its kubelet grants no exclusive CPUs"}},
		"without a Node object there is nothing to count by": {Cluster{Reports: []v1alpha1.NodeCPU{newer}, Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}, "vm", exitRefused,
			[]string{"n2: has a CPU report of a newer corepin"}},
		"a static pod holds what it was granted, with a mirror or without": {Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", oneThread, "none", static)}, Nodes: []corev1.Node{labelled("n1", "16")},
			Pods: []corev1.Pod{launcherAsking("vm", "", "6")}}, "vm", exitRefused,
			[]string{"n1: 3 free CPUs; needs 6 CPUs", "  fits if static pod " + staticUID + " (4 CPUs) moves"}},
	} {
		code, out := explainVMI(t, test.cluster, test.vmi)
		for _, want := range test.want {
			if code != test.code || !strings.Contains(out, want) {
				t.Errorf("%s: exit code %d, want %d and %q in\n%s", name, code, test.code, want, out)
			}
		}
	}
}

// Nodes that fit as estimated are one group, however many CPUs are left there.
func TestEstimatedNodesAreOneGroup(t *testing.T) {
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n0", "1 sockets x 1 numa x 8 cores x 1 threads", "none", nil)}, Pods: []corev1.Pod{launcherAsking("vm", "", "4")}}
	for i, cpus := range []string{"3", "11", "10", "9", "8"} {
		node := nodeOffering(cpus, "64Gi", "110")
		node.Name = fmt.Sprintf("n%d", i)
		node.Labels = map[string]string{"kubevirt.io/cpumanager": "true"}
		cluster.Nodes = append(cluster.Nodes, node)
	}
	const want = "n1, n2, n3, n4: fits, there on n1: estimated by counting (11000m of 11000m CPU left, 4000m asked), since the node has no CPU report"
	_, out := explainVMI(t, cluster, "vm")
	if !strings.Contains(out, want) {
		t.Errorf("want %q in\n%s", want, out)
	}
}

// What corepin-scheduler refuses for every node is refused here, in its words.
func TestExplainRefusesWhatTheSchedulerDoes(t *testing.T) {
	refused := "corepin-scheduler refuses it: the VM is inconsistent, and no node is looked at: "
	moving := launcherAsking("broken", "", "4")
	moving.Labels["kubevirt.io/migrationJobUID"] = "m"
	later := launcherAsking("again", "", "4")
	later.Labels["kubevirt.io/created-by"] = "older"
	burstable := launcherAsking("shared", "", "1500m")
	for name, test := range map[string]struct {
		pod  corev1.Pod
		want string
		code int
	}{
		"a rule is broken":             {launcherAsking("broken", "", "4"), refused + "spec.domain.cpu.realtime: works only with", exitRefused},
		"a rule is broken, by a mover": {moving, "1 of 1 nodes have room for it.", exitOK},
		"the VM grew":                  {launcherAsking("grown", "", "4"), refused + "the guest needs 5 CPUs for its 4 vCPUs", exitRefused},
		"the VMI cannot be read":       {launcherAsking("odd", "", "4"), refused + "reading", exitRefused},
		"a younger VMI of that name":   {later, "Note: what VMI again itself says, and wants of its CPUs, is left out: there is another VMI of that name now.", exitOK},
		"a sidecar with a CPU":         {launcherAsking("smt", "", "4", "1"), "1 of 1 nodes have room for it.", exitOK},
		"the VM is not dedicated":      {burstable, "1 of 1 nodes have room for it.", exitOK},
	} {
		node := nodeOffering("15", "64Gi", "110")
		node.Name, node.Labels = "n1", map[string]string{"cpumanager": "true"}
		cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "none", nil)}, Nodes: []corev1.Node{node}, Pods: []corev1.Pod{test.pod}}
		if code, out := explainVMI(t, cluster, test.pod.Annotations["kubevirt.io/domain"]); code != test.code || !strings.Contains(out, test.want) {
			t.Errorf("%s: exit code %d, want %d and %q in\n%s", name, code, test.code, test.want, out)
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
