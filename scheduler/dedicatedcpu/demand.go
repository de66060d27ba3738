// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/config"
)

// readDemand reads a pod without its VMI. It returns nil for a pod that gets no exclusive CPUs and that no VM wants to
// have any.
func readDemand(pod *corev1.Pod) *verdict.Demand {
	dedicated := launcher.Dedicated(pod)
	qos := pod.Status.QOSClass
	if !dedicated && qos != "" && qos != corev1.PodQOSGuaranteed {
		return nil
	}
	d := verdict.DemandOf(pod)
	if !dedicated && !d.Pod.Exclusive() {
		return nil
	}
	d.Dedicated = dedicated
	return &d
}

// podDemand is readDemand for this plugin's arguments.
func (pl *DedicatedCPU) podDemand(pod *corev1.Pod) *verdict.Demand {
	d := readDemand(pod)
	if d != nil {
		d.NeedsLabel = d.Dedicated && pl.args.CPUManagerNodes == config.Required
		d.Estimate = pl.args.NodesWithoutExactReport == config.Estimate
		d.Restart = restartSafety[pl.args.RestartSafety]
	}
	return d
}

// restartSafety is what the argument of that name means.
var restartSafety = map[config.RestartSafety]verdict.RestartSafety{
	config.RestartIgnore: verdict.RestartIgnored, config.RestartPrefer: verdict.RestartPreferred, config.RestartRequire: verdict.RestartRequired,
}

// vmDemand reads a pod and its VMI. It returns nil for a pod that the plugin leaves alone, and what is known of the VM.
func (pl *DedicatedCPU) vmDemand(pod *corev1.Pod) (d *verdict.Demand, vm launcher.VM) {
	d = pl.podDemand(pod)
	if d == nil {
		return nil, vm
	}
	if d.Dedicated {
		l, _ := launcher.Of(pod)
		machine, _, err := pl.vms.Get(l.VMI, l.VMIUID)
		vm = l.Judge(machine, err, pl.args.Strictness)
		if vm.Dedicated {
			d.Guest = vm.Guest
			d.Compute = l.Compute
			return d, vm
		}
		// A user's own node selector made the pod look dedicated; the VMI decides.
		d.Dedicated = false
		d.NeedsLabel = false
	}
	if !d.Pod.Exclusive() || pl.args.OtherPods == config.Ignore {
		return nil, vm
	}
	return d, vm
}
