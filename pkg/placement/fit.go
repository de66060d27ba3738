// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"errors"
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// Why granted CPUs do not fit a guest; errors of Fit wrap one of them.
var (
	// ErrTooFew means that a vCPU, an isolated emulator or a dedicated IO thread would have no CPU.
	ErrTooFew = errors.New("too few CPUs")
	// ErrSplitsCore means that the threads of a guest core would not be hardware threads of one host core, which the
	// guest's scheduler relies on.
	ErrSplitsCore = errors.New("a guest core would be split")
	// ErrNUMA means that the guest is to see the host's NUMA nodes, and does not fit these.
	ErrNUMA = errors.New("the guest's NUMA nodes do not fit")
)

// Fit is nil if guest g can be placed on the granted CPUs of a host as its VM asks, and says why not otherwise.
//
// It is asked before anything runs, while another grant is still possible. It is stricter than Place, which makes the best
// of what there is: KubeVirt's launcher puts the threads of a guest core on different host cores without an error.
// A guest with ThreadsPerCore above 1 never fits a host without hardware threads.
func Fit(g Guest, granted cpuset.Set, host *cputopology.Topology) error {
	need := g.CPUs()
	if granted.Len() < need {
		return fmt.Errorf("%w: the guest needs %d and %d are granted", ErrTooFew, need, granted.Len())
	}
	threads := g.threads()
	cores := (g.VCPUs + threads - 1) / threads
	whole := wholeCores(threads, granted, host)
	if threads > 1 && whole < cores {
		return fmt.Errorf("%w: CPUs %s hold %d whole cores of %d threads, and the guest needs %d", ErrSplitsCore, granted, whole, threads, cores)
	}
	if g.NUMA == nil {
		return nil
	}
	if _, err := Place(g, granted, host); err != nil {
		return fmt.Errorf("%w: %w", ErrNUMA, err)
	}
	return nil
}
