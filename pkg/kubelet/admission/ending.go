// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"

	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// This file is memory of init containers. The kubelet gives it back when the next container of the pod starts, and not when
// the pod ends, as it does with CPUs and devices (AddContainer in pkg/kubelet/cm/memorymanager/memory_manager.go, v1.36.3).
// When that is, nobody knows in advance, so AdmitAfter tries both.

// maxEnding is how many pods with such memory AdmitAfter tries in every combination. With more it says Wait.
const maxEnding = 3

// EndingOf is the memory that the kubelet may give back before the pod ends, by container in the order of the pod: what init
// containers hold and is not held again by a lasting container. It is empty for a pod that starts no next container.
func EndingOf(p *Pod, held []memorymanager.Held) []memorymanager.Held {
	var ending []memorymanager.Held
	for i := range p.Containers {
		if p.Containers[i].Kind != Init {
			continue
		}
		for k := range held {
			h := &held[k]
			if h.Container == p.Containers[i].Name && (h.Bytes > 0 || !p.stays(held, h.NUMANodes)) {
				ending = append(ending, *h)
			}
		}
	}
	return ending
}

// stays reports whether a container that lasts as long as the pod holds memory on just these NUMA nodes.
func (p *Pod) stays(held []memorymanager.Held, numaNodes topologymanager.Mask) bool {
	return slices.ContainsFunc(held, func(h memorymanager.Held) bool {
		return h.NUMANodes == numaNodes && slices.ContainsFunc(p.Containers, func(c Container) bool {
			return c.Name == h.Container && c.Kind != Init
		})
	})
}

// ends reports whether it matters to p when init containers of other pods end.
func (n *Node) ends(p *Pod) bool { return len(n.Ending) > 0 && n.interestsOf(p).memory }

// giveBack is the contents after memory has been given back.
func (c *contents) giveBack(held []memorymanager.Held) contents {
	after := *c
	if len(held) > 0 {
		memory := c.memory.Clone()
		memory.Release(held)
		after.memory = &memory
	}
	return after
}

// begin tries every order from each state that the node may be in: the memory of some init containers is given back, and
// that of others not yet.
func (o *orders) begin() {
	o.beginWith(o.node.contents(), 0)
}

func (o *orders) beginWith(c contents, pod int) {
	if pod == len(o.node.Ending) || !o.node.ends(o.pods[len(o.pods)-1]) {
		o.try(&outcome{with: c, without: c})
		return
	}
	ending := o.node.Ending[pod]
	for _, end := range ends(ending) {
		o.beginWith(c.giveBack(ending[:end]), pod+1)
	}
}

// giveBack goes on after a pod in flight was admitted or refused, with each part of its init containers' memory given back. d
// and alone are the decisions with the new pod and without it.
func (o *orders) giveBack(pod *Pod, d, alone *Decision, so *outcome) {
	ending := EndingOf(pod, d.Held.Memory)
	if len(ending) == 0 {
		o.try(so)
		return
	}
	endingAlone := EndingOf(pod, alone.Held.Memory)
	for _, end := range ends(ending) {
		next := o.follow(so)
		next.with = so.with.giveBack(ending[:end])
		next.without = so.without.giveBack(endingAlone[:min(end, len(endingAlone))])
		o.try(next)
		o.back()
	}
}

// ends are the lengths of the parts of ending that can be given back: the containers one after the other, or none yet.
func ends(ending []memorymanager.Held) []int {
	parts := []int{0}
	for i := range ending {
		if i+1 == len(ending) || ending[i+1].Container != ending[i].Container {
			parts = append(parts, i+1)
		}
	}
	return parts
}
