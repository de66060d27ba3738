// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Hints is what the CPU manager says of the NUMA nodes for one request. It is a topologymanager.HintProvider
// (generateCPUTopologyHints in policy_static.go, v1.36.3).
//
// What counts for preference is capacity, with reserved and granted CPUs. Where two NUMA nodes of 64 CPUs have 33
// free each, restricted refuses 50 CPUs, which one NUMA node could hold if it were empty. It admits 66, which need
// two in any case.
type Hints struct {
	machine  *machine
	bySocket bool // the option align-by-socket
	need     int
	nodes    topologymanager.Mask // NUMA nodes with CPUs
	reuse    topologymanager.Mask // NUMA nodes with a CPU that the pod may reuse: a hint must have them all
	fewest   int                  // NUMA nodes that the request needs on an empty machine
	free     []int                // free and reusable CPUs by NUMA node
	sizes    []int                // scratch
}

// Hints counts the CPUs for a request of need CPUs. The result is valid until the next call.
func (s *Static) Hints(need int) *Hints {
	h := &s.hints
	h.machine = &s.machine
	h.bySocket = s.options.AlignBySocket
	h.need = need
	h.nodes = 0
	h.reuse = 0
	h.fewest = s.numaNodes
	h.free = h.free[:0]
	h.sizes = h.sizes[:0]
	free := s.free()
	nodes := s.topology.NUMANodes()
	for i := range nodes {
		reusable := s.common(&nodes[i].CPUs, &s.Reusable)
		h.free = append(h.free, s.common(&nodes[i].CPUs, &free)+reusable)
		if nodes[i].Size == 0 {
			continue
		}
		h.sizes = append(h.sizes, nodes[i].Size)
		h.nodes |= 1 << i
		if reusable > 0 {
			h.reuse |= 1 << i
		}
	}
	h.countFewest()
	return h
}

// countFewest counts how many of the largest NUMA nodes it takes.
func (h *Hints) countFewest() {
	slices.Sort(h.sizes)
	sum := 0
	for k := 1; k < h.fewest; k++ {
		sum += h.sizes[len(h.sizes)-k]
		if sum >= h.need {
			h.fewest = k
		}
	}
}

// Nodes are the NUMA nodes with CPUs.
func (h *Hints) Nodes() topologymanager.Mask { return h.nodes }

// Possible reports whether the NUMA nodes of mask have enough free CPUs.
func (h *Hints) Possible(mask topologymanager.Mask) bool {
	if mask&h.reuse != h.reuse {
		return false
	}
	free := 0
	for ; mask != 0; mask = mask.Rest() {
		free += h.free[mask.First()]
	}
	return free >= h.need
}

// PreferredSizes are the numbers of NUMA nodes in a preferred mask: as few as an empty machine needs, or any with
// align-by-socket.
func (h *Hints) PreferredSizes() (least, most int) {
	if h.bySocket {
		return 1, h.nodes.Len()
	}
	return h.fewest, h.fewest
}

// Preferred reports whether a mask has as few NUMA nodes as an empty machine needs or, with align-by-socket, spans
// no more sockets than those would.
func (h *Hints) Preferred(mask topologymanager.Mask) bool {
	return mask.Len() == h.fewest || h.bySocket && h.socketAligned(mask)
}

func (h *Hints) socketAligned(mask topologymanager.Mask) bool {
	perSocket := h.nodes.Len() / len(h.machine.topology.Sockets())
	if perSocket == 0 {
		return false
	}
	cpus := h.machine.cpusOf(mask)
	spanned := 0
	sockets := h.machine.topology.SocketUnits()
	for i := range sockets {
		if h.machine.meet(&sockets[i].CPUs, &cpus) {
			spanned++
		}
	}
	return spanned == (h.fewest+perSocket-1)/perSocket
}

// cpusOf are the CPUs of the NUMA nodes of mask.
func (m *machine) cpusOf(mask topologymanager.Mask) cpuset.Set {
	var cpus cpuset.Set
	for ; mask != 0; mask = mask.Rest() {
		m.add(&cpus, &m.topology.NUMANodes()[mask.First()].CPUs)
	}
	return cpus
}
