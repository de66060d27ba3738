package nodeview

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

// maxRemembered bounds the keys of Remember for which predictions are remembered, and those of one node.
const maxRemembered = 32

// patience is how many reports may come without a pod that has run for steady before it is believed that none ever has
// it: the second one was begun after the pod was seen to run. That the pod's status is here does not mean that the reports
// are: they come by another watch, which may be behind.
const (
	patience = 2
	steady   = time.Minute
)

// lateness is by how much a report may be late: an agent may have been away from the API server for as long as the pod
// has run, and the pod's own status came first.
const lateness = time.Hour

// View is what the scheduler knows of all nodes. The zero View is ready to use and knows nothing. All
// methods may be called from any goroutine.
type View struct {
	mu       sync.RWMutex
	nodes    map[string]*node   // by name, for nodes that have a report
	memories map[string]*memory // by the key that Remember is given
	listed   atomic.Bool
	unlisted atomic.Bool
	// began is when Run did.
	began time.Time
}

// node is one node's report and what was last predicted from it.
type node struct {
	mu    sync.Mutex
	began time.Time // when the view did

	report *Report // nil once it is deleted
	// laid tells that labelled, pods, overlay and decided belong to generation and report.
	laid       bool
	generation int64
	labelled   bool
	pods       []resident
	overlay    overlaid
	decided    []decided
	// gone are the pods that were gone at the last prediction, from whichever report, and those of which
	// Left has told since: a pod never comes back.
	gone []types.UID
	// expected are pods that were bound here on an exact prediction and are not in the report yet; unsure
	// tells that one of them has gone without having been there.
	expected map[types.UID]*admission.Pod
	unsure   bool
	// lostSight are pods that were expected until they were not on the node any more. Of each of them kube-scheduler's watch
	// tells, Ended or Unexpect.
	lostSight map[types.UID]*admission.Pod
	// known tells that pods has been filled; disturbed that a pod has gone that no report has ever had.
	known, disturbed bool
}

// decided is a prediction and the memory that it was given to.
type decided struct {
	memory     *memory
	prediction *Prediction
}

// absent are the predictions for a node without a report, by standing, labelled or not.
var absent = map[bool]map[Standing]*Prediction{false: absentPredictions(false), true: absentPredictions(true)}

func absentPredictions(labelled bool) map[Standing]*Prediction {
	predictions := map[Standing]*Prediction{}
	for _, standing := range []Standing{Missing, Unlisted, Starting} {
		predictions[standing] = &Prediction{Standing: standing, Labelled: labelled, Why: noReport}
	}
	return predictions
}

// Remember lets predictions for the demand be remembered together with those of all demands that were given the
// same key: they, and what their Verdict and Rating stand for, must be the same on every node. It is for a demand that
// many nodes are asked about, before the first.
func (v *View) Remember(demand *Demand, key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.memories[key]
	if known == nil || !known.holds(len(v.nodes)) {
		if v.memories == nil {
			v.memories = map[string]*memory{}
		}
		if known != nil {
			v.release(known)
		}
		for other, memory := range v.memories {
			if len(v.memories) < maxRemembered {
				break
			}
			delete(v.memories, other)
			v.release(memory)
		}
		known = newMemory(len(v.nodes))
		v.memories[key] = known
	}
	demand.memory = known
}

// release lets the nodes go of a memory that nobody asks any more: a node whose pods do not change would keep it.
func (v *View) release(m *memory) {
	for _, n := range v.nodes {
		n.mu.Lock()
		n.decided = slices.DeleteFunc(n.decided, func(d decided) bool { return d.memory == m })
		n.mu.Unlock()
	}
}

// Predict says what the kubelet of a node will do with a pod that comes in addition to the pods in
// nodeInfo, whose generation must change whenever its pods do, as it does in kube-scheduler. The NodeInfo must be
// what the scheduler takes for true, each newer than the one before: of pods that go from one to the next the view
// believes that they are gone. The prediction must not be changed.
func (v *View) Predict(demand *Demand, nodeInfo fwk.NodeInfo) *Prediction {
	if demand.memory != nil {
		if p := demand.memory.load(nodeInfo.GetGeneration()); p != nil {
			return p
		}
	}
	n := v.node(nodeInfo.Node().Name)
	if n == nil {
		return absent[Labelled(nodeInfo.Node())][v.absent()]
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.laid || n.generation != nodeInfo.GetGeneration() {
		n.lay(nodeInfo)
	}
	if demand.memory == nil {
		return n.predict(demand, nodeInfo, &n.overlay)
	}
	for i := range n.decided {
		if p := n.decided[i].prediction; n.decided[i].memory == demand.memory {
			n.remember(n.decided[i])
			return p
		}
	}
	if len(n.decided) >= maxRemembered {
		n.decided[0].memory.forget(n.decided[0].prediction)
		n.decided = slices.Delete(n.decided, 0, 1)
	}
	d := decided{demand.memory, n.predict(demand, nodeInfo, &n.overlay)}
	n.decided = append(n.decided, d)
	n.remember(d)
	return d.prediction
}

// remember gives a prediction to its memory. One that is not exact may change with what the view knows of no node
// in particular.
func (n *node) remember(d decided) {
	if d.prediction.Standing == Exact {
		d.memory.store(d.prediction)
	}
}

// Simulate is Predict for a NodeInfo that is not true: a copy that preemption has taken victims out of, or into which
// nominated pods were put, under whatever generation. It leaves no trace. Pods in flight that were taken out of
// it are believed to have gone unreported.
func (v *View) Simulate(demand *Demand, nodeInfo fwk.NodeInfo) *Prediction {
	n := v.node(nodeInfo.Node().Name)
	if n == nil {
		return absent[Labelled(nodeInfo.Node())][v.absent()]
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var o overlaid
	if n.report != nil && n.report.standing == Exact {
		pods := residents(n.pods, nodeInfo.GetPods())
		n.unsettle(pods, n.disturbed || n.lost(n.pods, pods))
		o.overlay(n.report, pods)
	}
	p := n.predict(demand, nodeInfo, &o)
	p.Labelled = Labelled(nodeInfo.Node())
	return p
}

// predict makes a prediction from the report and what was laid over it for a NodeInfo.
func (n *node) predict(demand *Demand, nodeInfo fwk.NodeInfo, o *overlaid) *Prediction {
	p := unknown(n.report, nodeInfo.Node().UID, demand)
	if p == nil {
		p = o.predict(&demand.Pod)
	}
	p.generation, p.Labelled = nodeInfo.GetGeneration(), n.labelled
	return p
}

// lay makes the node what predictions for a NodeInfo are made from.
func (n *node) lay(nodeInfo fwk.NodeInfo) {
	n.unlay()
	n.laid, n.generation, n.labelled = true, nodeInfo.GetGeneration(), Labelled(nodeInfo.Node())
	if n.report == nil || n.report.standing != Exact {
		return
	}
	before := n.pods
	n.pods = residents(before, nodeInfo.GetPods())
	n.unsettle(n.pods, n.disturbed || n.lost(before, n.pods))
	n.loseSight()
	n.known, n.disturbed = true, false
	n.overlay.overlay(n.report, n.pods)
	n.gone = n.overlay.gone
}

// unlay takes back what was predicted: it holds no longer.
func (n *node) unlay() {
	for _, d := range n.decided {
		d.memory.forget(d.prediction)
	}
	clear(n.decided)
	n.laid, n.decided = false, n.decided[:0]
}

// InFlight tells whether a pod of a node asks for exclusive CPUs and is not in the node's exact report.
func (v *View) InFlight(nodeName string, pod *corev1.Pod) bool {
	n := v.node(nodeName)
	if n == nil || !mayHold(pod) {
		return false
	}
	asks := admission.PodOf(pod)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.report != nil && n.report.standing == Exact && n.report.node.Exclusive(&asks) && !n.report.covers(uidOnNode(pod), &asks)
}

// lost tells whether pods that are not there any more, and were or were expected, have gone before any report had them:
// what the kubelet gave to the pods in flight depends on whether it admitted them before.
func (n *node) lost(before, now []resident) bool {
	for i := range before {
		if !before[i].reported && n.report.node.Exclusive(before[i].asks) && find(now, before[i].uid) < 0 {
			return true
		}
	}
	for uid := range n.expected {
		if find(now, uid) < 0 {
			return true
		}
	}
	return false
}

// unsettle notes of pods whose CPUs may depend on others that have gone unreported that their own report has to come
// first: of all, when some have gone since the node was last laid, and of those whose report could still be on its way
// when the view began. A pod that is only nominated has no CPUs yet.
func (n *node) unsettle(pods []resident, disturbed bool) {
	for i := range pods {
		r := &pods[i]
		if r.pod.Spec.NodeName != "" && (disturbed || !n.known && n.begunWith(r.pod)) {
			r.unsettled = patience
		}
	}
}

// begunWith tells whether the report of a pod could still be on its way when the view began: it does not run yet, or
// has not for long. One that has run for long, and that no report has, got no CPUs from a CPU manager that came later.
func (n *node) begunWith(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodRunning || startedAfter(pod, n.began.Add(-lateness))
}

func startedAfter(pod *corev1.Pod, moment time.Time) bool {
	start := pod.Status.StartTime
	return start != nil && start.After(moment)
}

// Left tells that a pod has left its node for good, before any NodeInfo shows it.
func (v *View) Left(pod *corev1.Pod) {
	n := v.node(pod.Spec.NodeName)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	uid := uidOnNode(pod)
	if at := find(n.pods, uid); n.expected[uid] != nil || at < 0 || !n.pods[at].reported {
		_, reported := n.reported(uid)
		n.disturbed = n.disturbed || !reported && mayHold(pod) && AsksCPUs(pod)
		if n.disturbed {
			n.unlay()
		}
	}
	if _, reported := n.reported(uid); reported && !nodereport.StaticPod(uid) && !slices.Contains(n.gone, uid) {
		n.gone = append(slices.Clone(n.gone), uid)
	}
}

// Set takes a node's report, in place of the one before. It tells whether anything changed that a
// prediction depends on, and how pods that were expected fared.
func (v *View) Set(report *Report) (changed bool, compared Comparison) {
	n := v.nodeFor(report.Name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if report.sameAs(n.report) {
		// Only resource version and message differ: what was predicted still holds.
		if n.report.why != report.why {
			n.report = report
		}
		return false, Comparison{}
	}
	compared = n.compare(report)
	n.report = report
	n.unlay()
	for i := range n.pods {
		if r := &n.pods[i]; r.unsettled > 0 && r.pod.Status.Phase == corev1.PodRunning && !startedAfter(r.pod, time.Now().Add(-steady)) {
			r.unsettled--
		}
	}
	n.gone = slices.DeleteFunc(slices.Clone(n.gone), func(uid types.UID) bool {
		_, reported := n.reported(uid)
		return !reported
	})
	return true, compared
}

// Delete forgets a node's report. It tells whether there was one.
func (v *View) Delete(name string) (changed bool) {
	v.mu.Lock()
	n := v.nodes[name]
	delete(v.nodes, name)
	v.mu.Unlock()
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.report = nil
	n.unlay()
	return true
}

func (v *View) node(name string) *node {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.nodes[name]
}

// nodeFor is node, made where there is none.
func (v *View) nodeFor(name string) *node {
	if n := v.node(name); n != nil {
		return n
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.nodes == nil {
		v.nodes = map[string]*node{}
	}
	if v.nodes[name] == nil {
		v.nodes[name] = &node{began: v.began}
	}
	return v.nodes[name]
}

// Started tells whether no node is Starting any more.
func (v *View) Started() bool { return v.listed.Load() || v.unlisted.Load() }

// absent is the standing of a node without a report.
func (v *View) absent() Standing {
	switch {
	case v.listed.Load():
		return Missing
	case v.unlisted.Load():
		return Unlisted
	}
	return Starting
}
