// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/minor"
	"corepin.dev/corepin/scheduler/vms"
)

// PreFilter is called at the beginning of a scheduling cycle. It skips pods that ask for no exclusive CPUs. It refuses
// launcher pods whose VM is inconsistent, or that would not get what their VM asks for on any node. For a VM in a large cluster it
// names the best nodes (narrow.go).
func (pl *DedicatedCPU) PreFilter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	d, vm := pl.vmDemand(pod)
	if d == nil {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	// Whether the pod waits for a report is decided in this cycle.
	pl.waker.Begin(pod.UID)
	problems := launcher.TargetWarnings(pod)
	if d.Dedicated && len(problems) > 0 {
		pl.warn(pod, "the VM runs, and will have no CPUs of its own where it moves to: "+strings.Join(problems, "; "))
		return nil, fwk.NewStatus(fwk.Skip)
	}
	if d.Dedicated {
		message := launcher.MisfitOf(pod, vm.Problems).String()
		if message != "" && pod.Spec.SchedulerName == corev1.DefaultSchedulerName {
			// The VM does not name corepin's scheduler: this profile is in the place of the cluster's own, and KubeVirt
			// runs the VM in the shared pool.
			pl.warn(pod, "scheduled like a pod without dedicated CPUs: "+message)
			return nil, fwk.NewStatus(fwk.Skip)
		}
		if message != "" {
			klog.FromContext(ctx).V(2).Info("launcher pod is refused on every node", "pod", klog.KObj(pod), "why", message)
			refusals.WithLabelValues(labelMisfit).Inc()
			return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, message)
		}
	}
	logger := klog.FromContext(ctx).V(4)
	if logger.Enabled() && launcher.RoleOf(pod) == launcher.MigrationTarget {
		logger.Info("a running VM is to move", "pod", klog.KObj(pod), "pluggedCPUs", pl.pluggedCPUs(pod))
	}
	c := &cycle{
		Demand:    d,
		findings:  newFindings(),
		warnings:  vm.Warnings,
		query:     pl.view.Query(d, pl.kindOf(d)).Within(cycleBudget),
		simulated: minor.Trial(state),
	}
	result := pl.narrow(ctx, c, pod, nodes)
	state.Write(stateKey, c)
	return result, nil
}

// kindOf is equal for demands that every node answers and rates alike.
func (pl *DedicatedCPU) kindOf(d *verdict.Demand) string { return pl.argsKey + d.Key() }

// pluggedCPUs is how many CPUs more a migration's target asks for than the pod that the VM runs in; 0 if that pod is not
// known.
func (pl *DedicatedCPU) pluggedCPUs(target *corev1.Pod) int {
	l, _ := launcher.Of(target)
	pods, err := vms.PodsOf(pl.podIndex, l.VMI)
	if err != nil {
		return 0
	}
	for _, source := range pods {
		cpus, ok := launcher.Plugged(source, target)
		if ok && source.Status.Phase == corev1.PodRunning {
			return cpus
		}
	}
	return 0
}

// PreFilterExtensions returns the plugin itself.
func (pl *DedicatedCPU) PreFilterExtensions() fwk.PreFilterExtensions { return pl }

// AddPod is called when preemption puts a pod back into a copy of a node, and for nominated pods. Filter finds the pod
// there.
func (pl *DedicatedCPU) AddPod(_ context.Context, state fwk.CycleState, _ *corev1.Pod, pod fwk.PodInfo, _ fwk.NodeInfo) *fwk.Status {
	c := readCycle(state)
	if c != nil {
		c.reprieve(pod.GetPod().UID)
	}
	return nil
}

// RemovePod is called when preemption takes a victim out of a copy of a node. Filter finds it gone. It has to know if a
// report is waited for on the victim's account. Then nobody knows which CPUs are free without it, and preemption would
// evict more than it has to, since it puts back all pods that it can. Such a node has to wait for its report.
func (pl *DedicatedCPU) RemovePod(_ context.Context, state fwk.CycleState, _ *corev1.Pod, victim fwk.PodInfo, nodeInfo fwk.NodeInfo) *fwk.Status {
	c := readCycle(state)
	if c != nil {
		pod := victim.GetPod()
		c.evict(pod.UID, pl.view.Awaited(nodeInfo.Node().Name, pod))
	}
	return nil
}
