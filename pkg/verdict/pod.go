package verdict

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Pod is a pod on a node that has exclusive CPUs, or may get some.
type Pod struct {
	// UID is the one that the pod has on its node, and so in the node's report.
	UID types.UID
	// Asks is what it asks for; nil for a pod that is known from the report only.
	Asks *admission.Pod
	// Doubtful reports that the CPUs of this pod in flight cannot be predicted: another pod may have been
	// admitted and deleted before it, without any report of that.
	Doubtful bool

	// Grants is what the report says the pod has, if that covers all it asks for. New sets it.
	Grants []admission.Grant
	// InFlight reports that the pod asks for exclusive CPUs and is not covered by the report. New sets it.
	InFlight bool

	// Name and Millicores are for explanations: how to call the pod, and what it requests in all.
	Name       string
	Millicores int64
}

// PodOf reads a pod that may hold exclusive CPUs; see MayHold.
func PodOf(pod *corev1.Pod) Pod {
	asks := admission.PodOf(pod)
	return Pod{UID: UIDOnNode(pod), Asks: &asks}
}

// CPUs returns the CPUs that the pod holds.
func (p *Pod) CPUs() cpuset.Set { return admission.Decision{Grants: p.Grants}.Granted() }

// Holds reports whether the pod has exclusive CPUs, or is about to get some.
func (p *Pod) Holds() bool { return p.InFlight || len(p.Grants) > 0 }

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

// MayHold reports whether a pod could hold exclusive CPUs now. It is cheap, and never false for one that does.
func MayHold(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed && mayAsk(pod)
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

// Covers reports whether grants has CPUs for each container of a pod that asks the kubelet of n for some.
// A report can be written while the kubelet is between two containers.
func Covers(n *admission.Node, grants []admission.Grant, pod *admission.Pod) bool {
	if len(grants) == 0 {
		return false
	}
	containers := pod.Containers
	if n.PodLevelResourceManagers && pod.PodLevel != nil {
		containers = pod.PodLevel.Containers
	}
	return !slices.ContainsFunc(containers, func(c admission.Container) bool {
		return c.CPUs > 0 && !slices.ContainsFunc(grants, func(g admission.Grant) bool {
			return g.Container == c.Name && !g.CPUs.IsEmpty()
		})
	})
}
