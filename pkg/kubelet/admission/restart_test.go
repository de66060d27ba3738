// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// full is a node whose only free CPUs, one core of them, are not enough for a second pod like p.
func full(minor int, policy string) (n *Node, p *Pod, held []Grant) {
	n = &Node{
		Topology:        cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads"),
		Minor:           minor,
		CPUManager:      cpumanager.Config{Policy: cpumanager.PolicyStatic, Options: cpumanager.Options{FullPCPUsOnly: true}},
		TopologyManager: topologymanager.Config{Policy: policy, Scope: topologymanager.ScopeContainer},
		Reserved:        cpuset.Of(0, 4),
	}
	*n = n.Empty()
	p = &Pod{Name: "vm", Guaranteed: true, Containers: []Container{{Name: "compute", CPUs: 4}}}
	d := Admit(n, p)
	n.Shared = d.Shared
	return n, p, d.Grants
}

func TestReadmit(t *testing.T) {
	for _, policy := range []string{topologymanager.PolicyNone, topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted, topologymanager.PolicySingleNUMANode} {
		n, p, held := full(36, policy)
		if d := Readmit(n, p, held, &Held{}); d.Verdict != Refused || d.Reason != ReasonSMTAlignment || d.Shared != n.Topology.CPUs() {
			t.Errorf("1.36, %s: %s", policy, d)
		}
		n.Minor = 37
		if d := Readmit(n, p, held, &Held{}); d.Verdict != Admitted || d.Shared != n.Shared || d.Granted() != held[0].CPUs {
			t.Errorf("1.37, %s: %s", policy, d)
		}
		held[0].CPUs.Remove(held[0].CPUs.First())
		aligned := policy == topologymanager.PolicyRestricted || policy == topologymanager.PolicySingleNUMANode
		if d := Readmit(n, p, held, &Held{}); (d.Reason == ReasonTopologyAffinity) != aligned {
			t.Errorf("%s, one CPU fewer than asked for: %s", policy, d)
		}
	}
}

func TestRestarts(t *testing.T) {
	n, _, held := full(36, topologymanager.PolicyNone)
	for name, tc := range map[string]struct {
		change func(*Node)
		want   string
	}{
		"as it was":             {func(*Node) {}, ""},
		"nothing shared":        {func(n *Node) { n.Shared = cpuset.Set{} }, "default cpuset cannot be empty"},
		"reserved not shared":   {func(n *Node) { n.Shared.Remove(4) }, `not all reserved cpus: "0,4" are present in defaultCpuSet: "0,3,7"`},
		"strict, but shared":    {func(n *Node) { n.CPUManager.Options.StrictCPUReservation = true }, `some of strictly reserved cpus: "0,4" are present in defaultCpuSet: "0,3-4,7"`},
		"granted and shared":    {func(n *Node) { n.Shared.Add(1) }, `container: compute cpuset: "1-2,5-6" overlaps with default cpuset "0-1,3-4,7"`},
		"a CPU of unknown fate": {func(n *Node) { n.Shared.Remove(7) }, `current set of available CPUs "0-7" doesn't match with CPUs in state "0-6"`},
	} {
		changed := *n
		tc.change(&changed)
		if got := changed.Restarts(held); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// On machines with uneven cores a container's part can have a CPU that its pod does not have, here a reserved one.
func TestRestartsWithAPartThatIsReserved(t *testing.T) {
	n, _, _ := full(36, topologymanager.PolicyNone)
	n.CPUManager.Options.StrictCPUReservation = true
	n.Shared = cpuset.Of(3, 7)
	held := []Grant{{CPUs: cpuset.Of(1, 2, 5, 6)}, {Container: "compute", CPUs: cpuset.Of(0, 1), Part: true}}
	const want = `current set of available CPUs "1-3,5-7" doesn't match with CPUs in state "0-3,5-7"`
	if got := n.Restarts(held); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	held[1].CPUs = cpuset.Of(1, 5)
	if got := n.Restarts(held); got != "" {
		t.Errorf("a part within the pod's CPUs: %q", got)
	}
}

// A CPU that a pod as a whole has may be shared, where another pod had it too and ended. A kubelet that starts looks at what
// containers have, and not at pods.
func TestRestartsWithACPUOfAPodThatIsShared(t *testing.T) {
	n, _, _ := full(36, topologymanager.PolicyNone)
	n.Shared = cpuset.Of(0, 3, 4, 6, 7)
	held := []Grant{{CPUs: cpuset.Of(1, 2, 5, 6)}, {Container: "compute", CPUs: cpuset.Of(1, 5), Part: true}}
	if got := n.Restarts(held); got != "" {
		t.Errorf("%q; want a start", got)
	}
}

// initializing is a pod whose init container runs and whose app container waits, as kubelet 1.34 reports it.
func initializing(initCPU, appCPU string) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Spec.InitContainers = []corev1.Container{container("c0", initCPU, "64Mi")}
	pod.Spec.Containers = []corev1.Container{container("c1", appCPU, "64Mi")}
	pod.Status = corev1.PodStatus{
		QOSClass:              corev1.PodQOSGuaranteed,
		InitContainerStatuses: []corev1.ContainerStatus{{Name: "c0", AllocatedResources: pod.Spec.InitContainers[0].Resources.Requests}},
		ContainerStatuses:     []corev1.ContainerStatus{{Name: "c1"}},
	}
	return pod
}

// Kubelet 1.34 takes a waiting container's CPUs from its status, where there are none.
func TestReadmitWhileInitializing(t *testing.T) {
	for _, tc := range []struct {
		machine, policy, scope, reserved string
		initCPU, appCPU                  string
		held                             []Grant
		want34, want35                   string
	}{
		{"s0 n0 u0: 0,16 15,31", topologymanager.PolicySingleNUMANode, topologymanager.ScopePod, "0,16", "1", "1",
			[]Grant{{Container: "c0", CPUs: cpuset.Of(15)}, {Container: "c1", CPUs: cpuset.Of(15)}}, ReasonTopologyAffinity, ""},
		{"s0 n0 u0: 0,8 4,12 5,13 6,14 7,15", topologymanager.PolicyRestricted, topologymanager.ScopeContainer, "0,8", "200m", "8",
			[]Grant{{Container: "c1", CPUs: cpuset.Of(4, 5, 6, 7, 12, 13, 14, 15)}}, "", ReasonSMTAlignment},
	} {
		n := newNode(t, tc.machine, "full-pcpus-only=true", tc.policy, tc.scope, tc.reserved)
		n.Shared = n.Reserved
		if tc.initCPU == "1" { // an odd number of CPUs
			n.CPUManager.Options.FullPCPUsOnly = false
			n.Shared.Add(31)
		}
		p := PodOf(initializing(tc.initCPU, tc.appCPU))
		for minor, want := range map[int]string{34: tc.want34, 35: tc.want35, 36: tc.want35} {
			n.Minor = minor
			if d := Readmit(n, &p, tc.held, &Held{}); d.Reason != want || (d.Verdict == Admitted) != (want == "") {
				t.Errorf("1.%d, %s/%s: %s, want reason %q", minor, tc.policy, tc.scope, d, want)
			}
		}
		n.Minor = 34
		again := n.seesAgain(&p).Containers
		if again[1].CPUs != 0 || again[1].Memory != nil || !again[0].Equal(&p.Containers[0]) {
			t.Errorf("kubelet 1.34 that starts again sees %+v", again)
		}
		started := initializing(tc.initCPU, tc.appCPU)
		started.Status.ContainerStatuses[0].AllocatedResources = started.Spec.Containers[0].Resources.Requests
		if p := PodOf(started); p.Waiting != nil {
			t.Errorf("all containers have started, but kubelet 1.34 would see that %v wait", p.Waiting)
		}
	}
}
