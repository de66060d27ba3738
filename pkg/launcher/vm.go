// SPDX-License-Identifier: Apache-2.0

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
	// Dedicated is set when the VM asks for CPUs of its own. A user's own node selector can make a pod look so; the VMI decides.
	Dedicated bool
	// Guest is what the VM needs of the CPUs that container Compute is granted; nil where that is not known.
	Guest *placement.Guest
	// Problems say why no node can take it, each with the fix.
	Problems []string
	// Warnings say what is wrong with a VM that runs all the same, each with the fix.
	Warnings []string
}

// Judge says what the VMI behind a launcher pod that looks dedicated means for it. machine is nil where nothing is known of
// the VMI. err says why a VMI that exists cannot be read.
//
// The VM exists, so what only its author may be refused for is a warning here: a VM that would run must not stay Pending.
// Strictness Strict is for administrators who want it otherwise, for sidecars that take exclusive CPUs.
func (l *Launcher) Judge(machine *vmi.VMI, err error, strictness vmi.Strictness) VM {
	switch {
	case err != nil && l.Role == MigrationTarget:
		return VM{Dedicated: true, Warnings: []string{err.Error()}} // it runs already
	case err != nil:
		return VM{Dedicated: true, Problems: []string{err.Error()}}
	case machine == nil:
		vm := VM{Dedicated: l.Dedicated}
		if l.Dedicated {
			vm.addSupport(l, strictness)
		}
		return vm
	case !machine.Dedicated():
		return VM{}
	}
	vm := VM{Dedicated: true}
	// A VM that is migrated runs already. Refusing it here would only keep its node from being drained.
	if l.Role != MigrationTarget {
		findings := vmi.Judge(machine, strictness)
		for _, finding := range vmi.Errors(findings) {
			if finding.Starts {
				vm.Warnings = append(vm.Warnings, finding.String())
			} else {
				vm.Problems = append(vm.Problems, finding.String())
			}
		}
	}
	if len(vm.Problems) == 0 {
		vm.Guest, vm.Problems = l.guest(machine)
	}
	vm.addSupport(l, strictness)
	return vm
}

// addSupport adds what is to be said about containers besides compute that take exclusive CPUs. KubeVirt runs such VMs.
func (vm *VM) addSupport(l *Launcher, strictness vmi.Strictness) {
	if strictness == vmi.Strict && l.Role != MigrationTarget {
		vm.Problems = append(vm.Problems, l.supportProblems()...)
	} else {
		vm.Warnings = append(vm.Warnings, l.supportProblems()...)
	}
}

// guest is that of a VMI that breaks no rule, or why the pod is too small for it.
func (l *Launcher) guest(machine *vmi.VMI) (*placement.Guest, []string) {
	guest, err := placement.GuestOf(machine)
	if err != nil {
		return nil, nil // a size that no node has, which KubeVirt accepts: every node refuses it by itself
	}
	need := guest.CPUs()
	if l.CPUs > 0 && l.CPUs < need {
		return nil, []string{fmt.Sprintf("the guest needs %d CPUs for its %d vCPUs, its emulator and its IO threads, and container %q asks for %d; "+
			"delete the pod so that it is made again from the VMI as it is now", need, guest.VCPUs, l.Compute, l.CPUs)}
	}
	return &guest, nil
}

// What a Misfit can be.
const (
	inconsistent    = "the VM is inconsistent, and no node is looked at"
	noExclusiveCPUs = "the VM asks for dedicated CPUs, but no kubelet would give its launcher pod exclusive ones"
)

// Misfit is why a dedicated VM's launcher pod is refused on every node.
type Misfit struct {
	// What is wrong in general, in a clause; "" for a pod that is not refused.
	What string
	// Problems are what is wrong with this pod, each with the fix.
	Problems []string
}

// MisfitOf judges the launcher pod of a dedicated VM, by itself and by the problems that Judge finds with the VM. The target
// of a migration is not refused for what is wrong with it, since its VM runs already: TargetWarnings has that.
func MisfitOf(pod *corev1.Pod, ofVM []string) Misfit {
	if len(ofVM) > 0 {
		return Misfit{inconsistent, ofVM}
	}
	problems := Problems(pod)
	if len(problems) == 0 || RoleOf(pod) == MigrationTarget {
		return Misfit{}
	}
	return Misfit{noExclusiveCPUs, append(problems, SupportProblems(pod)...)}
}

// TargetWarnings says why a running VM would have no CPUs of its own any more in the pod that it is to move to, each reason with
// the fix. It is nil for other pods.
func TargetWarnings(pod *corev1.Pod) []string {
	if RoleOf(pod) != MigrationTarget {
		return nil
	}
	return Problems(pod)
}

// String is the misfit in one line, as the pod's events have it; "" for a pod that is not refused.
func (m Misfit) String() string {
	if m.What == "" {
		return ""
	}
	return m.What + ": " + strings.Join(m.Problems, "; ")
}
