package nodes

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/verdict"
)

// patience is how many reports may come without a pod that has run for steady. After that the pod is believed to have no
// exclusive CPUs: the second of these reports was begun after the pod was seen to run. One is not enough, because pods and
// reports come by two watches, and one may be behind the other.
const (
	patience = 2
	steady   = time.Minute
)

// lateness is how late a report may be. An agent may have been away from the API server for as long as a pod has run.
const lateness = time.Hour

// uncertainty is what may have happened on a node without any report of it.
//
// A pod may be bound, admitted and deleted before a report has it. The CPUs of a pod that was in flight at the same time
// depend on it, and nothing that can be read shows any more that it was there. So the pods in flight are remembered. When
// one of them goes unreported, the others are doubtful until a report has them. In a scheduler that has just started,
// all pods are doubtful whose report may still be on its way.
//
// Its events are: saw (a NodeInfo), assumed and left (one pod), and reported (a report). Its result is Pod.Doubtful.
type uncertainty struct {
	began time.Time // when the view did
	// pods are those of the last NodeInfo that may hold exclusive CPUs.
	pods []cpuPod
	// bound are pods that this scheduler has bound here and that no NodeInfo has shown yet.
	bound map[types.UID]*admission.Pod
	// known reports that a NodeInfo has been seen.
	known bool
	// disturbed reports that a pod has gone unreported since the last NodeInfo.
	disturbed bool
	// unseen reports that a pod has gone unreported since the last report.
	unseen bool
}

// cpuPod is a pod of a NodeInfo that may hold exclusive CPUs.
type cpuPod struct {
	object *corev1.Pod // as read; a pod that has changed is another object
	uid    types.UID   // the one it has on its node
	asks   *admission.Pod
	// inFlight reports that it asks for exclusive CPUs and the last report does not cover it.
	inFlight bool
	// reported reports that a report has covered it.
	reported bool
	// patience is how many reports may still come before one must have the pod. While it is above 0, the pod is
	// doubtful.
	patience int
}

// read returns the pods of a NodeInfo that may hold exclusive CPUs. A pod that has not changed since the last NodeInfo is
// not read again. Pods mostly keep their order, so each is looked for behind the last one found.
func (u *uncertainty) read(pods []fwk.PodInfo) []cpuPod {
	before := u.pods
	now := make([]cpuPod, 0, len(before)+1)
	next := 0
	for _, info := range pods {
		pod := info.GetPod()
		if !verdict.MayHold(pod) {
			continue
		}
		at := next
		for n := 0; n < len(before) && before[at%len(before)].object != pod; n++ {
			at++
		}
		if len(before) > 0 && before[at%len(before)].object == pod {
			now = append(now, before[at%len(before)])
			next = at + 1
			continue
		}
		asks := admission.PodOf(pod)
		p := cpuPod{object: pod, uid: verdict.UIDOnNode(pod), asks: &asks}
		if at := u.find(p.uid); at >= 0 {
			p.inFlight = before[at].inFlight
			p.reported = before[at].reported
			p.patience = before[at].patience
		}
		now = append(now, p)
	}
	return now
}

func (u *uncertainty) find(uid types.UID) int { return find(u.pods, uid) }

func find(pods []cpuPod, uid types.UID) int {
	return slices.IndexFunc(pods, func(pod cpuPod) bool { return pod.uid == uid })
}

// saw takes the pods of a NodeInfo, as read returned them, and as the report says of them. It sets Doubtful of the latter. A
// pod that is only nominated has no CPUs yet, so it is not doubtful.
func (u *uncertainty) saw(pods []cpuPod, applied []verdict.Pod) {
	disturbed := u.disturbed || u.lost(pods)
	for i := range pods {
		pod := &pods[i]
		pod.inFlight = applied[i].InFlight
		if applied[i].Covered() {
			pod.reported = true
			pod.patience = 0
			continue
		}
		if pod.object.Spec.NodeName != "" && (disturbed || !u.known && u.begunWith(pod.object)) {
			pod.patience = patience
		}
		applied[i].Doubtful = pod.patience > 0
	}
	u.pods = pods
	u.bound = nil
	u.known = true
	u.disturbed = false
}

// lost reports whether a pod in flight is no longer on the node and no report has had it.
func (u *uncertainty) lost(now []cpuPod) bool {
	lost := false
	for i := range u.pods {
		pod := &u.pods[i]
		lost = lost || pod.inFlight && !pod.reported && find(now, pod.uid) < 0
	}
	for uid := range u.bound {
		lost = lost || find(now, uid) < 0
	}
	u.unseen = u.unseen || lost
	return lost
}

// begunWith reports whether the report of a pod could still have been on its way when the view began: the pod does not run
// yet, or has not for long. One that has run for long, and that no report has, got no CPUs: the CPU manager came later.
func (u *uncertainty) begunWith(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodRunning || startedAfter(pod, u.began.Add(-lateness))
}

func startedAfter(pod *corev1.Pod, moment time.Time) bool {
	start := pod.Status.StartTime
	return start != nil && start.After(moment)
}

// assumed takes a pod that this scheduler binds to the node.
func (u *uncertainty) assumed(uid types.UID, asks *admission.Pod) {
	if u.bound == nil {
		u.bound = map[types.UID]*admission.Pod{}
	}
	u.bound[uid] = asks
}

// left takes a pod that has left the node for good, and that the last report does not have. It reports whether other pods
// have become doubtful.
func (u *uncertainty) left(uid types.UID) (disturbed bool) {
	at := u.find(uid)
	if at >= 0 && u.pods[at].reported && u.bound[uid] == nil {
		return false
	}
	delete(u.bound, uid)
	u.disturbed = true
	u.unseen = true
	return true
}

// reported takes a report: covered reports whether it covers a pod. It reports whether a pod has gone unreported since the
// report before.
func (u *uncertainty) reported(now time.Time, covered func(uid types.UID, asks *admission.Pod) bool) (unseen bool) {
	for i := range u.pods {
		pod := &u.pods[i]
		switch {
		case covered(pod.uid, pod.asks):
			pod.inFlight = false
			pod.reported = true
			pod.patience = 0
		case pod.patience > 0 && pod.object.Status.Phase == corev1.PodRunning && !startedAfter(pod.object, now.Add(-steady)):
			pod.patience--
		}
	}
	for uid, asks := range u.bound {
		if covered(uid, asks) {
			delete(u.bound, uid)
		}
	}
	unseen = u.unseen
	u.unseen = false
	return unseen
}

// inFlight returns what the pods in flight ask for, in the order in which they came.
func (u *uncertainty) inFlight() []*admission.Pod {
	var pods []*admission.Pod
	for i := range u.pods {
		if u.pods[i].inFlight {
			pods = append(pods, u.pods[i].asks)
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(u.bound)) {
		if u.find(uid) < 0 {
			pods = append(pods, u.bound[uid])
		}
	}
	return pods
}

// clone is a copy to try something on.
func (u *uncertainty) clone() uncertainty {
	c := *u
	c.pods = slices.Clone(u.pods)
	c.bound = maps.Clone(u.bound)
	return c
}
