package pinning

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

const (
	// vmiTimeout bounds a question to the API server, which must not hold up pins for long.
	vmiTimeout = 500 * time.Millisecond
	// vmiRetry is the wait before the API server is asked again for a VMI that it did not give.
	vmiRetry = 30 * time.Second
)

// asked is the VMI of a launcher pod: what it asks about CPUs cannot change while the pod runs (a VM that is to have
// more moves to another pod), so the API server is asked once.
type asked struct {
	vmi   *vmi.VMI // nil where there is none, or none could be had
	known bool
	next  time.Time // when to ask again while it is not known
}

// readVMI gives the VMI behind the guest, nil where there is none to be had: then what it asks is read off
// the domain and the grant.
func (w *worker) readVMI(ctx context.Context) *vmi.VMI {
	a := &w.asked
	if w.VMI == nil || a.known || w.clock.Now().Before(a.next) {
		return a.vmi
	}
	within, cancel := context.WithTimeout(ctx, vmiTimeout)
	defer cancel()
	v, err := w.VMI(within, w.pod)
	if err == nil && v != nil && w.launcher.VMIUID != "" && v.UID != w.launcher.VMIUID {
		v = nil // another VMI of that name; the pod's own is gone
	}
	if err != nil {
		vmiErrors.Inc()
		klog.FromContext(ctx).V(2).Info("placing by the domain alone", "err", err)
		a.next = w.clock.Now().Add(vmiRetry)
		return nil
	}
	a.vmi, a.known = v, true
	return v
}

// launcherProblem is the problem of a pod that only looks like a launcher pod. Labels and annotations are the
// user's, and so is the libvirt socket in the pod: it is not dialled unless a VMI owns the pod by its UID, or the
// configuration names the namespace. Where the VMI could not be read, the owner reference has to do.
func (w *worker) launcherProblem() *problem {
	unowned := w.VMI != nil && w.asked.known && w.asked.vmi == nil
	if !unowned || slices.Contains(w.Config.LauncherNamespaces, w.pod.Namespace) {
		return nil
	}
	return &problem{reasonNotOwned, fmt.Errorf("pod %s/%s is labelled as a launcher pod, and no VMI owns it", w.pod.Namespace, w.pod.Name)}
}

// shapeOf is what placement needs to know of the guest: its threads as libvirt tells them, and what its VMI
// asked for the emulator and the IO threads.
func shapeOf(guest *Guest, granted cpuset.Set, v *vmi.VMI) placement.Guest {
	shape := placement.Guest{VCPUs: len(guest.VCPUs), ThreadsPerCore: guest.ThreadsPerCore}
	for _, thread := range guest.IOThreads {
		shape.IOThreads = append(shape.IOThreads, thread.ID)
	}
	if guest.Near != nil {
		for _, vcpu := range guest.VCPUs {
			shape.Near = append(shape.Near, guest.Near[vcpu.ID])
		}
	}
	if v != nil {
		if wish, err := placement.GuestOf(v); err == nil {
			shape.IsolateEmulator, shape.EmulatorCPUs = wish.IsolateEmulator, wish.EmulatorCPUs
			shape.DedicatedIOThreads = wish.DedicatedIOThreads
			if wish.NUMA != nil {
				shape.NUMA = &placement.NUMA{} // its memory is where it is
			}
			return shape
		}
	}
	guess(&shape, granted)
	return shape
}

// guess reads what the VMI asked for its emulator and its IO threads off the grant: KubeVirt asks exactly one
// CPU for each vCPU, one for each IO thread of ioThreadsPolicy supplementalPool, and one or two for an
// isolated emulator, so the CPUs beyond the vCPUs tell (kubevirt
// pkg/virt-controller/services/renderresources.go, WithCPUPinning). One spare CPU beside one IO thread
// could be either's; it becomes the emulator's, which the IO thread then shares: both are off the vCPUs' CPUs.
func guess(shape *placement.Guest, granted cpuset.Set) {
	spare := granted.Len() - shape.VCPUs
	if pool := len(shape.IOThreads); pool > 1 && spare >= pool {
		shape.DedicatedIOThreads = true
		spare -= pool
	}
	if spare > 0 {
		shape.IsolateEmulator = true
		shape.EmulatorCPUs = spare
	}
}
