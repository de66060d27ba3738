package kubeletcpu

import (
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
)

// This file is the feature gate PodLevelResourceManagers, alpha in 1.36, beta and off in 1.37: what a kubelet
// does with pods that have pod-level resources (spec.resources) if it is on. In scope container they are
// served as others are. In scope pod the pod gets the CPUs that it asks for as a whole, aligned as one, and its
// containers get theirs out of these; containers with none of their own share what is left.

// PodLevel is what a kubelet with that gate sees of a Guaranteed pod with pod-level resources.
type PodLevel struct {
	// CPUs is the number of exclusive CPUs that the pod as a whole asks for, 0 where that is not a whole one.
	CPUs int
	// Containers are the pod's, with what each asks for.
	Containers []Container
}

// podLevelOf reads it: a container asks for exclusive CPUs if its requests are its limits, of memory too
// (IsContainerEquivalentQOSGuaranteed in pkg/kubelet/cm/qos/helpers.go, v1.36.3).
func podLevelOf(pod *corev1.Pod, containers []Container) *PodLevel {
	requests := pod.Spec.Resources.Requests
	if pod.Status.AllocatedResources != nil {
		requests = pod.Status.AllocatedResources // of the pod as a whole; see requestsOf
	}
	level := &PodLevel{CPUs: wholeCPUs(requests)}
	for i, c := range containers {
		var container *corev1.Container
		statuses := pod.Status.ContainerStatuses
		if inits := len(pod.Spec.InitContainers); i < inits {
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
	request, limit := r.Requests[name], r.Limits[name]
	return !request.IsZero() && request.Cmp(limit) == 0
}

// sees is p as the kubelet of n sees it.
func (n *Node) sees(p *Pod) *Pod {
	if !n.PodLevelResourceManagers || p.PodLevel == nil {
		return p
	}
	seen := *p
	seen.PodLevelResources, seen.Containers = false, p.PodLevel.Containers
	return &seen
}

// asOne tells whether the kubelet of n gives p CPUs as a whole.
func (n *Node) asOne(p *Pod) bool {
	return n.PodLevelResourceManagers && p.PodLevel != nil &&
		n.TopologyManager.Policy != TopologyNone && n.TopologyManager.Scope == ScopePod
}

// Exclusive tells whether the kubelet of n, with the policy static, gives p CPUs of its own if it admits it.
func (n *Node) Exclusive(p *Pod) bool {
	if n.asOne(p) {
		return p.PodLevel.CPUs > 0
	}
	return n.sees(p).Exclusive()
}

// misaligned is how the topology manager of n refuses p
// (pkg/kubelet/cm/topologymanager/topology_manager.go, v1.36.3).
func (n *Node) misaligned(p *Pod) refusal {
	switch {
	case !n.PodLevelResourceManagers || p.PodLevel == nil:
		return refusal{ReasonTopologyAffinity, "Resources cannot be allocated with Topology locality"}
	case n.TopologyManager.Scope == ScopePod:
		return refusal{ReasonTopologyAffinity, "Pod Scope pod with pod-level resources failed admission under pod-scope topology manager"}
	}
	return refusal{ReasonTopologyAffinity, "Pod Scope pod with pod-level resources failed admission with a container-level topology manager"}
}

// podLevel gives the pod CPUs as a whole, and parts of them to its containers (GetPodTopologyHints and
// AllocatePod in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3; the same in v1.37.2).
//
// held is what it holds already, after a restart of the kubelet. The kubelet then does not keep that, as it
// does for other pods, but takes other CPUs, and the ones before are nobody's any more. And it refuses the pod
// if any container shares, for it takes what that one may use for what it got on its own.
func (a *admission) podLevel(p *Pod, held []Grant) refusal {
	starved, refuses := p.starved(), a.node.TopologyManager.Policy != TopologyBestEffort
	switch {
	case starved != "" && refuses:
		return a.misaligned
	case starved != "":
		return refusal{ReasonEmptySharedPool, starved}
	}
	var parts cpuset.Set
	for _, grant := range held {
		if grant.Part {
			parts = parts.Union(grant.CPUs)
		}
	}
	aligned, r := a.stillAligned(p.PodLevel.CPUs, parts, allHold(p, held))
	if r.reason == "" {
		r = a.wholeCoresOnly(p.PodLevel.CPUs)
	}
	if r.reason != "" {
		return r
	}
	cpus, r := a.takeAligned(p.PodLevel.CPUs, &aligned)
	if r.reason != "" {
		return r
	}
	if r = a.divide(p, cpus); r.reason != "" {
		if a.decision.Grants = nil; held == nil { // no container has any of it that would remind the kubelet
			a.lost = cpus
		}
	}
	return r
}

// divide gives the containers parts of the pod's CPUs.
func (a *admission) divide(p *Pod, cpus cpuset.Set) refusal {
	grants := []Grant{{CPUs: cpus}}
	for i := range p.Containers {
		c := &p.Containers[i]
		grant := Grant{Container: c.Name, CPUs: cpus, Part: true}
		if c.CPUs > 0 {
			var r refusal
			if grant.CPUs, r = a.takeCPUs(cpus, c.CPUs); r.reason != "" {
				return r
			}
			a.decision.NotFree = a.decision.NotFree.Union(grant.CPUs.Minus(cpus))
		}
		if c.CPUs > 0 && c.Kind != Init {
			cpus = cpus.Minus(grant.CPUs)
		}
		grants = append(grants, grant)
	}
	for i := range p.Containers { // What is left at the end is for all that share and last.
		if c := &p.Containers[i]; c.CPUs == 0 && c.Kind != Init {
			grants[1+i].CPUs = cpus
		}
	}
	a.decision.Grants = grants
	return refusal{}
}

// starved is the kubelet's message where containers of the pod would have to share nothing
// (validatePodScopeResources, same file); else "".
func (p *Pod) starved() string {
	taken, share := 0, false
	for i := range p.Containers {
		switch c := &p.Containers[i]; {
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

// allHold tells whether each container that holds CPUs holds as many as it asks for.
func allHold(p *Pod, held []Grant) bool {
	for _, grant := range held {
		for i := range p.Containers {
			if c := &p.Containers[i]; c.Name == grant.Container && c.CPUs != grant.CPUs.Len() {
				return false
			}
		}
	}
	return true
}
