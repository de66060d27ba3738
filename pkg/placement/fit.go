package placement

import (
	"errors"
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// Why granted CPUs would not do for a guest; errors of Fit are one of them.
var (
	// ErrTooFew: a vCPU, the emulator or an IO thread that is to have a CPU of its own would have none.
	ErrTooFew = errors.New("too few CPUs")
	// ErrSplitsCore: the threads of a guest core would not be hardware threads of one host core, and the guest's
	// scheduler relies on that they are.
	ErrSplitsCore = errors.New("a guest core would be split")
	// ErrNUMA: the guest is to see the host's NUMA nodes, and cannot be laid out on these.
	ErrNUMA = errors.New("the guest's NUMA nodes do not fit")
)

// Fit tells whether guest g can be laid out on the granted CPUs of a host the way its VM asks: nil, or
// why not. It is asked before anything runs, where another grant can still be had, and is stricter than Place,
// which makes the best of what there is: KubeVirt's launcher puts the threads of a guest core on different host
// cores without a word. No fit with ThreadsPerCore above 1 is to be had on a host without hardware threads.
func Fit(g Guest, granted cpuset.Set, host *cputopology.Topology) error {
	if need := g.CPUs(); granted.Len() < need {
		return fmt.Errorf("%w: the guest needs %d and %d are granted", ErrTooFew, need, granted.Len())
	}
	if threads := g.threads(); threads > 1 {
		if cores, whole := (g.VCPUs+threads-1)/threads, wholeCores(threads, granted, host); whole < cores {
			return fmt.Errorf("%w: CPUs %s hold %d whole cores of %d threads, and the guest needs %d", ErrSplitsCore, granted, whole, threads, cores)
		}
	}
	if g.NUMA == nil {
		return nil
	}
	if _, err := Place(g, granted, host); err != nil {
		return fmt.Errorf("%w: %w", ErrNUMA, err)
	}
	return nil
}
