// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/placement"
)

// A guest whose memory is mapped to the host's NUMA nodes takes its huge pages on the NUMA nodes of its vCPUs.
func TestHugePagesUnderTheGuest(t *testing.T) {
	const gib = 1 << 30
	pages := func(all, first, second int64) nodereport.HugePages {
		return nodereport.HugePages{{gib: {All: all, Free: first}}, {gib: {All: all, Free: second}}}
	}
	withPages := func(number string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources.Limits["hugepages-1Gi"] = resource.MustParse(number + "Gi")
		}
	}
	for name, test := range map[string]struct {
		pages     nodereport.HugePages
		policy    string // of the topology manager
		memory    string // the memory manager's policy
		cpus      string
		inFlight  []*corev1.Pod
		granted   map[string]string
		guest     *placement.NUMA
		want      string // "" is a fit
		evictable bool
	}{
		"enough":                      {pages: pages(8, 4, 0), cpus: "4", guest: &placement.NUMA{Memory: 4 * gib, PageSize: gib}},
		"too few where its CPUs are":  {pages: pages(8, 3, 8), cpus: "4", guest: &placement.NUMA{Memory: 4 * gib, PageSize: gib}, want: "NUMA node 0 has 3 free huge pages of 1Gi, and the guest needs 4 there", evictable: true},
		"more than there are":         {pages: pages(2, 2, 2), cpus: "4", guest: &placement.NUMA{Memory: 4 * gib, PageSize: gib}, want: "needs 4 there"},
		"pages of another size":       {pages: pages(8, 8, 8), cpus: "4", guest: &placement.NUMA{Memory: 4 * gib, PageSize: 2 << 20}, want: "0 free huge pages of 2Mi"},
		"a guest that is not mapped":  {pages: pages(8, 0, 0), cpus: "4"},
		"the memory manager asks":     {pages: pages(8, 0, 0), memory: memorymanager.PolicyStatic, cpus: "4", guest: &placement.NUMA{Memory: 4 * gib, PageSize: gib}},
		"pages that are not reported": {cpus: "4", guest: &placement.NUMA{Memory: 4 * gib, PageSize: gib}},
		"half on each NUMA node":      {pages: pages(8, 3, 3), policy: topologymanager.PolicyBestEffort, cpus: "12", guest: &placement.NUMA{Memory: 6 * gib, PageSize: gib}},
		"a page over on one of them":  {pages: pages(8, 3, 3), policy: topologymanager.PolicyBestEffort, cpus: "12", guest: &placement.NUMA{Memory: 7 * gib, PageSize: gib}, want: "needs 4 there", evictable: true},
		"a VM in flight takes some": {pages: pages(8, 5, 8), cpus: "2", inFlight: []*corev1.Pod{vm("a", "2", withPages("2"))},
			guest: &placement.NUMA{Memory: 4 * gib, PageSize: gib}, want: "VMs that are being started are to take 2", evictable: true},
		"a VM that is granted and has not taken its pages": {pages: pages(8, 8, 8), cpus: "2", inFlight: []*corev1.Pod{vm("a", "2", withPages("5"))},
			granted: map[string]string{"a": "1,9"}, guest: &placement.NUMA{Memory: 4 * gib, PageSize: gib}, want: "are to take 5", evictable: true},
		"a VM that has taken its pages": {pages: pages(8, 4, 7), cpus: "2", inFlight: []*corev1.Pod{vm("a", "2", withPages("5"))},
			granted: map[string]string{"a": "1,9"}, guest: &placement.NUMA{Memory: 4 * gib, PageSize: gib}},
	} {
		report := reportOf(t, test.granted)
		report.HugePages = test.pages
		report.Node.MemoryManager = test.memory
		if test.policy != "" {
			report.Node.TopologyManager.Policy = test.policy
		}
		if test.memory != "" {
			report.Node.Memory = &memorymanager.State{Types: []string{"memory"}, NUMANodes: []memorymanager.NUMANode{
				{Group: 1, Memory: []memorymanager.Amount{{Total: 64 * gib, Allocatable: 64 * gib, Free: 64 * gib}}},
				{Group: 2, Memory: []memorymanager.Amount{{Total: 64 * gib, Allocatable: 64 * gib, Free: 64 * gib}}},
			}}
		}
		n := New(nodeObject(), report, podsOf(test.inFlight))
		d := DemandOf(vm("new", test.cpus))
		d.Dedicated = true
		d.Compute = "compute"
		d.Guest = &placement.Guest{VCPUs: d.Pod.PeakCPUs(), NUMA: test.guest}
		v := Of(&n, &d)
		if test.want == "" && !v.Fits() || test.want != "" && (!errors.Is(v.Guest, ErrPages) || !strings.Contains(v.Why, test.want) || v.Evictable != test.evictable) {
			t.Errorf("%s: obstacle %q (%s), evictable %t; want %q, %t", name, v.Obstacle, v.Why, v.Evictable, test.want, test.evictable)
		}
	}
}
