// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/test/harness/crd"
	"corepin.dev/corepin/test/harness/guest"
)

// VMIs is the resource under which the stand-in reads them.
var VMIs = crd.VMIs

// guestMemoryMiB is what a guest on a simulated node gets, whatever its VMI asks: it has nothing to run.
const guestMemoryMiB = 64

// GuestOf is virt-handler's part: the guest that a launcher pod runs is described in its VMI. It is false
// for a pod that is no launcher, or whose VMI is gone.
func (t *Testbed) GuestOf(pod *corev1.Pod) (guest.Spec, bool) {
	l, ok := launcher.Of(pod)
	if !ok || l.VMI.Name == "" {
		return guest.Spec{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	machine, err := t.VMI(ctx, l.VMI.Name)
	if err != nil {
		return guest.Spec{}, false
	}
	return shapeOf(machine, launcher.DomainName(l.VMI)), true
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
	spec.IOThreads = int(machine.CountIOThreads())
	return spec
}
