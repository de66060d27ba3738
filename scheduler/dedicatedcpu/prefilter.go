package dedicatedcpu

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/launcher"
)

// misfit begins the message for a launcher pod that no node would give what its VM asked for; launcher.Problems
// says why, and what to do.
const misfit = "the VM asks for dedicated CPUs, but no kubelet would give its launcher pod exclusive ones: "

// PreFilter is called at the beginning of a scheduling cycle. It lets go of pods that ask for nothing
// dedicated, and refuses launcher pods that would not get what their VM asked for.
func (pl *DedicatedCPU) PreFilter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	d := demandOf(pod)
	if d == nil {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	// Whether it waits for a report is for this cycle to say.
	pl.waiting.remove(pod.UID)
	if d.launcher {
		if problems := launcher.Problems(pod); len(problems) > 0 {
			klog.FromContext(ctx).V(2).Info("launcher pod would not get exclusive CPUs", "pod", klog.KObj(pod), "problems", problems)
			refusals.WithLabelValues(labelMisfit).Inc()
			return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, misfit+strings.Join(problems, "; "))
		}
	}
	state.Write(stateKey, d)
	return nil, nil
}

// PreFilterExtensions returns nil: Filter looks at the pods of the NodeInfo it is given, so there is
// nothing to be kept up to date.
func (pl *DedicatedCPU) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// SignPod is called to tell pods that every node answers alike, so that kube-scheduler can schedule them
// in a batch.
func (pl *DedicatedCPU) SignPod(_ context.Context, pod *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	d := demandOf(pod)
	if d == nil {
		return nil, nil
	}
	if d.launcher && len(launcher.Problems(pod)) > 0 {
		return nil, fwk.NewStatus(fwk.Unschedulable, misfit+"it is refused on its own")
	}
	return []fwk.SignFragment{{Key: "corepin.dev/" + Name, Value: fmt.Sprintf("%t%s", d.launcher, d.Key)}}, nil
}
