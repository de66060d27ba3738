package dedicatedcpu

import (
	"context"
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/nodeview"
)

// MinExactScore is the lowest score of a node that was predicted exactly; see the package comment for
// what it does together with the plugin's weight.
const MinExactScore = 60

// estimatedRating stands, until NormalizeScore, for a node that was not predicted to take the VM: below every rating.
const estimatedRating = math.MinInt64

// PreScore is called once, when the nodes that fit are known: only VMs have a say in which is best.
func (pl *DedicatedCPU) PreScore(_ context.Context, state fwk.CycleState, _ *corev1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	if c := read(state); c == nil || !c.launcher {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score is called for each node that fits, many at a time. It gives the strategy's rating of the node after
// the VM, of any size; NormalizeScore brings it onto the framework's scale. A rating costs microseconds, and between
// two cycles only the node that got a pod, or a report, changes: it is remembered with the prediction.
func (pl *DedicatedCPU) Score(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	c := read(state)
	if c == nil {
		return 0, fwk.AsStatus(fmt.Errorf("scoring nodes for pod %s/%s: PreFilter has left no demand", pod.Namespace, pod.Name))
	}
	p := pl.predict(c, nodeInfo)
	// Its report may have come since Filter, and say no: it is the last choice then.
	if p.Standing != nodeview.Exact || !p.Labelled || pl.judge(c.demand, p) != nil {
		return estimatedRating, nil
	}
	known, ok := p.Rating.Load()
	if !ok {
		known = rating(pl.args.ScoringStrategy, c.demand, p, nodeInfo)
		p.Rating.Store(known)
	}
	return known, nil
}

// ScoreExtensions returns the plugin itself.
func (pl *DedicatedCPU) ScoreExtensions() fwk.ScoreExtensions { return pl }

// NormalizeScore is called once, with the ratings of all nodes. Nodes predicted exactly get MinExactScore, the
// worst of them, to the framework's maximum, the best, in proportion; all others get nothing.
func (pl *DedicatedCPU) NormalizeScore(_ context.Context, _ fwk.CycleState, _ *corev1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	worst, best := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range scores {
		if rating := scores[i].Score; rating != estimatedRating {
			worst, best = min(worst, rating), max(best, rating)
		}
	}
	span := float64(fwk.MaxScore - MinExactScore)
	for i := range scores {
		switch rating := scores[i].Score; {
		case rating == estimatedRating:
			scores[i].Score = fwk.MinScore
		case best == worst:
			scores[i].Score = fwk.MaxScore
		default:
			scores[i].Score = MinExactScore + int64(math.Round(span*float64(rating-worst)/float64(best-worst)))
		}
	}
	return nil
}
