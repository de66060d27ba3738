// SPDX-License-Identifier: Apache-2.0

package devicemanager

import "corepin.dev/corepin/pkg/kubelet/topologymanager"

// firstMinorOfOwnNodes is the first kubelet whose hints of a resource are made of the NUMA nodes that have devices of it.
// Older ones make them of all NUMA nodes of the machine (generateDeviceTopologyHints in topology_hints.go, v1.35.4).
const firstMinorOfOwnNodes = 36

// Hints is what the device manager says of the NUMA nodes for one resource of one request (generateDeviceTopologyHints
// in topology_hints.go, v1.36.3). It is a topologymanager.HintProvider.
type Hints struct {
	nodes    topologymanager.Mask
	groups   []Group
	free     []int // by group
	reusable []int // by group; nil where the request reuses nothing
	need     int
	fewest   int  // NUMA nodes that have as many devices, healthy or not
	tooFew   bool // the machine has not as many free
}

// set makes the hints for need devices.
func (h *Hints) set(t *touched, minor, numaNodes, need int, reuse bool) {
	*h = Hints{groups: t.resource.Groups, free: t.free, need: need}
	if reuse {
		h.reusable = t.reusable
	}
	h.nodes = HintNodes(t.resource, minor, numaNodes)
	available := 0
	for i := range h.free {
		available += h.free[i]
		if reuse {
			available += h.reusable[i]
		}
	}
	h.tooFew = available < need
	h.countFewest()
}

// HintNodes are the NUMA nodes that the hints of a resource are made of, for a kubelet 1.<minor> on a machine with so many.
func HintNodes(r *Resource, minor, numaNodes int) topologymanager.Mask {
	if minor < firstMinorOfOwnNodes {
		return topologymanager.Mask(1)<<numaNodes - 1
	}
	var nodes topologymanager.Mask
	for i := range r.Groups {
		nodes |= r.Groups[i].NUMANodes
	}
	return nodes
}

// countFewest counts how many NUMA nodes have enough devices, free or not.
func (h *Hints) countFewest() {
	h.fewest = h.nodes.Len()
	for size := 1; size < h.fewest; size++ {
		h.nodes.OfSize(size, func(mask topologymanager.Mask) bool {
			if h.devices(mask) >= h.need {
				h.fewest = size
			}
			return h.fewest != size
		})
	}
}

// devices is how many devices touch the NUMA nodes of mask.
func (h *Hints) devices(mask topologymanager.Mask) int {
	sum := 0
	for i := range h.groups {
		if h.groups[i].NUMANodes&mask != 0 {
			sum += h.groups[i].Devices
		}
	}
	return sum
}

// Nodes are the NUMA nodes that hints are made of.
func (h *Hints) Nodes() topologymanager.Mask { return h.nodes }

// Possible reports whether enough free devices touch the NUMA nodes of mask. All devices that the pod may reuse must
// touch them, or have no NUMA node. One without NUMA node does not count, since the kubelet does not count it either.
func (h *Hints) Possible(mask topologymanager.Mask) bool {
	if h.tooFew {
		return false
	}
	sum := 0
	for i := range h.groups {
		touches := h.groups[i].NUMANodes&mask != 0
		if h.reusable != nil && h.reusable[i] > 0 {
			if h.groups[i].NUMANodes != 0 && !touches {
				return false
			}
		}
		if !touches {
			continue
		}
		sum += h.free[i]
		if h.reusable != nil {
			sum += h.reusable[i]
		}
	}
	return sum >= h.need
}

// PreferredSizes is the number of NUMA nodes that an empty machine needs.
func (h *Hints) PreferredSizes() (least, most int) { return h.fewest, h.fewest }

// Preferred reports whether a possible mask has that many.
func (h *Hints) Preferred(mask topologymanager.Mask) bool { return mask.Len() == h.fewest }
