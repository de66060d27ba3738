// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func ago(age time.Duration) metav1.Time { return metav1.NewTime(noon.Add(-age)) }

// report is a node on which pod "granted" has CPUs. Its agent is pod agent-NODE.
func report(node string, conditions ...metav1.Condition) v1alpha1.NodeCPU {
	topology := cputopology.MustParse("1 sockets x 1 numa x 8 cores x 2 threads")
	nc := v1alpha1.NodeCPU{ObjectMeta: metav1.ObjectMeta{Name: node}}
	nc.Status = v1alpha1.NodeCPUStatus{Format: v1alpha1.FormatVersion, KubeletVersion: "v1.36.3", CPUManager: v1alpha1.CPUManager{Policy: "static"},
		TopologyManager: v1alpha1.TopologyManager{Policy: "restricted", Scope: "container"}, ReservedCPUs: "0,8", SharedCPUs: "0,2-8,10-15",
		Agent:      &v1alpha1.AgentPod{Namespace: "corepin-system", Name: "agent-" + node, UID: types.UID("agent-" + node)},
		Conditions: conditions}
	nodereport.SetTopology(&nc.Status, topology)
	nodereport.SetGranted(&nc.Status, map[types.UID]map[string]cpuset.Set{"granted": {"compute": cpuset.Of(1, 9)}})
	return nc
}

var (
	exact    = metav1.Condition{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}
	labelled = metav1.Condition{Type: v1alpha1.ConditionLabelled, Status: metav1.ConditionTrue, Reason: labelledRuns,
		Message: "the CPU manager runs with policy static, and feature gate CPUManager is on by ConfigMap kubevirt-config"}
)

// part is a pod of corepin's, ready since an hour ago unless it is told otherwise.
func part(name, kind, tag string) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "corepin-system", Name: name, UID: types.UID(name), Labels: map[string]string{partLabel: kind}}}
	pod.Spec.Containers = []corev1.Container{{Name: "c", Image: "registry.example:5000/" + kind + ":" + tag}}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: ago(time.Hour)}}}
	return pod
}

// launcherPod is the pod of a dedicated VM, made an hour ago.
func launcherPod(uid, vm, node string, phase corev1.PodPhase) corev1.Pod {
	amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: "virt-launcher-" + vm, UID: types.UID(uid), CreationTimestamp: ago(time.Hour),
		Labels: map[string]string{"kubevirt.io": "virt-launcher"}, Annotations: map[string]string{"kubevirt.io/domain": vm}}}
	pod.Spec = corev1.PodSpec{SchedulerName: "corepin", NodeName: node, NodeSelector: map[string]string{"cpumanager": "true"},
		Containers: []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts}}}}
	started := ago(time.Hour)
	pod.Status = corev1.PodStatus{Phase: phase, StartTime: &started}
	return pod
}

// cluster is one where all is right.
func cluster() *Cluster {
	return &Cluster{
		Now: noon, Version: "v1.0.0", Reports: []v1alpha1.NodeCPU{report("n1", exact, labelled)},
		Nodes:      []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n1", CreationTimestamp: ago(time.Hour)}}},
		Pods:       []corev1.Pod{part("agent-n1", "corepin-agent", "v1.0.0"), part("s", "corepin-scheduler", "v1.0.0"), launcherPod("granted", "a", "n1", corev1.PodRunning)},
		Schedulers: []Scheduler{{Profile: "corepin", Namespace: "corepin-system", Lease: "corepin-system/corepin-scheduler", Holder: "s_1", Since: noon.Add(-time.Hour)}},
	}
}

func text(lines []Line) string {
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "%s %s: %s", line.State, line.Subject, line.Text)
		if line.More != "" {
			b.WriteString(" [" + line.More + "]")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestAllIsRight(t *testing.T) {
	want := `ok leader: s_1 leads for schedulerName corepin since 2026-11-30T11:00:00Z (Lease corepin-system/corepin-scheduler)
ok versions: corepin-scheduler: v1.0.0 (1); 1 of 1 pod ready
ok versions: corepin-agent: v1.0.0 (1); 1 of 1 pod ready
ok versions: kubelets: v1.36.3 (1); this program: v1.0.0
ok agents: 1 of 1 node heard from
ok gate: n1: the CPU manager runs with policy static, and feature gate CPUManager is on by ConfigMap kubevirt-config
ok exact: 1 of 1 node predicted exactly
ok predictions: VMs with CPUs of their own: 1; refused by kubelets: 0
ok waiting: no VM waits for a node
ok exclusive: every dedicated VM that runs has CPUs of its own
ok drifted: no VM's threads are on other CPUs than its own
`
	if got := text(Of(cluster())); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatIsNotRight(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: ago(2 * time.Minute)}
	}
	add := func(pods ...corev1.Pod) func(*Cluster) { return func(c *Cluster) { c.Pods = append(c.Pods, pods...) } }
	with := func(conditions ...metav1.Condition) func(*Cluster) {
		return func(c *Cluster) {
			c.Reports = append(c.Reports, report("n2", conditions...))
			c.Pods = append(c.Pods, part("agent-n2", "corepin-agent", "v1.0.0"))
		}
	}
	fresh := launcherPod("x", "b", "", corev1.PodPending)
	fresh.CreationTimestamp = ago(time.Second)
	gated := launcherPod("x", "b", "", corev1.PodPending)
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}}
	refused := launcherPod("x", "b", "n1", corev1.PodFailed)
	refused.Status.Reason = "TopologyAffinityError"
	for name, test := range map[string]struct {
		change func(*Cluster)
		want   string // a line
		count  int    // of problems
	}{
		"nobody leads": {func(c *Cluster) { c.Schedulers[0].Problem = "no corepin-scheduler leads" },
			"problem leader: no corepin-scheduler leads; nobody places VMs with schedulerName corepin [kubectl get pods -n corepin-system]", 1},
		"a Lease that cannot be read": {func(c *Cluster) { c.Schedulers[0].Unknown = "forbidden" }, "note leader: whether a corepin-scheduler leads is not known: forbidden", 0},
		"two versions": {add(part("old", "corepin-agent", "v0.9.0")),
			"note versions: corepin-agent: v0.9.0 (1), v1.0.0 (1); 2 of 2 pods ready; an update is under way, or has stopped [kubectl get pods -A -o wide -l app.kubernetes.io/name=corepin-agent]", 0},
		"a scheduler newer than the API server": {func(c *Cluster) {
			c.Server = "v1.35.4"
			c.Pods[1] = part("s", "corepin-scheduler", "v1.0.0-k1.36@sha256:abc")
		}, "problem versions: corepin-scheduler is built on Kubernetes 1.36, and the API server is 1.35: a scheduler may be no newer than the API server; " +
			"use its image with a tag that ends in -k1.35 [kubectl get pods -A -o wide -l app.kubernetes.io/name=corepin-scheduler]", 1},
		"a scheduler one minor older": {func(c *Cluster) {
			c.Server = "v1.37.2"
			c.Pods[1] = part("s", "corepin-scheduler", "v1.0.0-k1.36")
		}, "ok versions: corepin-scheduler: v1.0.0-k1.36 (1); 1 of 1 pod ready", 0},
		"no pod of a part": {func(c *Cluster) { c.Pods = c.Pods[:1] }, "note versions: corepin-scheduler: no pod has label app.kubernetes.io/name=corepin-scheduler, so its version is not known", 0},
		"a silent agent": {func(c *Cluster) {
			c.Pods[0].Status.Conditions[0].Status = corev1.ConditionFalse
			c.Pods[0].Status.Conditions[0].LastTransitionTime = ago(5 * time.Minute)
		}, "problem agents: n1: not heard from since 2026-11-30T11:55:00Z [kubectl get pods -A -l app.kubernetes.io/name=corepin-agent --field-selector=spec.nodeName=n1]", 2},
		"a node without a report": {func(c *Cluster) {
			c.Nodes = append(c.Nodes, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", CreationTimestamp: ago(time.Hour)}})
		}, "problem agents: n2: no report (NodeCPU), so corepin-agent has never run there [kubectl get pods -A -l app.kubernetes.io/name=corepin-agent --field-selector=spec.nodeName=n2]", 1},
		"a new node, and one of Windows": {func(c *Cluster) {
			c.Nodes = append(c.Nodes, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", CreationTimestamp: ago(time.Second)}},
				corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n3", Labels: map[string]string{corev1.LabelOSStable: "windows"}}})
		}, "ok agents: 1 of 1 node heard from", 0},
		"the gate is off": {with(exact, condition(v1alpha1.ConditionLabelled, metav1.ConditionFalse, "FeatureGateOff", "feature gate CPUManager is off by the agent's configuration")),
			"problem gate: n2: feature gate CPUManager is off by the agent's configuration [kubectl describe nodecpu n2]", 1},
		"an agent that has not looked yet": {with(exact), "problem gate: n2: the agent has not said yet whether the feature gate CPUManager is on [kubectl describe nodecpu n2]", 1},
		"not exact": {with(labelled, condition(v1alpha1.ConditionExact, metav1.ConditionFalse, "x", "kubelet v1.99 is not known")),
			"problem exact: n2: inexact: kubelet v1.99 is not known [kubectl describe nodecpu n2]", 1},
		"no CPU manager": {func(c *Cluster) {
			with(exact, condition(v1alpha1.ConditionLabelled, metav1.ConditionFalse, labelledIsNot, "x"))(c)
			c.Reports[1].Status.CPUManager.Policy = "none"
		}, `note exact: n2: the kubelet's CPU manager policy is "none" [kubectl describe nodecpu n2]`, 0},
		"a kubelet refused": {add(refused), "problem predictions: VMs with CPUs of their own: 1; refused by kubelets: 1: vms/b by n1: TopologyAffinityError [kubectl describe pod virt-launcher-b -n vms]", 1},
		"a VM waits":        {add(launcherPod("x", "b", "", corev1.PodPending)), "problem waiting: 1 VM found no node, the first since 2026-11-30T11:00:00Z: vms/b [kubectl corepin explain vmi b -n vms]", 1},
		"a VM came":         {add(fresh), "note waiting: 1 VM came in the last minute: vms/b [kubectl corepin explain vmi b -n vms]", 0},
		"a gated VM":        {add(gated), "ok waiting: no VM waits for a node", 0},
		"without CPUs":      {add(launcherPod("x", "b", "n1", corev1.PodRunning)), "problem exclusive: 1 VM asked for CPUs of their own and run without: vms/b [kubectl corepin pins -n vms]", 1},
		"drifted": {with(exact, labelled, condition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, "x", "vCPU 0 of vms/a is on 3")),
			"problem drifted: n2: vCPU 0 of vms/a is on 3 [kubectl corepin pins]", 1},
		"a restart would cost VMs": {with(exact, labelled, condition(v1alpha1.ConditionRestartSafe, metav1.ConditionFalse, "x", "it would fail vms/a")),
			"note restarts: n2: it would fail vms/a [kubectl describe nodecpu n2]", 0},
		"nothing at all": {func(c *Cluster) { *c = Cluster{Now: noon} }, "problem agents: 0 of 0 nodes heard from [kubectl get daemonsets -A -l app.kubernetes.io/name=corepin-agent]", 2},
	} {
		c := cluster()
		test.change(c)
		lines := Of(c)
		if got := text(lines); !strings.Contains(got, test.want+"\n") || Problems(lines) != test.count {
			t.Errorf("%s: %d problems, want %d; want %q in\n%s", name, Problems(lines), test.count, test.want, got)
		}
	}
}

// However many nodes have the same problem, it is one line.
func TestEqualNodesAreOneLine(t *testing.T) {
	c := cluster()
	for i := range 1000 {
		r := report(fmt.Sprintf("m%04d", i), labelled, metav1.Condition{Type: v1alpha1.ConditionExact, Status: metav1.ConditionFalse, Message: "too new"})
		r.Status.Agent = nil
		c.Reports = append(c.Reports, r)
	}
	want := "problem exact: m0000, m0001, m0002 and 997 more: inexact: too new [kubectl describe nodecpu m0000]\n"
	got := text(Of(c))
	if !strings.Contains(got, want) || strings.Count(got, "\n") > 13 {
		t.Errorf("want %q in\n%s", want, got)
	}
}

// However many nodes have problems of their own, they are a few lines.
func TestManyCausesAreFewLines(t *testing.T) {
	var findings []finding
	for i := range 9 {
		findings = append(findings, finding{fmt.Sprint("n", i), fmt.Sprintf("VM db-%d: vCPU 0: 3 → 17", i)})
	}
	for count, want := range map[int]string{5: "n4: VM db-4: vCPU 0: 3 → 17", 6: "n5: VM db-5: vCPU 0: 3 → 17", 7: "n5, n6: 2 other causes", 9: "n5, n6, n7 and 1 more: 4 other causes"} {
		lines := grouped("drifted", Problem, findings[:count], describe)
		if len(lines) != min(count, distinct+1) || lines[len(lines)-1].Text != want {
			t.Errorf("%d causes: %d lines, the last is %q, want %q", count, len(lines), lines[len(lines)-1].Text, want)
		}
	}
}
