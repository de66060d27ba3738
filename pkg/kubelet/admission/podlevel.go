// SPDX-License-Identifier: Apache-2.0

package admission

import (
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// This file is the feature gate PodLevelResourceManagers, alpha in 1.36, beta and off in 1.37 and 1.38: what a kubelet with the
// gate on does with pods that have pod-level resources (spec.resources). In scope container they are served as others
// are. In scope pod the pod gets the CPUs that it asks for as a whole, aligned as one. Its containers get theirs out
// of these, and containers without exclusive CPUs share what remains.

// PodLevel is what a kubelet with that gate sees of a Guaranteed pod with pod-level resources.
type PodLevel struct {
	// CPUs is the number of exclusive CPUs that the pod as a whole asks for, or 0 where that is not a whole number.
	CPUs int
	// Containers are the pod's, with what each asks for.
	Containers []Container
}

// podLevelOf reads it. A container asks for exclusive CPUs if its requests equal its limits, of memory too
// (IsContainerEquivalentQOSGuaranteed in pkg/kubelet/cm/qos/helpers.go, v1.36.3).
func podLevelOf(pod *corev1.Pod, containers []Container) *PodLevel {
	requests := pod.Spec.Resources.Requests
	allocated := podAllocated(pod)
	if allocated != nil {
		requests = allocated // of the pod as a whole; see requestsOf
	}
	level := &PodLevel{CPUs: wholeCPUs(requests)}
	inits := len(pod.Spec.InitContainers)
	for i, c := range containers {
		var container *corev1.Container
		statuses := pod.Status.ContainerStatuses
		if i < inits {
			container = &pod.Spec.InitContainers[i]
			statuses = pod.Status.InitContainerStatuses
		} else {
			container = &pod.Spec.Containers[i-inits]
		}
		resources := &container.Resources
		if limitedToRequest(resources, corev1.ResourceCPU) && limitedToRequest(resources, corev1.ResourceMemory) {
			c.CPUs = wholeCPUs(requestsOf(container, statuses))
		}
		level.Containers = append(level.Containers, c)
	}
	return level
}

func limitedToRequest(r *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	request := r.Requests[name]
	limit := r.Limits[name]
	return !request.IsZero() && request.Cmp(limit) == 0
}

// sees is p as the kubelet of n sees it.
func (n *Node) sees(p *Pod) *Pod {
	if !n.PodLevelResourceManagers || p.PodLevel == nil {
		return p
	}
	seen := *p
	seen.PodLevelResources = false
	seen.Containers = p.PodLevel.Containers
	return &seen
}

// asOne reports whether the kubelet of n gives p CPUs as a whole.
func (n *Node) asOne(p *Pod) bool {
	return n.PodLevelResourceManagers && p.PodLevel != nil &&
		n.TopologyManager.Policy != topologymanager.PolicyNone && n.TopologyManager.Scope == topologymanager.ScopePod
}

// Exclusive reports whether the kubelet of n, with the policy static, gives p exclusive CPUs if it admits it.
func (n *Node) Exclusive(p *Pod) bool {
	if n.asOne(p) {
		return p.PodLevel.CPUs > 0
	}
	return n.sees(p).Exclusive()
}

// The refusals of a pod with pod-level resources (pkg/kubelet/cm/topologymanager/topology_manager.go, v1.36.3).
var (
	errPodScope = &topologymanager.Refusal{Reason: ReasonTopologyAffinity,
		Message: "Pod Scope pod with pod-level resources failed admission under pod-scope topology manager"}
	errContainerScope = &topologymanager.Refusal{Reason: ReasonTopologyAffinity,
		Message: "Pod Scope pod with pod-level resources failed admission with a container-level topology manager"}
)

// misaligned is how the topology manager of n refuses p.
func (n *Node) misaligned(p *Pod) error {
	switch {
	case !n.PodLevelResourceManagers || p.PodLevel == nil:
		return topologymanager.ErrAffinity
	case n.TopologyManager.Scope == topologymanager.ScopePod:
		return errPodScope
	}
	return errContainerScope
}

// podLevelAgain is podLevel after a restart of the kubelet. From 1.38 on a pod keeps what it holds.
func (a *attempt) podLevelAgain(p *Pod, held []Grant) error {
	whole := heldBy(&Container{}, held)
	switch {
	case !a.node.restoresPods() || whole.IsEmpty():
		return a.podLevel(p, held)
	case whole.Overlaps(a.cpus.Shared) || !p.divided(held):
		// The rest of an earlier pod, which the kubelet releases first (podAllocationStaleness).
		a.cpus.Shared = a.cpus.Shared.Union(whole)
		return a.podLevel(p, nil)
	}
	a.providers = a.providers[:0]
	a.hintCPUsAgain(p.PodLevel.CPUs, whole, whole.Len() == p.PodLevel.CPUs)
	affinity, err := a.align()
	if err != nil || len(held) == 1+len(p.Containers) {
		return err
	}
	return a.divide(p, whole, held, affinity.NUMANodes)
}

// divided reports whether held has a part for the pod's first containers, one after the other, and for no others. So it is
// where the kubelet stopped while it divided the pod's CPUs (assignmentsFormSpecPrefix).
func (p *Pod) divided(held []Grant) bool {
	parts := 0
	for i := range p.Containers {
		if partOf(held, p.Containers[i].Name) == nil {
			break
		}
		parts++
	}
	return len(held) == 1+parts
}

// partOf is what a container holds of the pod's CPUs, or nil.
func partOf(held []Grant, container string) *Grant {
	for i := range held {
		if held[i].Part && held[i].Container == container {
			return &held[i]
		}
	}
	return nil
}

// podLevel gives the pod CPUs as a whole, and parts of them to its containers (GetPodTopologyHints and AllocatePod in
// pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3; the same in v1.37.2, and for a new pod in v1.38.0-beta.0).
//
// held is what the pod holds already, after a restart of a kubelet up to 1.37. The kubelet does not keep that, as it does
// for other pods. It takes other CPUs, and the ones before belong to nobody any more. It also refuses the pod if any
// container shares: it takes the CPUs that this container may use for CPUs that were granted to it.
func (a *attempt) podLevel(p *Pod, held []Grant) error {
	starved := p.starved()
	if starved != "" && a.node.TopologyManager.Policy != topologymanager.PolicyBestEffort {
		return a.misaligned
	}
	if starved != "" {
		return &topologymanager.Refusal{Reason: ReasonEmptySharedPool, Message: starved}
	}
	var parts cpuset.Set
	for _, grant := range held {
		if grant.Part {
			parts = parts.Union(grant.CPUs)
		}
	}
	a.providers = a.providers[:0]
	a.hintCPUsAgain(p.PodLevel.CPUs, parts, allHold(p, held))
	affinity, err := a.align()
	if err != nil {
		return err
	}
	a.cpus.Reusable = cpuset.Set{}
	cpus, err := a.cpus.Allocate(p.PodLevel.CPUs, affinity.NUMANodes)
	if err != nil {
		return err
	}
	if err = a.divide(p, cpus, nil, affinity.NUMANodes); err != nil {
		a.grants = nil
		if held == nil && !a.node.restoresPods() { // No container has an entry by which the kubelet would release the CPUs.
			a.lost = cpus
		}
	}
	return err
}

// divide gives the containers parts of the pod's CPUs. Those that hold a part already keep it.
func (a *attempt) divide(p *Pod, cpus cpuset.Set, held []Grant, affinity topologymanager.Mask) error {
	grants := []Grant{{CPUs: cpus}}
	for i := range p.Containers {
		c := &p.Containers[i]
		grant := Grant{Container: c.Name, CPUs: cpus, Part: true}
		has := partOf(held, c.Name)
		if has != nil {
			grant = *has
		} else if c.CPUs > 0 {
			var err error
			if grant.CPUs, err = a.cpus.TakeFrom(&cpus, c.CPUs, affinity); err != nil {
				return err
			}
			a.cpus.NotFree = a.cpus.NotFree.Union(grant.CPUs.Minus(cpus))
		}
		if c.CPUs > 0 && c.Kind != Init {
			cpus = cpus.Minus(grant.CPUs)
		}
		grants = append(grants, grant)
	}
	for i := range p.Containers { // What remains is for all lasting containers that share.
		c := &p.Containers[i]
		if c.CPUs == 0 && c.Kind != Init {
			grants[1+i].CPUs = cpus
		}
	}
	a.grants = grants
	return nil
}

// starved is the kubelet's message where nothing remains for the pod's containers that share, or ""
// (validatePodScopeResources in policy_static.go, v1.36.3).
func (p *Pod) starved() string {
	taken := 0
	share := false
	for i := range p.Containers {
		c := &p.Containers[i]
		switch {
		case c.Kind == Init && c.CPUs == 0 && taken >= p.PodLevel.CPUs:
			return "pod rejected, pod has shared init containers but no cpus available for them"
		case c.Kind == Init:
		case c.CPUs == 0:
			share = true
		default:
			taken += c.CPUs
		}
	}
	if share && taken >= p.PodLevel.CPUs {
		return "pod rejected, sum of exclusive container cpu requests equals pod budget, leaving no cpus for shared containers"
	}
	return ""
}

// allHold reports whether each container that holds CPUs holds as many as it asks for.
func allHold(p *Pod, held []Grant) bool {
	for _, grant := range held {
		for i := range p.Containers {
			c := &p.Containers[i]
			if c.Name == grant.Container && c.CPUs != grant.CPUs.Len() {
				return false
			}
		}
	}
	return true
}
