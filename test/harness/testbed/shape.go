// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/test/harness/crd"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/virtlauncher"
)

// VMIs is the resource under which the stand-in reads them.
var VMIs = crd.VMIs

// guestMemoryMiB is what a guest on a simulated node gets, whatever its VMI asks: it has nothing to run.
const guestMemoryMiB = 64

// GuestOf is virt-handler's part: the guest that a launcher pod runs is described in its VMI. It has no pins yet. It is
// false for a pod that is no launcher, or whose VMI is gone.
func (t *Testbed) GuestOf(pod *corev1.Pod) (guest.Spec, bool) {
	spec, machine := t.guestOf(pod)
	return spec, machine != nil
}

// NobodyPins is a Hook that takes the pins out of a guest's description.
func NobodyPins(spec *guest.Spec) { spec.Pins = placement.Pins{} }

// launch is virt-launcher's part: its guest comes with pins within the cpuset of its container.
func (t *Testbed) launch(node Machine, sim *simnode.Node, pod *corev1.Pod) (guest.Spec, bool, error) {
	spec, machine := t.guestOf(pod)
	if _, none := node.Guests.(guest.None); none || node.Guests == nil || machine == nil {
		return spec, machine != nil, nil
	}
	cpus, err := sim.ContainerCPUs(pod.UID, "compute")
	if err != nil {
		return spec, true, err
	}
	host, err := sim.Machine()
	if err != nil {
		return spec, true, err
	}
	if spec.Pins, err = virtlauncher.Pins(machine, cpus, host); err != nil {
		return spec, true, fmt.Errorf("launching guest %s: %w", spec.Name, err)
	}
	if node.Hook != nil {
		node.Hook(&spec)
	}
	return spec, true, nil
}

// guestOf is the guest of a launcher pod and its VMI, nil where there is none.
func (t *Testbed) guestOf(pod *corev1.Pod) (guest.Spec, *vmi.VMI) {
	l, ok := launcher.Of(pod)
	if !ok || l.VMI.Name == "" {
		return guest.Spec{}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	machine, err := t.VMI(ctx, l.VMI.Name)
	if err != nil {
		return guest.Spec{}, nil
	}
	return shapeOf(machine, launcher.DomainName(l.VMI)), machine
}

// VMI reads a VMI of the VM namespace with its defaults filled in.
func (t *Testbed) VMI(ctx context.Context, name string) (*vmi.VMI, error) {
	object, err := t.Dynamic().Resource(VMIs).Namespace(VMNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	machine, err := vmi.FromUnstructured(object.Object)
	if err != nil {
		return nil, fmt.Errorf("reading VMI %s: %w", name, err)
	}
	machine.Default()
	return machine, nil
}

func shapeOf(machine *vmi.VMI, domain string) guest.Spec {
	cpu := machine.Spec.Domain.CPU
	spec := guest.Spec{
		Name:      domain,
		Sockets:   int(max(cpu.Sockets, 1)),
		Cores:     int(max(cpu.Cores, 1)),
		Threads:   int(max(cpu.Threads, 1)),
		MemoryMiB: guestMemoryMiB,
	}
	spec.VCPUs = spec.Sockets * spec.Cores * spec.Threads
	spec.Sockets = max(spec.Sockets, int(cpu.MaxSockets)) // those that may be plugged in are in the domain from the start
	spec.MaxVCPUs = spec.Sockets * spec.Cores * spec.Threads
	spec.IOThreads = int(machine.CountIOThreads())
	return spec
}
