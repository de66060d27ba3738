// SPDX-License-Identifier: Apache-2.0

// Package guest runs the virtual machine of a launcher pod on a simulated node. Each guest has a libvirtd
// of its own. The agent finds its socket where KubeVirt has it: in the pod's emptyDir volume
// libvirt-runtime.
//
// There are three runners, and what each proves differs:
//
//   - QEMU: a real QEMU process with real vCPU, emulator and IO threads; pins are the kernel's. The guest
//     has no disk: its firmware finds nothing to boot and idles.
//   - TestDriver: a real libvirtd with libvirt's own test driver. The remote protocol, the domain, the
//     pins and the events are libvirt's; the hypervisor, and so the threads, are simulated. It knows CPUs
//     0 to 7 only.
//   - None: no guest and no libvirt at all. The pod says it runs; nothing can be pinned.
//
// Each libvirtd runs in session mode as user 107, in a private directory, the way virt-launcher runs its virtqemud (KubeVirt
// v1.9, cmd/virt-launcher). It ends as that does: first the domain, then the server, then the socket. It gets its listening socket by systemd's socket activation
// protocol. That allows a socket in a directory that only root may enter, with a path longer than the 107
// bytes of a socket address. The real kubelet's pod directories are like that.
//
// A guest belongs to the process that started it. Stop ends it without a trace. If that process is gone without a Stop, another
// one that watches it kills what is left and removes the files (keeper.go). Server is a libvirtd alone, for tests that start guests
// of their own in it, kill it, or migrate.
package guest

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"corepin.dev/corepin/pkg/placement"
)

// Spec is the shape of a guest.
type Spec struct {
	// Name is libvirt's name of the domain: KubeVirt's is <namespace>_<VMI name>.
	Name string
	// VCPUs is the number of virtual CPUs. Sockets, Cores (per socket) and Threads (per core) is how the
	// guest sees them; all zero means one socket of VCPUs cores.
	VCPUs, Sockets, Cores, Threads int
	// MaxVCPUs is how many it can have once more are plugged in, which is then what Sockets, Cores and Threads come to; 0
	// means VCPUs.
	MaxVCPUs int
	// Pins are in the description that libvirt starts it with; where they are empty nothing is pinned.
	Pins placement.Pins
	// IOThreads is the number of IO threads; libvirt numbers them from 1.
	IOThreads int
	// MemoryMiB is the guest's memory; 0 means 64.
	MemoryMiB int
	// PageKiB is the size of the huge pages that are its memory; 0 means ordinary memory.
	PageKiB int
	// SocketDir is the existing directory in which libvirtd's socket virtqemud-sock appears.
	SocketDir string
}

// Runner starts guests.
type Runner interface {
	// Start returns once the guest runs and its libvirt answers. ctx bounds the start only: the guest
	// lives until Stop.
	Start(ctx context.Context, spec Spec) (Guest, error)
	// HostCPUs is how many CPUs, from 0 up, the runner's hypervisor can pin to; 0 means all there are.
	HostCPUs() int
}

// Guest is a running virtual machine.
type Guest interface {
	// PID is the hypervisor's process, 0 where there is none.
	PID() int
	// Done is closed when the guest has ended, by Stop or by itself.
	Done() <-chan struct{}
	// Stop ends the guest and its libvirtd and removes what they left on disk. It may be called again.
	Stop(ctx context.Context) error
}

// withDefaults fills what may be left out and refuses a shape that no hypervisor could start.
func (s Spec) withDefaults() (Spec, error) {
	if s.Name == "" || s.SocketDir == "" {
		return s, fmt.Errorf("guest %q needs a name and a socket directory (%q)", s.Name, s.SocketDir)
	}
	if s.VCPUs < 1 || s.IOThreads < 0 || s.MemoryMiB < 0 {
		return s, fmt.Errorf("guest %s: %d vCPUs, %d IO threads and %d MiB of memory is not a machine",
			s.Name, s.VCPUs, s.IOThreads, s.MemoryMiB)
	}
	s.MaxVCPUs = max(s.MaxVCPUs, s.VCPUs)
	if s.Sockets == 0 && s.Cores == 0 && s.Threads == 0 {
		s.Sockets, s.Cores, s.Threads = 1, s.MaxVCPUs, 1
	}
	if s.Sockets*s.Cores*s.Threads != s.MaxVCPUs {
		return s, fmt.Errorf("guest %s: %d sockets x %d cores x %d threads are not the %d vCPUs that it has at most",
			s.Name, s.Sockets, s.Cores, s.Threads, s.MaxVCPUs)
	}
	s.MemoryMiB = cmp.Or(s.MemoryMiB, 64)
	return s, nil
}

// None runs no guest: for nodes too large for TestDriver, where only scheduling is looked at.
type None struct{}

// Start returns a guest that exists in name only.
func (None) Start(context.Context, Spec) (Guest, error) {
	return &nothing{done: make(chan struct{})}, nil
}

// HostCPUs is 0: there is nothing to pin.
func (None) HostCPUs() int { return 0 }

type nothing struct {
	once sync.Once
	done chan struct{}
}

func (*nothing) PID() int                { return 0 }
func (n *nothing) Done() <-chan struct{} { return n.done }
func (n *nothing) Stop(context.Context) error {
	n.once.Do(func() { close(n.done) })
	return nil
}
