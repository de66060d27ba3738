package nodeview

import (
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

// View is what the scheduler knows of all nodes. The zero View is ready to use and knows nothing. All
// methods may be called from any goroutine.
type View struct {
	nodes    sync.Map // node name to *node, for nodes that have a report
	listed   atomic.Bool
	unlisted atomic.Bool
}

// node is one node's report and what was last predicted from it.
type node struct {
	mu sync.Mutex

	report *Report
	// overlay and decisions belong to generation and report; overlay is nil where nothing was predicted
	// yet.
	generation int64
	overlay    *overlaid
	decisions  map[string]Prediction
	// gone are the pods that were gone at the last prediction, from whichever report: a pod never comes
	// back.
	gone []types.UID
}

// Predict says what the kubelet of a node will do with a pod that comes in addition to the pods in
// nodeInfo, whose generation must change whenever its pods do, as it does in kube-scheduler.
func (v *View) Predict(demand *Demand, nodeInfo fwk.NodeInfo) Prediction {
	n := v.node(nodeInfo.Node().Name)
	if n == nil {
		return Prediction{Standing: v.absent(), Why: "there is no report"}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := unknown(n.report, nodeInfo.Node().UID, demand); !ok {
		return p
	}
	if n.overlay == nil || n.generation != nodeInfo.GetGeneration() {
		n.overlay, n.generation, n.decisions = overlay(n.report, nodeInfo.GetPods()), nodeInfo.GetGeneration(), nil
		n.gone = n.overlay.gone
	}
	if p, ok := n.decisions[demand.Key]; ok {
		return p
	}
	p := n.overlay.predict(&demand.Pod)
	if n.decisions == nil || len(n.decisions) >= maxRemembered {
		n.decisions = map[string]Prediction{}
	}
	n.decisions[demand.Key] = p
	return p
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
// prediction depends on.
func (v *View) Set(report *Report) (changed bool) {
	value, _ := v.nodes.LoadOrStore(report.Name, &node{})
	n := value.(*node)
	n.mu.Lock()
	defer n.mu.Unlock()
	if report.sameAs(n.report) {
		// Only resource version and message differ: what was predicted still holds.
		if n.report.why != report.why {
			n.report = report
		}
		return false
	}
	n.report, n.overlay, n.decisions = report, nil, nil
	return true
}

// Delete forgets a node's report. It tells whether there was one.
func (v *View) Delete(name string) (changed bool) {
	_, changed = v.nodes.LoadAndDelete(name)
	return changed
}

func (v *View) node(name string) *node {
	value, ok := v.nodes.Load(name)
	if !ok {
		return nil
	}
	return value.(*node)
}

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
