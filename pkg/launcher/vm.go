package launcher

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// VM is what a launcher pod's VMI says beyond the pod.
type VM struct {
	// Dedicated tells that the VM asks for CPUs of its own: a user's own node selector makes a pod look so, and the VMI
	// knows better.
	Dedicated bool
	// Guest is what the VM needs of the CPUs that container Compute is granted; nil where that is not known.
	Guest *placement.Guest
	// Problems tell why no node can have it, each with the fix.
	Problems []string
}

// Judge says what the VMI behind a launcher pod that looks dedicated means for it; machine is nil where nothing is known of the VMI, and
// err why one that is there cannot be read.
func (l *Launcher) Judge(machine *vmi.VMI, err error, strictness vmi.Strictness) VM {
	switch {
	case err != nil:
		return VM{Dedicated: true, Problems: []string{err.Error()}}
	case machine == nil:
		return VM{Dedicated: l.Dedicated}
	case !machine.Dedicated():
		return VM{}
	}
	vm := VM{Dedicated: true}
	// A VM that is on the move runs already: refusing it here would only keep its node from being drained.
	if l.Role != MigrationTarget {
		for _, finding := range vmi.Errors(vmi.Judge(machine, strictness)) {
			vm.Problems = append(vm.Problems, finding.String())
		}
	}
	if len(vm.Problems) == 0 {
		vm.Guest, vm.Problems = l.guest(machine)
	}
	return vm
}

// guest is that of a VMI that breaks no rule, and why the pod is too small for it.
func (l *Launcher) guest(machine *vmi.VMI) (*placement.Guest, []string) {
	guest, err := placement.GuestOf(machine)
	if err != nil {
		return nil, nil // a size that no node has, which KubeVirt lets pass: every node will say no by itself
	}
	if need := guest.CPUs(); l.CPUs > 0 && l.CPUs < need {
		return nil, []string{fmt.Sprintf("the guest needs %d CPUs for its %d vCPUs, its emulator and its IO threads, and container %q asks for %d; "+
			"delete the pod so that it is made again from the VMI as it is now", need, guest.VCPUs, l.Compute, l.CPUs)}
	}
	return &guest, nil
}

// What a Misfit can be.
const (
	inconsistent    = "the VM is inconsistent, and no node is looked at"
	noExclusiveCPUs = "the VM asks for dedicated CPUs, but no kubelet would give its launcher pod exclusive ones"
	tooManyCPUs     = "the VM asks for dedicated CPUs, and its launcher pod for others that the guest cannot use"
)

// Misfit is why a dedicated VM's launcher pod is refused wherever it would go.
type Misfit struct {
	// What is wrong in general, in a clause; "" for a pod that is not refused.
	What string
	// Problems are what is wrong with this pod, each with the fix.
	Problems []string
}

// MisfitOf judges the launcher pod of a dedicated VM, by itself and by what Judge finds wrong with the VM.
func MisfitOf(pod *corev1.Pod, ofVM []string) Misfit {
	if len(ofVM) > 0 {
		return Misfit{inconsistent, ofVM}
	}
	problems, support := Problems(pod), SupportProblems(pod)
	switch {
	case len(problems) > 0:
		return Misfit{noExclusiveCPUs, append(problems, support...)}
	case len(support) > 0:
		return Misfit{tooManyCPUs, support}
	}
	return Misfit{}
}

// String is the misfit in one line, as it stands in the pod's events; "" for a pod that is not refused.
func (m Misfit) String() string {
	if m.What == "" {
		return ""
	}
	return m.What + ": " + strings.Join(m.Problems, "; ")
}
