package dedicatedcpu

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/nodeview"
)

// MinExactScore is the lowest score of a node that was predicted exactly; see the package comment for
// what it does together with the plugin's weight.
const MinExactScore = 60

// PreScore is called once, when the nodes that fit are known: only VMs have a say in which is best.
func (pl *DedicatedCPU) PreScore(_ context.Context, state fwk.CycleState, _ *corev1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	if d := read(state); d == nil || !d.launcher {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score is called for each node that fits.
func (pl *DedicatedCPU) Score(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	d := read(state)
	if d == nil {
		return 0, fwk.AsStatus(fmt.Errorf("scoring nodes for pod %s/%s: PreFilter has left no demand", pod.Namespace, pod.Name))
	}
	p := pl.view.Predict(&d.Demand, nodeInfo)
	if p.Standing != nodeview.Exact {
		return fwk.MinScore, nil
	}
	span := float64(fwk.MaxScore - MinExactScore)
	return MinExactScore + int64(rate(pl.args.ScoringStrategy, &p)*span+0.5), nil
}

// ScoreExtensions returns nil: scores are already on the framework's scale.
func (pl *DedicatedCPU) ScoreExtensions() fwk.ScoreExtensions { return nil }
