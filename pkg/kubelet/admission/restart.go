// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// This file is what a kubelet does when it starts again on a node with pods. It reads its state back, and it admits the
// pods a second time, the oldest first, each with the CPUs that it holds. Both can go wrong.

// Restarts is "" where the kubelet of n starts again while grants are held, or the kubelet's error (validateState in
// pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3; the same in v1.37.2 and v1.38.0-beta.0). Inexact says what the machine itself
// rules out.
func (n *Node) Restarts(grants []Grant) string {
	all := n.Empty().Shared
	// A part counts, too: on machines whose cores differ in size it can have CPUs that the pod as a whole does not have.
	known := n.Shared
	for i := range grants {
		known = known.Union(grants[i].CPUs)
	}
	switch {
	case n.CPUManager.Policy != cpumanager.PolicyStatic || n.Shared.IsEmpty() && len(grants) == 0:
		return ""
	case n.Shared.IsEmpty():
		return "default cpuset cannot be empty"
	case n.CPUManager.Options.StrictCPUReservation && n.Reserved.Overlaps(n.Shared):
		return fmt.Sprintf("some of strictly reserved cpus: %q are present in defaultCpuSet: %q", n.Reserved.Intersect(n.Shared), n.Shared)
	case !n.CPUManager.Options.StrictCPUReservation && !n.Reserved.SubsetOf(n.Shared):
		return fmt.Sprintf("not all reserved cpus: %q are present in defaultCpuSet: %q", n.Reserved, n.Shared)
	}
	for _, grant := range grants {
		// What a pod has as a whole is not looked at, which is an entry without a container.
		if grant.Container != "" && grant.CPUs.Overlaps(n.Shared) {
			return fmt.Sprintf("container: %s cpuset: %q overlaps with default cpuset %q", grant.Container, grant.CPUs, n.Shared)
		}
	}
	if known != all {
		return fmt.Sprintf("current set of available CPUs %q doesn't match with CPUs in state %q", all, known)
	}
	return ""
}

// Readmit is what a kubelet that has started again does with a pod that was there before. p holds held, an entry for
// each of its containers with exclusive CPUs, and besides. Admitted, it keeps them. Refused, it fails although it runs. Up
// to 1.36 that happens with full-pcpus-only wherever the node has fewer free CPUs than a container holds. The check comes
// before the kubelet looks at what the container has (Allocate in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3).
//
// An init container whose memory was given back gets memory once more, although it will not run again.
func Readmit(n *Node, p *Pod, held []Grant, besides *Held) Decision {
	d, _ := n.Readmitting(p, held, besides)
	return d
}

// Readmitting is Readmit, and the node afterwards.
func (n *Node) Readmitting(p *Pod, held []Grant, besides *Held) (Decision, Node) {
	p = n.seesAgain(p)
	after := n.contents()
	asks := n.interestsOf(p)
	if !asks.any() {
		return Decision{Verdict: Admitted, Grants: held, Held: *besides, Shared: n.Shared}, *n
	}
	a := newAttempt(n, p, asks)
	defer a.end()
	a.grants = held
	err := a.again(n.sees(p), held, besides)
	if err != nil && asks.memory {
		a.memory.KeepRest(besides.Memory)
	}
	d := a.decision(err)
	a.leave(&after, err)
	after.shared = d.Shared
	if err == nil {
		d.Held.Devices = besides.Devices
	} else if asks.devices {
		after.devices = n.Devices.Releasing(besides.Devices)
	}
	return d, n.with(&after)
}

// seesAgain is p as the kubelet of n sees it when it has started again. Kubelet 1.34 reads the status: see waitingOf.
func (n *Node) seesAgain(p *Pod) *Pod {
	if !n.readsStatus() || p.Waiting == nil {
		return p
	}
	seen := *p
	seen.Containers = slices.Clone(p.Containers)
	for i := range seen.Containers {
		if p.Waiting[i] {
			seen.Containers[i].CPUs = 0
			seen.Containers[i].Memory = nil
		}
	}
	return &seen
}

// waitingOf says which containers ask for neither CPUs nor memory in the eyes of a kubelet 1.34 that starts again. Of an app
// container or a sidecar with a status it reads status.allocatedResources, which a waiting container does not have
// (guaranteedCPUs in pkg/kubelet/cm/cpumanager/policy_static.go and getRequestedResources in
// pkg/kubelet/cm/memorymanager/policy_static.go, v1.34.4; 1.35 and later read the spec). It returns nil where that changes
// nothing.
func waitingOf(pod *corev1.Pod, containers []Container) []bool {
	var waiting []bool
	for i, c := range containers {
		statuses := pod.Status.ContainerStatuses
		if c.Kind == Init || c.CPUs == 0 && len(c.Memory) == 0 {
			continue
		} else if c.Kind == Sidecar {
			statuses = pod.Status.InitContainerStatuses
		}
		at := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == c.Name })
		if at < 0 || statuses[at].AllocatedResources != nil {
			continue
		}
		if waiting == nil {
			waiting = make([]bool, len(containers))
		}
		waiting[i] = true
	}
	return waiting
}

func (a *attempt) again(p *Pod, held []Grant, besides *Held) error {
	if a.node.asOne(p) {
		return a.podLevelAgain(p, held)
	}
	aligned := a.node.TopologyManager.Policy != topologymanager.PolicyNone
	asPod := aligned && a.node.TopologyManager.Scope == topologymanager.ScopePod
	var affinity topologymanager.Affinity
	var err error
	if asPod {
		affinity, err = a.alignPodAgain(p, held, besides)
	}
	for i := range p.Containers {
		if err != nil {
			return err
		}
		c := &p.Containers[i]
		if aligned && !asPod {
			affinity, err = a.alignContainerAgain(c, held, besides)
		}
		if err == nil {
			err = a.grantAgain(c, affinity, besides)
		}
	}
	return err
}

// alignContainerAgain asks the topology manager's policy once more. Hints must include all NUMA nodes of what is held.
func (a *attempt) alignContainerAgain(c *Container, held []Grant, besides *Held) (topologymanager.Affinity, error) {
	a.providers = a.providers[:0]
	if a.asks.devices {
		a.providers = a.devices.HintsAgain(a.providers, c.Devices, besides.Devices, c.Name)
	}
	cpus := heldBy(c, held)
	a.hintCPUsAgain(c.CPUs, cpus, cpus.Len() == c.CPUs)
	err := a.hintMemoryAgain(c.Memory, memoryOf(besides.Memory, c.Name))
	if err != nil {
		return topologymanager.Affinity{}, err
	}
	affinity, err := a.align()
	a.cpus.Reusable = cpuset.Set{}
	return affinity, err
}

// alignPodAgain is alignContainerAgain for the pod as a whole. Up to 1.37 the memory manager compares what the first container
// with memory holds with what the pod requests, and has no hint where that differs (GetPodTopologyHints and regenerateHints in
// pkg/kubelet/cm/memorymanager/policy_static.go, v1.36.3).
func (a *attempt) alignPodAgain(p *Pod, held []Grant, besides *Held) (topologymanager.Affinity, error) {
	a.providers = a.providers[:0]
	if a.asks.devices {
		a.deviceRequest = p.peakDevices(a.deviceRequest[:0])
		a.providers = a.devices.HintsAgain(a.providers, a.deviceRequest, besides.Devices, "")
	}
	a.hintCPUsAgain(p.PeakCPUs(), granted(held), allAsked(p, held))
	if a.asks.memory {
		a.request = p.peakMemory(&a.podMemory, a.request[:0], a.node.Minor)
		request := a.request
		var first []memorymanager.Held
		for i := 0; i < len(p.Containers) && len(first) == 0; i++ {
			first = memoryOf(besides.Memory, p.Containers[i].Name)
			if len(first) > 0 && a.node.comparesContainers() {
				request = p.Containers[i].Memory
			}
		}
		err := a.hintMemoryAgain(request, first)
		if err != nil {
			return topologymanager.Affinity{}, err
		}
	}
	affinity, err := a.align()
	a.cpus.Reusable = cpuset.Set{}
	return affinity, err
}

// hintCPUsAgain adds the CPU manager's hints, with held for reusable. A container that holds another number of CPUs than it
// asks for (asked is false) has none that is possible.
func (a *attempt) hintCPUsAgain(need int, held cpuset.Set, asked bool) {
	switch {
	case !a.asks.cpus || need == 0:
	case asked:
		a.cpus.Reusable = held
		a.hintCPUs(need)
	default:
		a.providers = append(a.providers, impossible(a.node.numaNodes()))
	}
}

func (a *attempt) hintMemoryAgain(request []memorymanager.Quantity, held []memorymanager.Held) error {
	if !a.asks.memory || len(held) == 0 {
		return a.hintMemory(request)
	}
	for i := range memorymanager.Regenerated(request, held) {
		a.providers = append(a.providers, only(held[i].NUMANodes))
	}
	return nil
}

// grantAgain checks what the managers check of a container that holds what it asks for.
func (a *attempt) grantAgain(c *Container, affinity topologymanager.Affinity, besides *Held) error {
	if a.asks.devices {
		err := a.devices.AllocateAgain(c.Name, c.Kind == Init, c.Devices, besides.Devices)
		if err != nil {
			return err
		}
	}
	if a.asks.cpus && c.CPUs > 0 && a.node.checksSMTAgain() {
		err := a.cpus.CheckSMT(c.CPUs)
		if err != nil {
			return err
		}
	}
	if !a.asks.memory {
		return nil
	}
	held := memoryOf(besides.Memory, c.Name)
	if len(held) > 0 {
		a.memory.Keep(c.Kind == Init, held)
		return nil
	}
	return a.memory.Allocate(c.Name, c.Kind == Init, c.Memory, affinity.NUMANodes, affinity.Preferred)
}

// memoryOf is what a container holds. held is by container.
func memoryOf(held []memorymanager.Held, container string) []memorymanager.Held {
	of := func(h memorymanager.Held) bool { return h.Container == container }
	first := slices.IndexFunc(held, of)
	if first < 0 {
		return nil
	}
	rest := held[first:]
	end := slices.IndexFunc(rest, func(h memorymanager.Held) bool { return !of(h) })
	if end < 0 {
		return rest
	}
	return rest[:end]
}

// only is a hint provider with one hint, which is preferred.
type only topologymanager.Mask

func (o only) Nodes() topologymanager.Mask           { return topologymanager.Mask(o) }
func (o only) Possible(m topologymanager.Mask) bool  { return m == topologymanager.Mask(o) }
func (o only) Preferred(m topologymanager.Mask) bool { return m == topologymanager.Mask(o) }
func (o only) PreferredSizes() (least, most int) {
	size := topologymanager.Mask(o).Len()
	return size, size
}

// impossible is a hint provider without any hint, over some NUMA nodes.
type impossible topologymanager.Mask

func (i impossible) Nodes() topologymanager.Mask         { return topologymanager.Mask(i) }
func (i impossible) Possible(topologymanager.Mask) bool  { return false }
func (i impossible) Preferred(topologymanager.Mask) bool { return false }
func (i impossible) PreferredSizes() (least, most int)   { return 1, 1 }

func heldBy(c *Container, held []Grant) cpuset.Set {
	for i := range held {
		if held[i].Container == c.Name {
			return held[i].CPUs
		}
	}
	return cpuset.Set{}
}

func allAsked(p *Pod, held []Grant) bool {
	for i := range p.Containers {
		c := &p.Containers[i]
		if heldBy(c, held).Len() != c.CPUs {
			return false
		}
	}
	return true
}
