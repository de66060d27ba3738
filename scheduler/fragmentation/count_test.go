// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/scheduler/nodes"
)

// spoil gives a node what keeps VMs away, or fewer of its amounts.
func spoil(random *rand.Rand, node *corev1.Node) {
	switch random.IntN(8) {
	case 0:
		node.Spec.Unschedulable = true
	case 1:
		node.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}
	case 2:
		node.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectPreferNoSchedule}}
	case 3:
		node.Labels = nil
	case 4:
		node.Status.Allocatable[corev1.ResourceCPU] = *resource.NewQuantity(int64(4+random.IntN(8)), resource.DecimalSI)
	case 5:
		node.Status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(int64(2+random.IntN(8)), resource.DecimalSI)
	case 6:
		node.Status.Allocatable[corev1.ResourceMemory] = *resource.NewQuantity(int64(2+random.IntN(8)), resource.DecimalSI)
	}
}

// On random nodes the counts are those of package simulation, which places VMs one after the other.
func TestCountsAreThoseOfTheSimulation(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	machines := []string{twoNUMA, "1 sockets x 1 numa x 6 cores x 2 threads", "1 sockets x 2 numa x 3 cores x 2 threads", "2 sockets x 2 numa x 8 cores x 2 threads"}
	policies := []string{topologymanager.PolicySingleNUMANode, topologymanager.PolicyRestricted, topologymanager.PolicyBestEffort, topologymanager.PolicyNone}
	room := 0
	stranded := 0
	for round := range 400 {
		view := nodes.New(testclock.NewFakeClock(time.Unix(1000, 0)))
		node, report := emptyNode("n", machines[random.IntN(len(machines))], policies[random.IntN(len(policies))], random.IntN(3) == 0)
		c := clusterOf(node, report, nil)
		fill(random, c, random.IntN(14))
		spoil(random, node)
		n := c.Nodes[0]
		view.Set("n", n.Report())
		got := count(view, node, specs(n))
		for i, cpus := range sizes {
			vm := podOf("vm", strconv.FormatInt(cpus, 10))
			vm.Spec = shapes[i].pod
			want := clusterOf(node, n.Report(), n.Pods()).Room(vm, 1000)[0]
			left := n.Report().Node.Free().Len() - want*int(cpus)
			if got.placeable[i] != want || got.stranded[i] != left {
				t.Errorf("round %d: %d more VMs with %d CPUs fit and strand %d, the simulation has %d and %d, on\n%s",
					round, got.placeable[i], cpus, got.stranded[i], want, left, n.Report().Node)
			}
			room += want
			stranded += left
		}
	}
	if room < 400 || stranded < 400 {
		t.Errorf("the nodes had room for %d VMs and stranded %d CPUs, which is too few to compare", room, stranded)
	}
}

// A node whose kubelet cannot be predicted counts as 0.
func TestWhatIsNotKnownIsNotCounted(t *testing.T) {
	view := nodes.New(testclock.NewFakeClock(time.Unix(1000, 0)))
	node, report := emptyNode("n", twoNUMA, topologymanager.PolicyNone, false)
	if got := count(view, node, nil); got != (counts{}) {
		t.Errorf("without a report: %+v", got)
	}
	inexact := *report
	inexact.State = nodereport.Inexact
	view.Set("n", &inexact)
	if got := count(view, node, nil); got != (counts{}) {
		t.Errorf("with a report that is not exact: %+v", got)
	}
	view.Set("n", report)
	if got := count(view, node, nil); got.placeable != [...]int{7, 3, 1, 0, 0} || got.stranded != [...]int{0, 2, 6, 14, 14} {
		t.Errorf("with an exact one: %+v", got)
	}
}
