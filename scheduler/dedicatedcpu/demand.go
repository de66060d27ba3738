package dedicatedcpu

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// demand is what a pod asks for. It is read at PreFilter and does not change after that.
type demand struct {
	nodeview.Demand
	// dedicated is set for the launcher pod of a dedicated VM: it must have exclusive CPUs.
	dedicated bool
	// guest is what the VM needs of its CPUs; nil if its VMI is not known.
	guest *guest
	// warnings say what is wrong with a VM that runs all the same. They decide nothing.
	warnings []string
	// sharedMilliCPU is the CPU that a VM's pod requests beside its exclusive CPUs, for sidecars mostly.
	sharedMilliCPU int64
}

// class is equal for demands that plugins with equal args answer alike on every node, and rate alike.
func (d *demand) class() string {
	return fmt.Sprintf("%t%s;%s;%d", d.dedicated, d.Key, d.guest.key(), d.sharedMilliCPU)
}

// podDemand reads a pod without its VMI. It returns nil for a pod that gets no exclusive CPUs and that no VM wants to
// have any.
func podDemand(pod *corev1.Pod) *demand {
	l, isLauncher := launcher.Of(pod)
	dedicated := isLauncher && l.Dedicated
	qos := pod.Status.QOSClass
	if !dedicated && qos != "" && qos != corev1.PodQOSGuaranteed {
		return nil
	}
	d := &demand{Demand: nodeview.DemandOf(pod), dedicated: dedicated}
	if !dedicated && !d.Pod.Exclusive() {
		return nil
	}
	return d
}

// vmDemand reads a pod and its VMI. It returns nil for a pod that the plugin leaves alone, and what is wrong with the VM,
// each problem with its fix.
func (pl *DedicatedCPU) vmDemand(pod *corev1.Pod) (d *demand, problems []string) {
	d = podDemand(pod)
	if d == nil {
		return nil, nil
	}
	if d.dedicated {
		l, _ := launcher.Of(pod)
		// A user's own node selector makes a pod look dedicated; the VMI decides.
		vm := pl.readVMI(&l)
		problems = vm.Problems
		d.dedicated = vm.Dedicated
		d.warnings = vm.Warnings
		if vm.Guest != nil {
			d.guest = &guest{Guest: *vm.Guest, compute: l.Compute}
		}
	}
	if d.dedicated {
		d.sharedMilliCPU = sharedMilliCPU(pod, &d.Pod)
		return d, problems
	}
	if !d.Pod.Exclusive() || pl.args.OtherPods == config.Ignore {
		return nil, nil
	}
	return d, nil
}

// readVMI reads the VMI of a launcher pod.
func (pl *DedicatedCPU) readVMI(l *launcher.Launcher) launcher.VM {
	machine, _, err := pl.vms.Get(l.VMI, l.VMIUID)
	return l.Judge(machine, err, pl.args.Strictness)
}

func sharedMilliCPU(pod *corev1.Pod, asks *admission.Pod) int64 {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	return max(0, requests.Cpu().MilliValue()-1000*int64(asks.PeakCPUs()))
}
