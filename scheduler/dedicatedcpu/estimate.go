package dedicatedcpu

import (
	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// estimates tells whether a node of which something less than Exact is known is judged by counts.
func (pl *DedicatedCPU) estimates(d *demand, standing nodeview.Standing) bool {
	switch standing {
	case nodeview.Starting:
		return false // it will be known in a moment
	case nodeview.NoCPUManager:
		return !d.launcher // it is known, and a VM would not get its CPUs
	}
	return !d.launcher || pl.args.NodesWithoutExactReport == config.Estimate
}

// estimate judges a node by counts: its whole free CPUs are what is left of the allocatable ones, rounded down,
// when all pods there have what they request and the pod's own shared containers have it too. nil where
// they are enough. Where they lie is not known, so the kubelet may still refuse the pod.
func estimate(pod *corev1.Pod, standing nodeview.Standing, nodeInfo fwk.NodeInfo) *refusal {
	needs := launcher.NeedsOf(pod)
	exclusive, shared := int64(needs.ExclusiveCPUs), needs.Fraction()
	allocatable := nodeInfo.GetAllocatable().GetMilliCPU()
	switch {
	case exclusive <= wholeCPUs(allocatable-shared-nodeInfo.GetRequested().GetMilliCPU()):
		return nil
	case exclusive <= wholeCPUs(allocatable-shared):
		return estimatedFull[standing]
	}
	return estimatedSmall[standing]
}

// wholeCPUs rounds millicores down.
func wholeCPUs(milli int64) int64 { return max(milli, 0) / 1000 }

// estimatedFull and estimatedSmall refuse a node that was estimated: as it is, or even without any other pod.
var estimatedFull, estimatedSmall = estimatedRefusals(evictable, "; estimated full"), estimatedRefusals(final, "; estimated too small")

// estimatedRefusals are those of nodes that can be estimated, each with the cause.
func estimatedRefusals(code fwk.Code, estimated string) map[nodeview.Standing]*refusal {
	refusals := map[nodeview.Standing]*refusal{}
	for standing, r := range refusedStanding {
		if standing != nodeview.Starting && standing != nodeview.NoCPUManager {
			refusals[standing] = &refusal{code, r.reason + estimated, "estimated_" + r.label}
		}
	}
	return refusals
}
