// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// predicting is how a prediction is called where it does not end.
const predicting = "predicting node"

// Query asks nodes about one demand. It is for one scheduling cycle, and must not be kept: it refers to cached predictions.
type Query struct {
	view   *View
	demand *verdict.Demand
	kind   *kind // nil if its predictions are not cached
	// until is when the time for new predictions is over; zero if there is no such time.
	until time.Time
}

// Within bounds the time for predictions that are not cached, from now on. A node that is asked about later gets verdict
// Late. So no set of reports, whatever is in them, makes a cycle long.
func (q *Query) Within(budget time.Duration) *Query {
	q.until = q.view.clock.Now().Add(budget)
	return q
}

// late is the prediction if the time is over; nil if it is not.
func (q *Query) late(nodeInfo fwk.NodeInfo) *Prediction {
	if q.until.IsZero() || q.view.clock.Now().Before(q.until) {
		return nil
	}
	return &Prediction{generation: nodeInfo.GetGeneration(), Verdict: verdict.Verdict{Obstacle: verdict.Late}}
}

// Query begins to ask nodes about a demand. Predictions are shared by all demands of the same key. They, and their Rating,
// must be the same on every node. Without a key, predictions are not cached.
func (v *View) Query(demand *verdict.Demand, key string) *Query {
	q := &Query{view: v, demand: demand}
	if key != "" {
		q.kind = v.cache.kind(key)
	}
	return q
}

// Predict predicts what becomes of the pod on a node, besides the pods in nodeInfo. The NodeInfo must be what the scheduler
// takes for true, each newer than the one before: pods that are missing in the next one count as gone. Its generation must
// change when its pods do, as it does in kube-scheduler.
func (q *Query) Predict(nodeInfo fwk.NodeInfo) *Prediction { return q.predict(nodeInfo, true) }

// Look is Predict for somebody who looks at many nodes and keeps what came of it. What is cached already is used, and no more is
// cached.
func (q *Query) Look(nodeInfo fwk.NodeInfo) *Prediction { return q.predict(nodeInfo, false) }

func (q *Query) predict(nodeInfo fwk.NodeInfo, keep bool) *Prediction {
	generation := nodeInfo.GetGeneration()
	if q.kind != nil {
		if p := q.kind.load(generation); p != nil {
			return p
		}
	}
	if late := q.late(nodeInfo); late != nil {
		return late
	}
	name := nodeInfo.Node().Name
	defer q.view.calls.End(q.view.calls.Begin(predicting, name))
	n := q.view.node(name)
	if n == nil {
		return q.Simulate(nodeInfo)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.report == nil {
		return q.absent(nodeInfo, n.absence)
	}
	if !n.holds(generation) {
		n.apply(nodeInfo)
	} else if q.kind != nil {
		if p := q.kind.load(generation); p != nil {
			return p // another cycle of the same kind was first
		}
	}
	p := predict(&n.applied, q.demand, generation, n.until)
	if keep && q.kind != nil && p.Until.IsZero() {
		n.cached[q.kind.number/64] |= 1 << (q.kind.number % 64)
		q.view.cache.store(q.kind, p)
	}
	return p
}

// Fits reports whether Predict is already known to give an exact prediction with which the node takes the pod. It is false where
// that is not known. Most nodes are like that in most cycles, so it reads one line of memory and nothing of the node.
func (q *Query) Fits(nodeInfo fwk.NodeInfo) bool {
	return q.kind != nil && q.kind.fits(nodeInfo.GetGeneration())
}

// Simulate is Predict for a NodeInfo that is not true: a copy that preemption has taken victims out of, or to which nominated
// pods were added. Nothing of it is kept. Pods in flight that were taken out count as gone unreported.
func (q *Query) Simulate(nodeInfo fwk.NodeInfo) *Prediction {
	if late := q.late(nodeInfo); late != nil {
		return late
	}
	defer q.view.calls.End(q.view.calls.Begin(predicting, nodeInfo.Node().Name))
	applied, until := q.view.simulate(nodeInfo)
	return predict(&applied, q.demand, nodeInfo.GetGeneration(), until)
}

// Remaining is how long the node of a prediction is still waited for. It is never below a second, so that nobody asks again
// and again.
func (v *View) Remaining(p *Prediction) time.Duration {
	return max(time.Second, p.Until.Sub(v.clock.Now())+time.Second)
}

// absent predicts for a node without a report.
func (q *Query) absent(nodeInfo fwk.NodeInfo, a absence) *Prediction {
	applied, _ := apply(q.view.absent(), nil, nodeInfo.Node(), nil, q.view.clock.Now())
	applied.Amounts = amounts(nodeInfo)
	until := q.view.await(&applied, nodeInfo.Node(), a)
	return predict(&applied, q.demand, nodeInfo.GetGeneration(), until)
}

// simulate applies a NodeInfo without any trace.
func (v *View) simulate(nodeInfo fwk.NodeInfo) (applied verdict.Node, until time.Time) {
	report := v.absent()
	var u uncertainty
	var a absence
	var left []types.UID
	n := v.node(nodeInfo.Node().Name)
	if n != nil {
		n.mu.Lock()
		a = n.absence
		left = n.left
		if n.report != nil {
			report = n.report
			u = n.uncertainty.clone()
		}
		n.mu.Unlock()
	}
	now := v.clock.Now()
	applied, until = apply(report, &u, nodeInfo.Node(), holding(nodeInfo.GetPods()), now)
	applied.Amounts = amounts(nodeInfo)
	onlyAfter(&applied, left)
	a.judged(&applied, nodeInfo.Node(), report, now)
	return applied, later(until, v.await(&applied, nodeInfo.Node(), a))
}

// Node is a node as Predict would look at it now, for an explanation: its pods have names, and kube-scheduler's count
// decides everywhere. name is how to call a pod.
func (v *View) Node(nodeInfo fwk.NodeInfo, name func(*corev1.Pod) string) verdict.Node {
	defer v.calls.End(v.calls.Begin("explaining node", nodeInfo.Node().Name))
	n, _ := v.simulate(nodeInfo)
	n.Amounts.Counting = verdict.CountedAlways
	if n.State != nodereport.Exact {
		return n
	}
	places := make(map[string]int, len(n.Pods))
	for i := range n.Pods {
		places[string(n.Pods[i].UID)] = i
	}
	for _, info := range nodeInfo.GetPods() {
		pod := info.GetPod()
		i, listed := places[string(verdict.UIDOnNode(pod))]
		if !listed {
			continue
		}
		requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true})
		n.Pods[i].Name = name(pod)
		n.Pods[i].Millicores = requests.Cpu().MilliValue()
	}
	return n
}
