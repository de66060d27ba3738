// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
)

// A Hypervisor's errors wrap one of these, where the caller acts on the difference. An error that wraps none of them is
// libvirt's own answer. The error of a conversation that took too long wraps context.DeadlineExceeded.
var (
	// ErrUnreachable: nothing answers at the launcher pod's libvirt socket.
	ErrUnreachable = errors.New("libvirt is not reachable")
	// ErrNoGuest: libvirt answers, but the guest does not run yet, or any more.
	ErrNoGuest = errors.New("no guest is running")
	// ErrInTransit: the guest is being started, migrated or saved. Before that is over, libvirt lets nobody change its
	// threads, or even ask about them.
	ErrInTransit = errors.New("the guest is being started, migrated or saved")
	// ErrUnreadable: libvirt describes the guest in a way that is not understood.
	ErrUnreadable = errors.New("the guest's description is not readable")
)

// Place is where a guest runs.
type Place struct {
	PodUID types.UID
	// PodDir is the pod's directory: <kubelet root>/pods/<pod UID>.
	PodDir string
	// CPUs is the number of CPUs granted to the guest. It bounds how much its libvirt may answer.
	CPUs int
}

// Hypervisor reaches the libvirts of launcher pods.
type Hypervisor interface {
	// Connect opens a connection to the libvirt of the guest at that place. It takes no longer than ctx
	// allows; the connection outlives ctx.
	Connect(ctx context.Context, place Place) (Connection, error)
}

// Connection is a connection to the libvirt of one launcher pod. Only one goroutine uses it at a time.
// A call that ctx cuts short ends the connection: every later call fails.
type Connection interface {
	// Guest reads the running domain of that name. A libvirt of the launcher pod's own may have none of that name and
	// run just one domain: then it is that one. The error wraps ErrNoGuest where no such domain runs, and ErrInTransit
	// where it does not run yet, or not for much longer. Where the threads run is asked each time. The pins that
	// libvirt was told may be as of its last event.
	Guest(ctx context.Context, domain string) (*Guest, error)
	// Pin lets a thread of the guest run on these CPUs only, until the guest stops. The error wraps ErrInTransit where
	// libvirt would make the call wait.
	Pin(ctx context.Context, guest *Guest, thread Thread, cpus cpuset.Set) error
	// Waits gives, by vCPU number, how long each vCPU of the guest was ready to run and waited for a CPU since its thread
	// started. A vCPU of which that is not known is left out. It does not wait for what libvirt does to the guest.
	Waits(ctx context.Context, guest *Guest) (map[int]time.Duration, error)
	// Changed receives after libvirt's event that a domain started, stopped, resumed, came by migration or was tuned.
	// Several changes may come as one. It is closed when the connection is lost.
	Changed() <-chan struct{}
	// Close ends the connection. It does not wait for libvirt, and may be called again.
	Close()
}

// Guest is a running domain as libvirt tells it.
type Guest struct {
	// Domain is libvirt's name.
	Domain string
	UUID   [16]byte
	// Run is libvirt's id of this run of the domain; a guest that was started again has another one.
	Run int32
	// ThreadsPerCore is the number of threads of a guest core, at least 1.
	ThreadsPerCore int
	// VCPUs are those online, in ascending order of their ids, at least one.
	VCPUs []GuestThread
	// IOThreads are in ascending order of their ids.
	IOThreads []GuestThread
	// Near has, by vCPU number, the host NUMA nodes that the memory of the vCPU's guest NUMA node is bound to; nil where
	// no memory is bound.
	Near map[int][]int
	// Pluggable reports whether more vCPUs can be plugged into the running guest.
	Pluggable bool
	// Emulator is where libvirt is told to keep the emulator; empty where it is told nothing.
	Emulator cpuset.Set
}

// GuestThread is one thread of a guest.
type GuestThread struct {
	// ID is the vCPU's number or the IO thread's id.
	ID int
	// Pinned is where libvirt is told to keep it; empty where it is told nothing.
	Pinned cpuset.Set
	// Affinity is where the kernel lets the thread run, as libvirt asked it.
	Affinity cpuset.Set
}

// ThreadKind is what a thread of a guest is for.
type ThreadKind string

// The kinds of threads that libvirt can pin.
const (
	VCPU     ThreadKind = "vcpu"
	Emulator ThreadKind = "emulator"
	IOThread ThreadKind = "iothread"
)

// Thread names a thread of a guest.
type Thread struct {
	Kind ThreadKind
	// ID is the vCPU's number or the IO thread's id; 0 for the emulator.
	ID int
}

// String gives the thread as events and logs name it.
func (t Thread) String() string {
	switch t.Kind {
	case VCPU:
		return fmt.Sprintf("vCPU %d", t.ID)
	case IOThread:
		return fmt.Sprintf("IO thread %d", t.ID)
	default:
		return string(t.Kind)
	}
}
