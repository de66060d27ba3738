package dedicatedcpu

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/placement"
)

// guest is what a VM needs of the CPUs that its compute container is granted.
type guest struct {
	placement.Guest
	// compute is the name of the container.
	compute string
}

// machineOf reads the VMI behind a launcher pod: the guest, nil where nothing is known of the VMI, and why
// it cannot be scheduled wherever that be, each reason with the fix.
func (pl *DedicatedCPU) machineOf(l *launcher.Launcher) (g *guest, dedicated bool, problems []string) {
	machine, _, err := pl.vms.Get(l.VMI, l.VMIUID)
	vm := l.Judge(machine, err, pl.args.Strictness)
	if vm.Guest != nil {
		g = &guest{Guest: *vm.Guest, compute: l.Compute}
	}
	return g, vm.Dedicated, vm.Problems
}

// key is equal for guests that fit the same CPUs; "" where the guest is not known. Everything that package placement may
// look at is in it.
func (g *guest) key() string {
	if g == nil {
		return ""
	}
	plain, numa := g.Guest, placement.NUMA{}
	if g.NUMA != nil {
		numa = *g.NUMA
	}
	plain.NUMA = nil
	return fmt.Sprintf("%s %+v %t%+v", g.compute, plain, g.NUMA != nil, numa)
}

// plugged is how many CPUs more a migration's target asks for than the pod that the VM runs in, 0 where that one
// is not known.
func (pl *DedicatedCPU) plugged(target *corev1.Pod) int {
	pods, err := pl.pods.Pods(target.Namespace).List(labels.SelectorFromSet(labels.Set{launcher.Label: launcher.LabelValue}))
	if err != nil {
		return 0
	}
	for _, source := range pods {
		if cpus, ok := launcher.Plugged(source, target); ok && source.Status.Phase == corev1.PodRunning {
			return cpus
		}
	}
	return 0
}

// machineChanged is called when a VMI asks for something else than before: its launcher pods are tried again, whatever
// their profile; all profiles share one scheduling queue.
func (k *knowledge) machineChanged(logger klog.Logger, name types.NamespacedName) {
	pl := k.any()
	if pl == nil {
		return
	}
	pods, err := pl.pods.Pods(name.Namespace).List(labels.SelectorFromSet(labels.Set{launcher.Label: launcher.LabelValue}))
	if err != nil {
		logger.Error(err, "pods of a changed VM are not tried again", "vm", name.String())
		return
	}
	var waiting []*corev1.Pod
	for _, pod := range pods {
		if l, ok := launcher.Of(pod); ok && l.VMI == name && pod.Spec.NodeName == "" {
			waiting = append(waiting, pod)
		}
	}
	pl.activate(klog.LoggerWithValues(logger, "changedVM", name.String()), "", waiting)
}
