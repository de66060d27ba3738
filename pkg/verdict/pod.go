// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// Pod is a pod on a node that has exclusive CPUs, memory or devices of its own, or may get some.
type Pod struct {
	// UID is the one that the pod has on its node, and so in the node's report.
	UID types.UID
	// Asks is what it asks for; nil for a pod that is known from the report only.
	Asks *admission.Pod
	// Doubtful reports that the CPUs of this pod in flight cannot be predicted: another pod may have been
	// admitted and deleted before it, without any report of that.
	Doubtful bool
	// Kept reports of a pod in flight that no report is waited for on its account: no kubelet has heard of it yet, or
	// reports have had the time to show it. Its place is kept in every order of admission.
	Kept bool
	// Unbound reports that a scheduler has not bound the pod yet, so that no kubelet can have heard of it.
	Unbound bool
	// After are granted pods that are known to leave the node before this one is bound: see open.go.
	After []types.UID
	// Beside are pods that have come to the node and left it without any report, and that may have been there when the kubelet
	// admitted this one.
	Beside []Passed
	// Nominated reports that the pod is not bound yet, and is to come when the pods that were evicted for it have ended.
	Nominated bool
	// Ending reports that the pod is being deleted. What it holds will be free.
	Ending bool

	// Grants are the exclusive CPUs that the report says the pod has, and Held what else, if that covers all it asks for.
	// New sets both.
	Grants []admission.Grant
	Held   admission.Held
	// InFlight reports that the kubelet decides about the pod (admission.Node.Decides) and the report does not cover it. New
	// sets it.
	InFlight bool

	// Name and Millicores are for explanations: how to call the pod, and what it requests in all.
	Name       string
	Millicores int64
}

// Passed is a pod that has come to a node and left it, and what it asked for.
type Passed struct {
	UID  types.UID
	Asks *admission.Pod
}

// PodOf reads a pod that may hold exclusive CPUs; see MayHold.
func PodOf(pod *corev1.Pod) Pod {
	asks := admission.PodOf(pod)
	p := Pod{UID: UIDOnNode(pod), Asks: &asks}
	p.SetStage(pod)
	return p
}

// SetStage sets Unbound, Kept, Nominated and Ending by what the pod itself says.
func (p *Pod) SetStage(pod *corev1.Pod) {
	p.Unbound = Unheard(pod)
	p.Kept = p.Unbound
	p.Nominated = pod.Spec.NodeName == "" && pod.Status.NominatedNodeName != ""
	p.Ending = pod.DeletionTimestamp != nil
}

// Unheard reports whether no kubelet has heard of a pod: a scheduler has nominated it or assumed it, and waits for its
// volumes or for other members of its group. The API server sets condition PodScheduled when it binds a pod
// (setPodNodeAndMetadata in pkg/registry/core/pod/storage/storage.go, v1.36.3), and the kubelet sets it on those that were
// made with a node in their spec. Of the latter this is true for a moment too long.
func Unheard(pod *corev1.Pod) bool {
	starting := pod.Status.Phase == "" || pod.Status.Phase == corev1.PodPending
	if !starting || pod.Status.StartTime != nil || pod.Annotations[mirrorAnnotation] != "" {
		return false
	}
	return !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue
	})
}

// CPUs returns the CPUs that the pod holds.
func (p *Pod) CPUs() cpuset.Set { return admission.Decision{Grants: p.Grants}.Granted() }

// Covered reports whether the report has all that the pod asks for.
func (p *Pod) Covered() bool { return len(p.Grants) > 0 || !p.Held.IsEmpty() }

// Holds reports whether the pod has something of its own, or is about to get it.
func (p *Pod) Holds() bool { return p.InFlight || p.Covered() }

// Awaited reports whether the pod is in flight, and the node's next report is expected to have it.
func (p *Pod) Awaited() bool { return p.InFlight && !p.Kept }

// mirrorAnnotation is on the API server's copy of a static pod. Its value is the UID that the pod has on its
// node, and so in the kubelet's state. The copy's own UID is another
// (pkg/kubelet/config/common.go and pkg/kubelet/types/pod_update.go, v1.36.3).
const mirrorAnnotation = corev1.MirrorPodAnnotationKey

// UIDOnNode returns the UID by which the pod's kubelet knows it.
func UIDOnNode(pod *corev1.Pod) types.UID {
	uid := pod.Annotations[mirrorAnnotation]
	if uid != "" {
		return types.UID(uid)
	}
	return pod.UID
}

// MayHold reports whether a pod could hold exclusive CPUs, memory or devices of its own now. It is cheap, and never false
// for one that does.
func MayHold(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed &&
		(mayAsk(pod) || asksForDevices(pod.Spec.Containers) || asksForDevices(pod.Spec.InitContainers))
}

// AsksCPUs reports whether a pod asks for exclusive CPUs on some node, in its containers or as a whole.
func AsksCPUs(pod *corev1.Pod) bool {
	if !mayAsk(pod) {
		return false
	}
	asks := admission.PodOf(pod)
	return asks.Exclusive() || asks.PodLevel != nil
}

func mayAsk(pod *corev1.Pod) bool {
	return pod.Status.QOSClass == "" || pod.Status.QOSClass == corev1.PodQOSGuaranteed
}

// asksForDevices reports whether a container limits a resource that a device plugin may serve.
func asksForDevices(containers []corev1.Container) bool {
	for i := range containers {
		for name := range containers[i].Resources.Limits {
			if admission.IsExtended(name) {
				return true
			}
		}
	}
	return false
}

// Covers reports whether a report has all that a pod asks the kubelet for: CPUs for each container that asks for some, and
// memory and devices as well. A report can be written while the kubelet is between two containers. Memory of an init
// container may have been given back already.
func Covers(r *nodereport.Report, uid types.UID, pod *admission.Pod) bool {
	grants := r.Granted[uid]
	held := r.Held[uid]
	if len(grants) == 0 && held.IsEmpty() {
		return false
	}
	n := r.Node
	containers := pod.Containers
	if n.PodLevelResourceManagers && pod.PodLevel != nil {
		containers = pod.PodLevel.Containers
	}
	return !slices.ContainsFunc(containers, func(c admission.Container) bool {
		return c.CPUs > 0 && n.CPUManager.Policy == cpumanager.PolicyStatic && !slices.ContainsFunc(grants, func(g admission.Grant) bool {
			return g.Container == c.Name && !g.CPUs.IsEmpty()
		})
	}) && n.CoversBesides(pod, &held)
}
