package dedicatedcpu

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// inconsistent begins the message for a launcher pod whose VMI breaks a rule; the findings follow.
const inconsistent = "the VM is inconsistent, and no node is looked at: "

// guest is what a VM needs of the CPUs that its compute container is granted.
type guest struct {
	placement.Guest
	// compute is the name of the container.
	compute string
}

// machineOf reads the VMI behind a launcher pod: the guest, nil where nothing is known of the VMI, and why
// it cannot be scheduled wherever that be, each reason with the fix.
func (pl *DedicatedCPU) machineOf(l *launcher.Launcher) (g *guest, dedicated bool, problems []string) {
	machine, known, err := pl.vms.Get(l.VMI, l.VMIUID)
	switch {
	case !known:
		return nil, true, nil
	case err != nil:
		return nil, true, []string{err.Error()}
	case !machine.Dedicated():
		return nil, false, nil
	}
	// A VM that is on the move runs already: refusing it here would only keep its node from being drained.
	if l.Role == launcher.MigrationTarget {
		return guestOf(machine, l)
	}
	for _, finding := range vmi.Errors(vmi.Judge(machine, pl.args.Strictness)) {
		problems = append(problems, finding.String())
	}
	if len(problems) > 0 {
		return nil, true, problems
	}
	return guestOf(machine, l)
}

// guestOf is machineOf for a VMI that breaks no rule.
func guestOf(machine *vmi.VMI, l *launcher.Launcher) (g *guest, dedicated bool, problems []string) {
	asked, err := placement.GuestOf(machine)
	if err != nil {
		return nil, true, nil // a size that no node has, which KubeVirt lets pass: every node will say no by itself
	}
	if need := asked.CPUs(); l.CPUs > 0 && l.CPUs < need {
		return nil, true, []string{fmt.Sprintf("the guest needs %d CPUs for its %d vCPUs, its emulator and its IO threads, and container %q asks for %d; "+
			"delete the pod so that it is made again from the VMI as it is now", need, asked.VCPUs, l.Compute, l.CPUs)}
	}
	return &guest{Guest: asked, compute: l.Compute}, true, nil
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

// misfit tells what is wrong with a launcher pod, or with the VMI behind it, wherever it goes; "" if nothing.
func misfit(pod *corev1.Pod, machine []string) string {
	problems := append(launcher.Problems(pod), launcher.SupportProblems(pod)...)
	switch {
	case len(machine) > 0:
		return inconsistent + strings.Join(machine, "; ")
	case len(problems) > 0:
		return noExclusiveCPUs + strings.Join(problems, "; ")
	}
	return ""
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

// machineChanged is called when a VMI asks for something else than before: its launcher pods are tried again.
func (pl *DedicatedCPU) machineChanged(logger klog.Logger, name types.NamespacedName) {
	pods, err := pl.pods.Pods(name.Namespace).List(labels.SelectorFromSet(labels.Set{launcher.Label: launcher.LabelValue}))
	if err != nil {
		logger.Error(err, "pods of a changed VM are not tried again", "vm", name.String())
		return
	}
	activate := map[string]*corev1.Pod{}
	for _, pod := range pods {
		if l, ok := launcher.Of(pod); ok && l.VMI == name && pod.Spec.NodeName == "" {
			activate[pod.Namespace+"/"+pod.Name] = pod
		}
	}
	if len(activate) == 0 {
		return
	}
	logger.V(2).Info("trying the pods of a changed VM again", "vm", name.String(), "pods", len(activate))
	woken.Add(float64(len(activate)))
	pl.queue.Activate(logger, activate)
}
