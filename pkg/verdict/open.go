// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// This file is about pods in flight on a node that others have left.
//
// The kubelet takes what a pod holds for free once the pod is not active: its containers have ended, or the API server has it
// no longer. Nobody sees when that is. But both come before it admits a pod that was bound after others saw the end:
//
//   - The kubelet writes a terminal phase only when the pod is known to be terminated, and such a pod is not active
//     (mergePodStatus in pkg/kubelet/status/status_manager.go, CouldHaveRunningContainers and IsPodKnownTerminated in
//     pkg/kubelet/pod_workers.go, isPodInactive in pkg/kubelet/kubelet_pods.go, v1.36.3).
//   - A deletion has an older resourceVersion than a later binding. The kubelet watches its pods in that order, and takes
//     removals before additions if they come together (Merge in pkg/kubelet/config/config.go). With the removal the pod is not
//     active any more (HandlePodRemoves in pkg/kubelet/kubelet.go).
//
// Preemption asks about victims that have not left yet. Pods that are not bound may then come before or after them.
//
// So of a pod that this scheduler binds it is known which pods had left before (Pod.After). It is not known of pods that others
// have bound: a watch that had to list again shows neither order.

// undecided says why what a demand gets depends on whether pods in flight were admitted before or after other pods left the
// node, and "" if it does not. Pods that have nothing to do with the demand do not count. Where the kubelet's rules give an
// answer for every order, decision becomes that answer.
func (n *Node) undecided(d *Demand, decision *admission.Decision) string {
	if !n.mayBeOpen() {
		return ""
	}
	concerned := n.concerning(&d.Pod)
	awaited := slices.DeleteFunc(slices.Clone(concerned), func(p *Pod) bool { return !p.Awaited() })
	if slices.ContainsFunc(awaited, func(p *Pod) bool { return p.Doubtful }) {
		return "the pods in flight may have been admitted beside others that no report has shown"
	}
	passed := slices.ContainsFunc(awaited, func(p *Pod) bool { return len(p.Beside) > 0 })
	coming := slices.DeleteFunc(slices.Clone(concerned), func(p *Pod) bool { return !p.coming() })
	if !passed && (!slices.ContainsFunc(coming, n.overtaken) || n.getTheSame(coming)) {
		return ""
	}
	*decision = n.admitAmong(d, concerned)
	if decision.Verdict == admission.Wait {
		return "the pods in flight may have been admitted before or after other pods left the node"
	}
	return ""
}

// mayBeOpen is a quick look at what nearly no node has.
func (n *Node) mayBeOpen() bool {
	for i := range n.Pods {
		pod := &n.Pods[i]
		if pod.Awaited() && (pod.Doubtful || len(pod.Beside) > 0) || pod.coming() && n.overtaken(pod) {
			return true
		}
	}
	return false
}

// coming reports whether the kubelet is to admit the pod, or may have done so since the report. Of the others that a report has
// had the time to show nothing is to come.
func (p *Pod) coming() bool { return p.InFlight && (p.Unbound || !p.Kept) }

// overtaken reports whether a pod has left the node, and may not have before this one was bound.
func (n *Node) overtaken(pod *Pod) bool {
	for i := range n.Left {
		if !slices.Contains(pod.After, n.Left[i].UID) {
			return true
		}
	}
	return false
}

// admitAmong is what the kubelet decides about the demand in every order in which pods may have come and left.
func (n *Node) admitAmong(d *Demand, concerned []*Pod) admission.Decision {
	kubelet := *n.Kubelet
	kubelet.Memory = n.Reported.Memory
	kubelet.Devices = n.Reported.Devices
	pods := make([]*admission.Pod, len(concerned))
	after := make([]uint64, len(concerned))
	for i, pod := range concerned {
		pods[i] = pod.Asks
	}
	var leaving []admission.Leaving
	leaves := func(l admission.Leaving, before func(pod *Pod) bool) {
		for i, pod := range concerned {
			if len(leaving) < 64 && before(pod) {
				after[i] |= 1 << len(leaving)
			}
		}
		leaving = append(leaving, l)
	}
	for k := range n.Left {
		left := &n.Left[k]
		before := func(pod *Pod) bool { return slices.Contains(pod.After, left.UID) }
		if !slices.ContainsFunc(concerned, func(pod *Pod) bool { return !before(pod) }) {
			kubelet = kubelet.Releasing(left.Grants, &left.Held) // it has gone in every order
			continue
		}
		kubelet = kubelet.Granting(left.Grants)
		leaves(left.Leaving, before)
	}
	for _, passed := range passedBy(concerned) {
		leaves(admission.Leaving{Came: passed.Asks}, func(pod *Pod) bool { return !pod.Awaited() || !pod.wasBeside(passed.UID) })
	}
	return admission.AdmitAmong(&kubelet, pods, &d.Pod, leaving, after)
}

// passedBy are the pods that may have been beside one of some pods that are awaited, each once.
func passedBy(pods []*Pod) []Passed {
	var all []Passed
	known := map[types.UID]bool{}
	for _, pod := range pods {
		for _, passed := range pod.Beside {
			if pod.Awaited() && !known[passed.UID] {
				known[passed.UID] = true
				all = append(all, passed)
			}
		}
	}
	return all
}

// wasBeside reports whether the pod may have been admitted beside one that has left.
func (p *Pod) wasBeside(uid types.UID) bool {
	return slices.ContainsFunc(p.Beside, func(passed Passed) bool { return passed.UID == uid })
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
