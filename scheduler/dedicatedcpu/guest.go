package dedicatedcpu

import (
	"errors"
	"fmt"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/scheduler/nodeview"
)

// guest is what a VM needs of the CPUs that its compute container is granted.
type guest struct {
	placement.Guest
	// compute is the name of the container.
	compute string
}

// key is equal for guests that the same CPUs satisfy; "" for an unknown guest. It has every field of placement.Guest, and
// a test checks that.
func (g *guest) key() string {
	if g == nil {
		return ""
	}
	return fmt.Sprintf("%s %d,%d,%v,%t,%t,%d,%v,%s", g.compute, g.VCPUs, g.ThreadsPerCore, g.IOThreads,
		g.DedicatedIOThreads, g.IsolateEmulator, g.EmulatorCPUs, g.Near, numaKey(g.NUMA))
}

func numaKey(numa *placement.NUMA) string {
	if numa == nil {
		return "-"
	}
	return fmt.Sprintf("%d,%d", numa.Memory, numa.PageSize)
}

// guestRefusal says why a node whose kubelet would admit the pod cannot run the guest on the CPUs that it would grant;
// nil if every possible grant satisfies it. KubeVirt finds out inside the launcher, after the pod is bound. An unknown
// guest is not refused.
func guestRefusal(d *demand, p *nodeview.Prediction) *refusal {
	if d.guest == nil {
		return nil
	}
	for cpus := range p.Possible(d.guest.compute) {
		err := placement.Fit(d.guest.Guest, cpus, p.Node.Topology)
		if err != nil {
			return unfit(err, fitsEmpty(d, p))
		}
	}
	return nil
}

// fitsEmpty reports whether the guest could run on the empty node. If not, no eviction helps.
func fitsEmpty(d *demand, p *nodeview.Prediction) bool {
	empty := p.Node.Empty()
	for _, grant := range admission.Admit(&empty, &d.Pod).Grants {
		if grant.Container == d.guest.compute {
			return placement.Fit(d.guest.Guest, grant.CPUs, p.Node.Topology) == nil
		}
	}
	return false
}

// unfit is the refusal for an error of placement.Fit. evictable says whether evicting pods could help.
func unfit(err error, evictable bool) *refusal {
	switch {
	case errors.Is(err, placement.ErrSplitsCore):
		return either(evictable, &refusedSplitsThreads, &refusedAlwaysSplitsThreads)
	case errors.Is(err, placement.ErrTooFew):
		return &refusedNoThreadCPU
	}
	return either(evictable, &refusedGuestNUMA, &refusedNeverGuestNUMA)
}
