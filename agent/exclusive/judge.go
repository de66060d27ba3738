// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/launcher"
)

// Grants are the exclusive CPUs of each container, by pod.
type Grants = map[types.UID]map[string]cpuset.Set

// guest is a dedicated VM's container with CPUs of its own.
type guest struct {
	pod     types.UID
	vm      types.NamespacedName
	compute string
	cpus    cpuset.Set
	// realtime reports that the VM asks for realtime vCPUs.
	realtime bool
}

// guestsOf are the guests of a node, sorted by pod.
func guestsOf(pods []*corev1.Pod, grants Grants) []guest {
	var guests []guest
	for _, pod := range pods {
		cpus := grants[pod.UID]
		if len(cpus) == 0 {
			continue
		}
		l, is := launcher.Of(pod)
		if is && l.Dedicated && !cpus[l.Compute].IsEmpty() {
			guests = append(guests, guest{pod.UID, l.VMI, l.Compute, cpus[l.Compute], l.Realtime})
		}
	}
	slices.SortFunc(guests, func(a, b guest) int { return cmp.Compare(a.pod, b.pod) })
	return guests
}

// kind is why a container may be where it is.
type kind uint8

const (
	// sharedPool: it has no CPUs of its own.
	sharedPool kind = iota
	// elsewhere: it has CPUs of its own, and these are others.
	elsewhere
	// samePod: it is in the VM's own pod.
	samePod
)

// other is a container that may run on a VM's CPUs.
type other struct {
	kind      kind
	pod       types.NamespacedName
	container string
	group     *cgroup.Group
}

// judgement is who may run on the CPUs of one guest.
type judgement struct {
	containers []other
	services   []string // cgroups
}

// judge says for each guest, by pod, who else may run on its CPUs. groups are all cgroups with processes that may use any
// of these.
func judge(guests []guest, pods []*corev1.Pod, grants Grants, groups []cgroup.Group) map[types.UID]judgement {
	names := namesOf(pods)
	judged := make(map[types.UID]judgement, len(guests))
	for i := range guests {
		g := &guests[i]
		var j judgement
		for n := range groups {
			group := &groups[n]
			if !group.CPUs.Overlaps(g.cpus) {
				continue
			}
			if group.PodUID == "" {
				j.services = append(j.services, group.Path)
				continue
			}
			o, is := names.other(g, group, grants)
			if is {
				j.containers = append(j.containers, o)
			}
		}
		slices.SortFunc(j.containers, func(a, b other) int { return cmp.Compare(a.group.Path, b.group.Path) })
		slices.Sort(j.services)
		judged[g.pod] = j
	}
	return judged
}

// siblingsOf says which hardware threads of a guest's cores are not its own, and whose they are. Whatever runs there takes
// turns with the guest's threads, though it is on CPUs of its own.
func siblingsOf(cpus cpuset.Set, topology *cputopology.Topology, grants Grants) string {
	if topology == nil {
		return ""
	}
	var siblings, granted cpuset.Set
	for id := range cpus.All() {
		core, known := topology.CoreOf(id)
		if known {
			siblings = siblings.Union(core.CPUs)
		}
	}
	siblings = siblings.Minus(cpus)
	for _, containers := range grants {
		for _, other := range containers {
			granted = granted.Union(other)
		}
	}
	var parts []string
	for _, of := range []struct {
		cpus cpuset.Set
		what string
	}{{siblings.Minus(granted), "are in the shared pool"}, {siblings.Intersect(granted), "are granted to other containers"}} {
		if !of.cpus.IsEmpty() {
			parts = append(parts, of.cpus.String()+" "+of.what)
		}
	}
	return strings.Join(parts, ", ")
}

// named is a container that the API server lists.
type named struct {
	pod       *corev1.Pod
	container string
}

// names has the containers of all pods by the runtime's id, and the pods by UID.
type names map[string]named

// hashAnnotation has the UID that the kubelet knows a static pod by (ConfigHashAnnotationKey, pkg/kubelet/types, v1.36.3).
// The UID of its copy at the API server is another.
const hashAnnotation = "kubernetes.io/config.hash"

func namesOf(pods []*corev1.Pod) names {
	all := names{}
	for _, pod := range pods {
		for _, statuses := range [][]corev1.ContainerStatus{
			pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses,
		} {
			for i := range statuses {
				_, id, found := strings.Cut(statuses[i].ContainerID, "://")
				if found {
					all[id] = named{pod, statuses[i].Name}
				}
			}
		}
	}
	return all
}

// uidOf is the UID by which the kubelet knows a pod.
func uidOf(pod *corev1.Pod) types.UID {
	hash := pod.Annotations[hashAnnotation]
	if hash != "" {
		return types.UID(hash)
	}
	return pod.UID
}

// other says who a cgroup of a pod is to a guest whose CPUs it may use. is is false for the guest's own container, and for
// what is no container.
func (n names) other(g *guest, group *cgroup.Group, grants Grants) (o other, is bool) {
	who, listed := n[group.ContainerID]
	if !listed || uidOf(who.pod) != types.UID(group.PodUID) {
		return other{}, false
	}
	o = other{pod: types.NamespacedName{Namespace: who.pod.Namespace, Name: who.pod.Name}, container: who.container, group: group}
	switch {
	case who.pod.UID == g.pod && who.container == g.compute:
		return other{}, false
	case who.pod.UID == g.pod:
		o.kind = samePod
	case !grants[types.UID(group.PodUID)][who.container].IsEmpty():
		o.kind = elsewhere
	}
	return o, true
}
