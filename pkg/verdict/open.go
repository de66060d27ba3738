package verdict

import (
	"slices"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// open reports whether what a demand gets depends on whether pods in flight were admitted before or after other pods left the
// node. Pods that have nothing to do with the demand do not count, nor do those that get the same in either case.
func (n *Node) open(d *Demand) bool {
	if !n.mayBeOpen() {
		return false
	}
	awaited := slices.DeleteFunc(n.concerning(&d.Pod), func(p *Pod) bool { return !p.Awaited() })
	if slices.ContainsFunc(awaited, func(p *Pod) bool { return p.Doubtful }) {
		return true
	}
	return len(awaited) > 0 && n.Left && !n.getTheSame(awaited)
}

// mayBeOpen is a quick look at what nearly no node has.
func (n *Node) mayBeOpen() bool {
	for i := range n.Pods {
		if n.Pods[i].Awaited() && (n.Left || n.Pods[i].Doubtful) {
			return true
		}
	}
	return false
}

// concerning are the pods in flight about which the same is decided as about p, or as about another of them.
func (n *Node) concerning(p *admission.Pod) []*Pod {
	found := make([]bool, len(n.Pods))
	asked := []*admission.Pod{p}
	var concerned []*Pod
	for k := 0; k < len(asked); k++ {
		for i := range n.Pods {
			pod := &n.Pods[i]
			if !pod.InFlight || found[i] || !n.share(asked[k], pod.Asks) {
				continue
			}
			found[i] = true
			asked = append(asked, pod.Asks)
			concerned = append(concerned, pod)
		}
	}
	return concerned
}

// share reports whether both pods are about exclusive CPUs, about memory, or about the same devices.
func (n *Node) share(p, q *admission.Pod) bool {
	memory, devices := n.Kubelet.Besides(p)
	alsoMemory, alsoDevices := n.Kubelet.Besides(q)
	return memory && alsoMemory || n.Kubelet.Exclusive(p) && n.Kubelet.Exclusive(q) ||
		slices.ContainsFunc(devices, func(name string) bool { return slices.Contains(alsoDevices, name) })
}

// getTheSame reports whether pods in flight get the same whenever the pods that have left did so. It is certain of pods that
// ask for memory alone. A pod gets the best set of NUMA nodes that has room, and the most room is there when all have left. If
// the set that is the best then has room for all the pods even while nobody has left, it is the best all the time.
func (n *Node) getTheSame(pods []*Pod) bool {
	before := n.Reported
	if before == nil || before.Memory == nil || n.Kubelet.Memory == nil || !sameGroups(before.Memory, n.Kubelet.Memory) {
		return false
	}
	var asked []memorymanager.Quantity
	for _, pod := range pods {
		memory, devices := n.Kubelet.Besides(pod.Asks)
		if !memory || len(devices) > 0 || n.Kubelet.Exclusive(pod.Asks) || slices.Contains(n.Gone, pod.UID) {
			return false
		}
		for i := range pod.Asks.Containers {
			asked = append(asked, pod.Asks.Containers[i].Memory...)
		}
	}
	for _, pod := range pods {
		decision, _ := n.Kubelet.Admitting(pod.Asks)
		if decision.Verdict != admission.Admitted {
			return false
		}
		for _, block := range decision.Held.Memory {
			if !affords(before.Memory, block.NUMANodes, block.Type, asked) {
				return false
			}
		}
	}
	return true
}

// sameGroups reports whether NUMA nodes share allocations with the same others in both states.
func sameGroups(a, b *memorymanager.State) bool {
	for i := range a.NUMANodes {
		if a.NUMANodes[i].Group != b.NUMANodes[i].Group {
			return false
		}
	}
	return !a.Torn && !b.Torn
}

// affords reports whether NUMA nodes that share their allocations with no others, and with each other, have as much free memory
// of a type as is asked for in all.
func affords(s *memorymanager.State, numaNodes topologymanager.Mask, name string, asked []memorymanager.Quantity) bool {
	at, known := slices.BinarySearch(s.Types, name)
	if !known {
		return false
	}
	left := uint64(0)
	for rest := numaNodes; rest != 0; rest = rest.Rest() {
		node := &s.NUMANodes[rest.First()]
		if node.Group != numaNodes {
			return false
		}
		left += node.Memory[at].Free
	}
	for _, q := range asked {
		if q.Type != name {
			continue
		}
		if q.Bytes > left {
			return false
		}
		left -= q.Bytes
	}
	return true
}
