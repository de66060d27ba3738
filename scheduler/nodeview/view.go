package nodeview

import (
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

// maxRemembered bounds the decisions remembered for one state of one node: so many different demands
// are asked about before the node changes.
const maxRemembered = 32

// patience is how many reports may come without a pod that runs before it is believed that none ever has it:
// the second one was begun after the pod was seen to run.
const patience = 2

// View is what the scheduler knows of all nodes. The zero View is ready to use and knows nothing. All
// methods may be called from any goroutine.
type View struct {
	mu       sync.RWMutex
	nodes    map[string]*node // by name, for nodes that have a report
	listed   atomic.Bool
	unlisted atomic.Bool
}

// node is one node's report and what was last predicted from it.
type node struct {
	mu sync.Mutex

	report *Report
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
	expected map[types.UID]*kubeletcpu.Pod
	unsure   bool
	// known tells that pods has been filled; disturbed that a pod has gone that no report has ever had.
	known, disturbed bool
}

// decided is the prediction for a demand, by Demand.Key.
type decided struct {
	key        string
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

// Predict says what the kubelet of a node will do with a pod that comes in addition to the pods in
// nodeInfo, whose generation must change whenever its pods do, as it does in kube-scheduler. The prediction
// must not be changed.
func (v *View) Predict(demand *Demand, nodeInfo fwk.NodeInfo) *Prediction {
	n := v.node(nodeInfo.Node().Name)
	if n == nil {
		return absent[Labelled(nodeInfo.Node())][v.absent()]
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.laid || n.generation != nodeInfo.GetGeneration() {
		n.lay(nodeInfo)
	}
	for i := range n.decided {
		if n.decided[i].key == demand.Key {
			return n.decided[i].prediction
		}
	}
	if len(n.decided) >= maxRemembered {
		n.decided = n.decided[:0]
	}
	p, ok := unknown(n.report, nodeInfo.Node().UID, demand)
	if ok {
		p = n.overlay.predict(&demand.Pod)
	}
	p.Labelled, p.Memo = n.labelled, &Memo{}
	n.decided = append(n.decided, decided{demand.Key, &p})
	return &p
}

// lay makes the node what predictions for a NodeInfo are made from.
func (n *node) lay(nodeInfo fwk.NodeInfo) {
	n.laid, n.generation, n.decided = true, nodeInfo.GetGeneration(), n.decided[:0]
	n.labelled = Labelled(nodeInfo.Node())
	if n.report == nil || n.report.standing != Exact {
		return
	}
	before := n.pods
	n.pods = residents(before, nodeInfo.GetPods())
	n.settle(before)
	n.overlay.overlay(n.report, n.pods)
	n.gone = n.overlay.gone
}

// InFlight tells whether a pod of a node asks for exclusive CPUs and is not in the node's exact report.
func (v *View) InFlight(nodeName string, pod *corev1.Pod) bool {
	n := v.node(nodeName)
	if n == nil || !mayHold(pod) {
		return false
	}
	asks := kubeletcpu.PodOf(pod)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.report != nil && n.report.standing == Exact && n.report.node.Exclusive(&asks) && !n.report.covers(uidOnNode(pod), &asks)
}

// settle finds out whether pods have gone, since the node was last laid, that no report has ever had: what
// the kubelet gave to the pods in flight depends on whether it admitted them before. That is not known either
// of pods in flight that were there when this view began.
func (n *node) settle(before []resident) {
	disturbed := n.disturbed
	for i := range before {
		disturbed = disturbed || !before[i].reported && n.report.node.Exclusive(before[i].asks) && find(n.pods, before[i].uid) < 0
	}
	for uid := range n.expected {
		if find(n.pods, uid) < 0 {
			delete(n.expected, uid)
			disturbed = true
		}
	}
	for i := range n.pods {
		r := &n.pods[i]
		if disturbed || !n.known && r.pod.Status.Phase != corev1.PodRunning {
			r.unsettled = patience
		}
	}
	n.known, n.disturbed = true, false
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
		asks := kubeletcpu.PodOf(pod)
		_, reported := n.reported(uid)
		n.disturbed = n.disturbed || !reported && mayHold(pod) && (asks.Exclusive() || asks.PodLevel != nil)
		n.laid = n.laid && !n.disturbed
	}
	if _, reported := n.reported(uid); reported && !slices.Contains(n.gone, uid) {
		n.gone = append(slices.Clone(n.gone), uid)
	}
}

// CouldFit tells whether the node's report leaves room for the demand, were there no pods in flight and
// all pods gone that were gone at the last prediction. It is for deciding whether a new report is
// worth another try: when it says no, Predict would refuse too, unless more pods have gone since, and
// for those kube-scheduler has an event of its own. Standing is that of Predict.
func (v *View) CouldFit(on *corev1.Node, demand *Demand) (fits bool, standing Standing) {
	n := v.node(on.Name)
	if n == nil {
		return false, v.absent()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := unknown(n.report, on.UID, demand); !ok {
		return false, p.Standing
	}
	free := *n.report.node
	free.Shared = n.report.free(n.gone)
	return kubeletcpu.Admit(&free, &demand.Pod).Verdict == kubeletcpu.Admitted, Exact
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
	n.report, n.laid = report, false
	for i := range n.pods {
		if r := &n.pods[i]; r.unsettled > 0 && r.pod.Status.Phase == corev1.PodRunning {
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
	defer v.mu.Unlock()
	_, changed = v.nodes[name]
	delete(v.nodes, name)
	return changed
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
		v.nodes[name] = &node{}
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
