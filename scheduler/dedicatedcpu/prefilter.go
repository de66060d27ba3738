package dedicatedcpu

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/scheduler/config"
)

// PreFilter is called at the beginning of a scheduling cycle. It lets go of pods that ask for nothing
// dedicated, and refuses launcher pods that would not get what their VM asked for, or whose VM is
// inconsistent.
func (pl *DedicatedCPU) PreFilter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	d, problems := pl.demandOf(pod)
	if d == nil {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	// Whether it waits for a report is for this cycle to say.
	pl.waiting.remove(pod.UID)
	if d.launcher {
		if message := launcher.MisfitOf(pod, problems).String(); message != "" {
			klog.FromContext(ctx).V(2).Info("launcher pod is refused wherever it would go", "pod", klog.KObj(pod), "why", message)
			refusals.WithLabelValues(labelMisfit).Inc()
			return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, message)
		}
	}
	if logger := klog.FromContext(ctx).V(4); logger.Enabled() && launcher.RoleOf(pod) == launcher.MigrationTarget {
		logger.Info("a running VM is to move", "pod", klog.KObj(pod), "pluggedCPUs", pl.plugged(pod))
	}
	pl.view.Remember(&d.Demand, pl.manner+d.shape())
	state.Write(stateKey, &cycle{demand: d, simulated: state.IsPodGroupSchedulingCycle()})
	return nil, nil
}

// demandOf reads a pod and the VM behind it; nil for a pod that is not this plugin's business. Problems are
// the VM's.
func (pl *DedicatedCPU) demandOf(pod *corev1.Pod) (d *demand, problems []string) {
	d = demandOf(pod)
	if d == nil {
		return nil, nil
	}
	if d.launcher {
		l, _ := launcher.Of(pod)
		// A user's own node selector makes a pod look dedicated; the VMI knows better.
		if d.guest, d.launcher, problems = pl.machineOf(&l); d.launcher {
			d.beside = besideExclusive(pod, &d.Pod)
			return d, problems
		}
	}
	if !d.Pod.Exclusive() || pl.args.OtherPods == config.Ignore {
		return nil, nil
	}
	return d, nil
}

// PreFilterExtensions returns the plugin itself.
func (pl *DedicatedCPU) PreFilterExtensions() fwk.PreFilterExtensions { return pl }

// SignPod is called to tell pods that every node answers alike, so that kube-scheduler can schedule them
// in a batch.
func (pl *DedicatedCPU) SignPod(_ context.Context, pod *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	d, problems := pl.demandOf(pod)
	if d == nil {
		return nil, nil
	}
	if d.launcher && launcher.MisfitOf(pod, problems).What != "" {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the VM's launcher pod is refused on its own")
	}
	return []fwk.SignFragment{{Key: "corepin.dev/" + Name, Value: d.shape()}}, nil
}
