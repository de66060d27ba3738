// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/placement"
)

// ErrPages means that a NUMA node under the guest's vCPUs has too few free huge pages. QEMU takes them there when it starts, and
// ends if it does not get them (guestMappingPassthrough).
var ErrPages = errors.New("too few huge pages are free")

// askPages asks whether the guest finds its huge pages on the NUMA nodes of its vCPUs, wherever that may be. Under memory
// manager policy Static the kubelet has asked.
func (v *Verdict) askPages(n *Node, d *Demand) {
	if d.Guest == nil || d.Guest.NUMA == nil || d.Guest.NUMA.PageSize <= 0 || n.HugePages == nil ||
		n.Kubelet.MemoryManager == memorymanager.PolicyStatic {
		return
	}
	possible := v.Decision.Alternatives
	if len(possible) == 0 {
		possible = [][]admission.Grant{v.Decision.Grants}
	}
	awaited := n.awaitedPages(d.Guest.NUMA.PageSize)
	for _, grants := range possible {
		v.Guest = n.lacksPages(d, grants, awaited)
		if v.Guest != nil {
			v.Obstacle = Guest
			v.Why = v.Guest.Error()
			v.Evictable = n.pagesInAll(d, grants)
			return
		}
	}
}

// lacksPages is nil if each NUMA node of the guest has its share of pages besides those awaited there.
func (n *Node) lacksPages(d *Demand, grants []admission.Grant, awaited int64) error {
	need, places := n.pagesOf(d, grants)
	for _, at := range places {
		free := n.HugePages[at][d.Guest.NUMA.PageSize].Free
		if free-awaited >= need {
			continue
		}
		size := resource.NewQuantity(d.Guest.NUMA.PageSize, resource.BinarySI)
		text := fmt.Sprintf("NUMA node %d has %d free huge pages of %s, and the guest needs %d there",
			n.Kubelet.Topology.NUMANodes()[at].ID, free, size, need)
		if awaited > 0 {
			text += fmt.Sprintf("; VMs that are being started are to take %d", awaited)
		}
		return fmt.Errorf("%w: %s", ErrPages, text)
	}
	return nil
}

// pagesInAll reports whether the NUMA nodes have the pages if nobody has taken any.
func (n *Node) pagesInAll(d *Demand, grants []admission.Grant) bool {
	need, places := n.pagesOf(d, grants)
	for _, at := range places {
		if n.HugePages[at][d.Guest.NUMA.PageSize].All < need {
			return false
		}
	}
	return true
}

// pagesOf is how many pages the guest takes at most on each of the NUMA nodes of its vCPUs, and these, by index. KubeVirt
// divides the pages evenly and gives those that are left over to some of the NUMA nodes (numaMapping in
// pkg/virt-launcher/virtwrap/converter/vcpu/vcpu.go, v1.9.0).
func (n *Node) pagesOf(d *Demand, grants []admission.Grant) (need int64, places []int) {
	topology := n.Kubelet.Topology
	var vcpus cpuset.Set
	for i := range grants {
		if grants[i].Container != d.Compute {
			continue
		}
		pins, err := placement.Place(*d.Guest, grants[i].CPUs, topology)
		if err != nil {
			return 0, nil // askGuest has asked that
		}
		for _, cpus := range pins.VCPUs {
			vcpus = vcpus.Union(cpus)
		}
	}
	for at := range topology.NUMANodes() {
		if vcpus.Overlaps(topology.NUMANodes()[at].CPUs) {
			places = append(places, at)
		}
	}
	pages := d.Guest.NUMA.Memory / d.Guest.NUMA.PageSize
	cells := int64(max(1, len(places)))
	return pages/cells + pages%cells, places
}

// awaitedPages is how many pages of a size the pods on the node ask for that nobody has taken yet. On which NUMA nodes they will
// be taken is not known, so they count on each.
func (n *Node) awaitedPages(size int64) int64 {
	name := "hugepages-" + resource.NewQuantity(size, resource.BinarySI).String()
	var coming, asked, taken int64
	for i := range n.Pods {
		pod := &n.Pods[i]
		if pod.Asks == nil {
			continue
		}
		pages := pod.Asks.Peak(func(k int) int64 {
			for _, q := range pod.Asks.Containers[k].Memory {
				if q.Type == name {
					return int64(q.Bytes) / size
				}
			}
			return 0
		})
		if pod.InFlight {
			coming += pages
		} else {
			asked += pages
		}
	}
	for _, sizes := range n.HugePages {
		taken += sizes[size].All - sizes[size].Free
	}
	return coming + max(0, asked-taken)
}
