// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/vmi"
)

func TestMisfitOf(t *testing.T) {
	machine := func(cores uint32, change func(d *vmi.Domain)) *vmi.VMI {
		v := &vmi.VMI{Kind: vmi.KindVMI, APIVersion: "kubevirt.io/v1"}
		v.Spec.Domain.CPU = vmi.CPU{Cores: cores, DedicatedCPUPlacement: true}
		guest := vmi.MustParseQuantity("1Gi")
		v.Spec.Domain.Memory.Guest = &guest
		if change != nil {
			change(&v.Spec.Domain)
		}
		return v
	}
	quantity := func(text string) *vmi.Quantity {
		q := vmi.MustParseQuantity(text)
		return &q
	}
	twice := func(cpus string) func(*vmi.Domain) {
		return func(d *vmi.Domain) { d.Resources.Limits.CPU = quantity(cpus) }
	}
	noMemory := machine(2, func(d *vmi.Domain) { d.Memory.Guest = nil })
	sidecar := func(cpu string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.Containers[1].Resources = amounts(cpu, "64M") }
	}
	moving := func(pod *corev1.Pod) { pod.Labels[migrationLabel] = "m" }
	for name, test := range map[string]struct {
		machine    *vmi.VMI
		strictness vmi.Strictness
		err        error
		change     func(*corev1.Pod)
		want       []string // in the text, in order; none for a pod that is not refused
		warning    string
		guest      bool
		other      bool // the VM is not dedicated
	}{
		"sound":                            {machine: machine(2, nil), guest: true},
		"the VMI is not known":             {},
		"the VMI cannot be read":           {err: errors.New("spec is a number"), want: []string{inconsistent + ": spec is a number"}},
		"the VMI asks for nothing":         {machine: machine(2, func(d *vmi.Domain) { d.CPU.DedicatedCPUPlacement = false }), other: true},
		"it breaks a rule":                 {machine: noMemory, want: []string{inconsistent + ": spec.domain.resources.limits.memory: no memory is given"}},
		"it breaks a rule and runs":        {machine: noMemory, change: moving, guest: true},
		"the guest grew":                   {machine: machine(3, nil), want: []string{inconsistent + ": the guest needs 3 CPUs for its 3 vCPUs", `"compute" asks for 2; delete the pod`}},
		"the guest grew and runs":          {machine: machine(3, nil), change: moving, want: []string{"needs 3 CPUs"}},
		"unreadable and runs":              {err: errors.New("spec is a number"), change: moving, warning: "spec is a number"},
		"not Guaranteed and runs":          {machine: machine(2, nil), change: func(pod *corev1.Pod) { moving(pod); pod.Spec.Containers[1].Resources.Limits = nil }, guest: true},
		"of a size that no node has":       {machine: machine(1<<31, nil), change: moving},
		"a sidecar with a CPU":             {machine: machine(2, nil), change: sidecar("1"), guest: true, warning: `container "hook-sidecar-0" asks for a whole number of CPUs`},
		"a sidecar with a CPU, Strict":     {strictness: vmi.Strict, machine: machine(2, nil), change: sidecar("1"), guest: true, want: []string{inconsistent + `: container "hook-sidecar-0" asks for a whole number of CPUs`}},
		"a sidecar with a CPU and runs":    {strictness: vmi.Strict, machine: machine(2, nil), change: func(pod *corev1.Pod) { sidecar("1")(pod); moving(pod) }, guest: true, warning: "hook-sidecar-0"},
		"a sidecar with a CPU, no VMI":     {change: sidecar("1"), warning: "hook-sidecar-0"},
		"given twice, alike":               {machine: machine(2, twice("2")), guest: true},
		"given twice, alike, Strict":       {strictness: vmi.Strict, machine: machine(2, twice("2")), guest: true, warning: "one of the two is enough"},
		"given twice, two numbers":         {machine: machine(2, twice("3")), want: []string{inconsistent + ": spec.domain.resources: ", "remove one of the two"}},
		"more guest memory than requested": {machine: machine(2, func(d *vmi.Domain) { d.Resources.Requests.Memory = quantity("512Mi") }), guest: true, warning: "is killed once it uses more"},
		"half a CPU, and a sidecar of one": {change: func(pod *corev1.Pod) { sidecar("1")(pod); pod.Spec.Containers[0].Resources = amounts("1500m", "1Gi") }, want: []string{noExclusiveCPUs + `: container "compute" asks for 1500m`, `; container "hook-sidecar-0"`}, warning: "hook-sidecar-0"},
	} {
		pod := launcherPod(test.change)
		l, _ := Of(pod)
		vm := l.Judge(test.machine, test.err, test.strictness)
		if vm.Dedicated == test.other || (vm.Guest != nil) != test.guest {
			t.Errorf("%s: %+v", name, vm)
		}
		if warnings := strings.Join(vm.Warnings, "; "); (warnings == "") != (test.warning == "") || !strings.Contains(warnings, test.warning) {
			t.Errorf("%s: warns %q; want %q", name, warnings, test.warning)
		}
		text := MisfitOf(pod, vm.Problems).String()
		if (text == "") != (len(test.want) == 0) {
			t.Errorf("%s: %q", name, text)
		}
		rest := text
		for _, want := range test.want {
			_, after, found := strings.Cut(rest, want)
			if !found {
				t.Errorf("%s: no %q in %q", name, want, text)
			}
			rest = after
		}
	}
}
