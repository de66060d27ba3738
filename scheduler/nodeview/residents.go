package nodeview

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// mirrorAnnotation stands on the API server's copy of a static pod. Its value is the UID that the pod
// has on its node, and so in the kubelet's state (pkg/kubelet/config/common.go and
// pkg/kubelet/types/pod_update.go, v1.36.3); the copy's own UID is another.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// resident is a pod of a NodeInfo that may hold exclusive CPUs.
type resident struct {
	pod  *corev1.Pod // as read; a pod that has changed is another object
	uid  types.UID   // the one it has on its node
	asks *admission.Pod
	// reported tells that a report has had it.
	reported bool
	// unsettled counts the reports that may still come before one must have the pod: while it is above 0,
	// another pod may have held CPUs, and have gone unreported, when the kubelet admitted this one.
	unsettled int
}

// residents reads the pods that may hold exclusive CPUs. Those that are among before, unchanged, are not read again.
// Pods stay mostly in their order from one NodeInfo to the next, so each is looked for behind the last found.
func residents(before []resident, pods []fwk.PodInfo) []resident {
	now := make([]resident, 0, len(before)+1)
	next := 0
	for _, info := range pods {
		pod := info.GetPod()
		if !mayHold(pod) {
			continue
		}
		at := next
		for n := 0; n < len(before) && before[at%len(before)].pod != pod; n++ {
			at++
		}
		if len(before) > 0 && before[at%len(before)].pod == pod {
			now = append(now, before[at%len(before)])
			next = at + 1
			continue
		}
		asks := admission.PodOf(pod)
		r := resident{pod: pod, uid: uidOnNode(pod), asks: &asks}
		if at := find(before, r.uid); at >= 0 {
			r.reported, r.unsettled = before[at].reported, before[at].unsettled
		}
		now = append(now, r)
	}
	return now
}

func find(pods []resident, uid types.UID) int {
	return slices.IndexFunc(pods, func(pod resident) bool { return pod.uid == uid })
}

// mayHold leaves out, cheaply, the pods that hold no exclusive CPUs for certain.
func mayHold(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed && mayAsk(pod)
}

func mayAsk(pod *corev1.Pod) bool {
	return pod.Status.QOSClass == "" || pod.Status.QOSClass == corev1.PodQOSGuaranteed
}

// AsksCPUs tells whether a pod asks for exclusive CPUs, of its containers' or of its own (pod-level resources).
func AsksCPUs(pod *corev1.Pod) bool {
	if !mayAsk(pod) {
		return false
	}
	asks := admission.PodOf(pod)
	return asks.Exclusive() || asks.PodLevel != nil
}

func uidOnNode(pod *corev1.Pod) types.UID {
	if uid, ok := pod.Annotations[mirrorAnnotation]; ok {
		return types.UID(uid)
	}
	return pod.UID
}
