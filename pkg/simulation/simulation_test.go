// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/verdict"
)

// twoNUMA has NUMA nodes 0-3,8-11 and 4-7,12-15. CPUs 0 and 8 are reserved.
const twoNUMA = "2 sockets x 1 numa x 4 cores x 2 threads"

// nodeOf is an empty node that keeps each pod in one NUMA node.
func nodeOf(t testing.TB, name, machine string, pods ...*Pod) *Node {
	t.Helper()
	topology := cputopology.MustParse(machine)
	kubelet := &admission.Node{Topology: topology, Minor: 36, CPUManager: cpumanager.Config{Policy: cpumanager.PolicyStatic},
		TopologyManager: topologymanager.Config{Policy: topologymanager.PolicySingleNUMANode, Scope: topologymanager.ScopeContainer}}
	kubelet.Reserved = topology.Cores()[0].CPUs
	kubelet.Shared = topology.CPUs()
	report := &nodereport.Report{State: nodereport.Exact, Node: kubelet, Granted: map[types.UID][]admission.Grant{}}
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{verdict.LabelCPUManager: "true"}}}
	object.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(int64(kubelet.Free().Len()), resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("110")}
	n := NewNode(name, object, report, nil)
	for _, pod := range pods {
		if a := n.ask(pod, scoring.LeastFragmentation); !a.fits {
			t.Fatalf("%s on %s: %s", pod.Name, name, a.why)
		}
		n.add(pod)
	}
	return n
}

func podOf(name string, cpus int, memory string) *Pod {
	amounts := corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(int64(cpus), resource.DecimalSI), corev1.ResourceMemory: resource.MustParse(memory)}
	spec := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	spec.Spec.Containers = []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts}}}
	d := verdict.DemandOf(spec)
	d.Dedicated = true
	return &Pod{Name: name, UID: spec.UID, Spec: spec, Demand: d, Class: fmt.Sprint(cpus, memory)}
}

// tell is what became of a pod: "a n1 1-3,9" or "a nowhere: 1 TopologyAffinityError".
func tell(o Outcome) string {
	if o.Node == "" {
		var causes []string
		for _, cause := range o.Causes {
			causes = append(causes, fmt.Sprint(cause.Nodes, " ", cause.Why))
		}
		return fmt.Sprintf("%s nowhere: %s", o.Pod.Name, strings.Join(causes, ", "))
	}
	return fmt.Sprintf("%s %s %s", o.Pod.Name, o.Node, admission.Decision{Grants: o.Grants}.Granted())
}

func cluster(nodes ...*Node) *Cluster { return New(nodes, scoring.LeastFragmentation, 1) }

// kube-scheduler binds no pod to a node without a device that it asks for, and the kubelet would not look at that.
func TestDevicesThatANodeHasNot(t *testing.T) {
	c := cluster(nodeOf(t, "n1", twoNUMA), nodeOf(t, "n2", twoNUMA))
	x := podOf("x", 2, "1Gi")
	x.Spec.Spec.Containers[0].Resources.Requests["example.com/vf"] = resource.MustParse("1")
	if got := tell(c.Place(x)); got != "x nowhere: 2 no example.com/vf" {
		t.Error(got)
	}
	c.Nodes[1].object.Status.Allocatable["example.com/vf"] = resource.MustParse("1")
	if o := cluster(c.Nodes[0], NewNode("n2", c.Nodes[1].object, c.Nodes[1].report, nil)).Place(x); o.Node != "n2" {
		t.Errorf("where n2 has one: %s", tell(o))
	}
}

// A pod that has gone is in the report a little longer. The kubelet grants its CPUs to the next one.
func TestDropGone(t *testing.T) {
	a := podOf("a", 6, "1Gi")
	static := podOf(strings.Repeat("0", 32), 2, "1Gi")
	full := nodeOf(t, "n1", twoNUMA, a, podOf("b", 4, "1Gi"), static)
	node := NewNode("n1", full.object, full.report, []*Pod{a})
	c := cluster(node)
	x := podOf("x", 6, "1Gi")
	if o := c.Place(x); o.Node != "" {
		t.Errorf("with the CPUs of b and of the static pod: %s", tell(o))
	}
	if gone := node.DropGone(); len(gone) != 1 || gone[0] != "b" {
		t.Errorf("%v have gone, want b alone", gone)
	}
	if got := tell(c.Place(x)); got != "x n1 4-5,7,12-13,15" {
		t.Errorf("with the CPUs of the static pod: %s", got)
	}
}

func TestDrain(t *testing.T) {
	for name, test := range map[string]struct {
		nodes func() []*Node
		order Order
		want  string
	}{
		"each finds what the one before left": {func() []*Node {
			return []*Node{nodeOf(t, "n1", twoNUMA, podOf("a", 4, "1Gi"), podOf("b", 6, "1Gi")), nodeOf(t, "n2", twoNUMA)}
		}, Given, "a n2 1-2,9-10; b n2 4-6,12-14"},
		"the order decides": {func() []*Node {
			return []*Node{nodeOf(t, "n1", twoNUMA, podOf("a", 2, "1Gi"), podOf("b", 8, "1Gi")), nodeOf(t, "n2", twoNUMA, podOf("c", 5, "1Gi"))}
		}, Largest, "b n2 4-7,12-15; a nowhere: 1 OutOfcpu, 1 drained"},
		"memory counts": {func() []*Node {
			return []*Node{nodeOf(t, "n1", twoNUMA, podOf("a", 2, "40Gi")), nodeOf(t, "n2", twoNUMA, podOf("b", 2, "40Gi"))}
		}, Given, "a nowhere: 1 OutOfmemory, 1 drained"},
	} {
		nodes := test.nodes()
		var got []string
		cluster(nodes...).Drain(nodes[:1], test.order, 1, func(from string, o Outcome) {
			if from != "n1" {
				t.Errorf("%s: from %s", name, from)
			}
			got = append(got, tell(o))
		})
		if text := strings.Join(got, "; "); text != test.want {
			t.Errorf("%s: got %s, want %s", name, text, test.want)
		}
	}
}

func TestWhatStaysAtADrain(t *testing.T) {
	set := podOf("set", 2, "1Gi")
	set.Spec.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet"}}
	going := podOf("going", 2, "1Gi")
	now := metav1.Now()
	going.Spec.DeletionTimestamp = &now
	nodes := []*Node{nodeOf(t, "n1", twoNUMA, set, going), nodeOf(t, "n2", twoNUMA)}
	cluster(nodes...).Drain(nodes[:1], Given, 1, func(_ string, o Outcome) { t.Errorf("%s moves", o.Pod.Name) })
}

// A pod's destination is another node, and the cluster stays as it is.
func TestDestination(t *testing.T) {
	pod := podOf("a", 6, "1Gi")
	flying := podOf("flying", 6, "1Gi")
	flying.Coming()
	busy := nodeOf(t, "busy", twoNUMA, podOf("b", 8, "1Gi"))
	busy.pods = append(busy.pods, flying)
	busy.count()
	c := cluster(nodeOf(t, "n1", twoNUMA, pod), busy)
	if to := c.Destination(pod, "n1"); to != "" {
		t.Errorf("goes to %s, whose CPUs are for a pod in flight", to)
	}
	c.Add([]*Node{nodeOf(t, "n2", twoNUMA)})
	for range 2 {
		if to := c.Destination(pod, "n1"); to != "n2" {
			t.Errorf("goes to %q, want n2", to)
		}
	}
}

// With every seed each of equal nodes is chosen now and then, and the same seed chooses the same.
func TestTheSeedDecidesBetweenEqualNodes(t *testing.T) {
	chosen := map[string]bool{}
	for seed := range uint64(64) {
		place := func() string {
			return New([]*Node{nodeOf(t, "n1", twoNUMA), nodeOf(t, "n2", twoNUMA), nodeOf(t, "n3", twoNUMA)}, scoring.LeastFragmentation, seed).Place(podOf("a", 2, "1Gi")).Node
		}
		first := place()
		if again := place(); again != first {
			t.Fatalf("seed %d: %s, then %s", seed, first, again)
		}
		chosen[first] = true
	}
	if len(chosen) != 3 {
		t.Errorf("chosen: %v", chosen)
	}
}

// A VM goes where it costs the least: into a NUMA node that is in use, and to an exact node before an estimated one.
func TestTheRatingChooses(t *testing.T) {
	vague := nodeOf(t, "vague", twoNUMA)
	vague.report = &nodereport.Report{State: nodereport.Inexact, Why: "too new", Node: vague.report.Node, Granted: map[types.UID][]admission.Grant{}}
	c := cluster(vague, nodeOf(t, "empty", twoNUMA), nodeOf(t, "used", twoNUMA, podOf("a", 4, "1Gi")))
	if got := tell(c.Place(podOf("b", 2, "1Gi"))); got != "b used 3,11" {
		t.Errorf("got %s", got)
	}
	if o := cluster(vague).Place(podOf("b", 2, "1Gi")); o.Node != "vague" || !o.Estimated {
		t.Errorf("got %s, estimated %t", tell(o), o.Estimated)
	}
}

// fullCores are CPUs that are granted in whole cores, by a kubelet of 1.36, which fails VMs at its restart.
func fullCores(n *Node) *Node {
	n.report.Node.CPUManager.Options.FullPCPUsOnly = true
	return n
}

func TestRestart(t *testing.T) {
	big := podOf("big", 8, "1Gi")
	node := fullCores(nodeOf(t, "n1", twoNUMA, big, podOf("small", 2, "1Gi")))
	failed, why, err := cluster(node).Restart(node)
	if err != nil || len(failed) != 1 || failed[0] != big || why[0] != admission.ReasonSMTAlignment {
		t.Errorf("failed %v, %v, error %v", failed, why, err)
	}
	node.report = nodereport.Absent(nodereport.Missing)
	if _, _, err := cluster(node).Restart(node); err == nil {
		t.Error("a node without a report was restarted")
	}
}

func TestReconfigure(t *testing.T) {
	node := nodeOf(t, "n1", twoNUMA, podOf("a", 6, "1Gi"), podOf("b", 6, "1Gi"))
	c := cluster(node, nodeOf(t, "n2", twoNUMA))
	reserved, err := cpuset.Parse("0,8,4,12")
	if err != nil {
		t.Fatal(err)
	}
	pods, err := c.Reconfigure(node, func(n *admission.Node) { n.Reserved = reserved })
	if err != nil || len(pods) != 2 {
		t.Fatalf("%d pods, error %v", len(pods), err)
	}
	if cpus := node.object.Status.Allocatable.Cpu().Value(); cpus != 12 {
		t.Errorf("%d CPUs are allocatable, want 12", cpus)
	}
	third := podOf("c", 6, "1Gi")
	var got []string
	refused := c.Return(node, append(pods, third), func(o Outcome) { got = append(got, tell(o)) })
	want := "a n1 1-3,9-11; b n1 5-7,13-15; c nowhere: 1 OutOfcpu"
	if text := strings.Join(got, "; "); text != want || len(refused) != 1 {
		t.Errorf("got %s, want %s", text, want)
	}
}

func TestAdd(t *testing.T) {
	like := nodeOf(t, "n1", twoNUMA, podOf("a", 8, "1Gi"), podOf("b", 6, "1Gi"))
	c := cluster(like)
	waits := podOf("waits", 8, "1Gi")
	if o := c.Place(waits); o.Node != "" {
		t.Fatalf("it fits on %s already", o.Node)
	}
	added := Copies(like, []string{"new"})
	c.Add(added)
	if room := cluster(added...).Room(podOf("r", 4, "1Gi"), 100); room[0] != 3 {
		t.Errorf("room for %d, want 3", room[0])
	}
	if got := tell(c.Place(waits)); got != "waits new 4-7,12-15" {
		t.Errorf("got %s", got)
	}
}

// A simulation keeps to what the kubelets would do: the answers are never stale, whatever class asked before.
func TestClassesSeeEachOther(t *testing.T) {
	c := cluster(nodeOf(t, "n1", twoNUMA), nodeOf(t, "n2", twoNUMA))
	granted := map[string]cpuset.Set{}
	for i := range 24 {
		o := c.Place(podOf(fmt.Sprint("p", i), 1+i%4, "1Gi"))
		cpus := admission.Decision{Grants: o.Grants}.Granted()
		if o.Node != "" && (cpus.Len() != 1+i%4 || cpus.Overlaps(granted[o.Node])) {
			t.Fatalf("%s: %s, where %s are taken", o.Node, cpus, granted[o.Node])
		}
		granted[o.Node] = granted[o.Node].Union(cpus)
	}
	if n := granted["n1"].Len() + granted["n2"].Len(); n < 24 {
		t.Errorf("only %d CPUs of 28 were granted", n)
	}
}

// BenchmarkArrive places 10,000 VMs of eight sizes on 5,000 nodes.
func BenchmarkArrive(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		var nodes []*Node
		for i := range 5000 {
			nodes = append(nodes, nodeOf(b, fmt.Sprint("n", i), "2 sockets x 1 numa x 32 cores x 2 threads"))
		}
		var pods []*Pod
		for i := range 10000 {
			pods = append(pods, podOf(fmt.Sprint("p", i), []int{1, 2, 3, 4, 8, 12, 16, 32}[i%8], "1Gi"))
		}
		b.StartTimer()
		cluster(nodes...).PlaceAll(pods, func(Outcome) {})
	}
}
