// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/nodes"
)

// PreScore is called once in a cycle, when the nodes that fit are known. Only VMs are scored.
func (pl *DedicatedCPU) PreScore(_ context.Context, state fwk.CycleState, _ *corev1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	c := readCycle(state)
	if c == nil || !c.Dedicated {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score is called for each node that fits, from many goroutines. It returns the rating of package scoring;
// NormalizeScore makes a score of it. A rating takes microseconds and changes only with the node, so it is cached with
// the prediction. A candidate has been rated when it was chosen.
func (pl *DedicatedCPU) Score(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	c := readCycle(state)
	if c == nil {
		return 0, fwk.AsStatus(fmt.Errorf("scoring nodes for pod %s/%s: PreFilter has left no demand", pod.Namespace, pod.Name))
	}
	p := c.predict(nodeInfo)
	rating, rated := pl.rating(c, p, nodeInfo)
	if !rated {
		// A report may have come since Filter, and the node may not take the VM any more.
		return scoring.Unpredicted(&p.Verdict), nil
	}
	return rating, nil
}

// rating is the rating of package scoring. rated is false for a node that does not certainly take the VM.
func (pl *DedicatedCPU) rating(c *cycle, p *nodes.Prediction, nodeInfo fwk.NodeInfo) (rating int64, rated bool) {
	if p.State != nodereport.Exact || !p.Labelled || !p.Fits() {
		return 0, false
	}
	rating, known := p.Rating.Load()
	if !known {
		rating, known = c.ratings[nodeInfo.GetGeneration()]
	}
	if known {
		return rating, true
	}
	number := pl.view.Calls().Begin("rating node", nodeInfo.Node().Name)
	defer pl.view.Calls().End(number)
	rating = scoring.Rate(pl.args.ScoringStrategy, placementOf(c.Demand, p, nodeInfo))
	if p.LostAtRestart > 0 {
		rating = scoring.Unsafe(rating)
	}
	p.Rating.Store(rating)
	return rating, true
}

func placementOf(d *verdict.Demand, p *nodes.Prediction, nodeInfo fwk.NodeInfo) *scoring.Placement {
	unrequested := nodeInfo.GetAllocatable().GetMilliCPU() - nodeInfo.GetRequested().GetMilliCPU()
	return scoring.PlacementOf(d, p.Node, &p.Decision, unrequested)
}

// ScoreExtensions returns the plugin itself.
func (pl *DedicatedCPU) ScoreExtensions() fwk.ScoreExtensions { return pl }

// NormalizeScore is called once in a cycle, with the ratings of all nodes.
func (pl *DedicatedCPU) NormalizeScore(_ context.Context, _ fwk.CycleState, _ *corev1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	ratings := make([]*int64, len(scores))
	for i := range scores {
		ratings[i] = &scores[i].Score
	}
	scoring.Normalize(ratings, pl.args.ScoreRange)
	return nil
}
