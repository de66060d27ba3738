package dedicatedcpu

import (
	"errors"

	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/scheduler/nodeview"
)

// refusedGuest says why a node whose kubelet would admit the pod could not hold the guest with the CPUs that
// it would grant; nil if it could with every grant that is possible. KubeVirt finds out inside the launcher, after
// the pod is bound. Of a pod whose VMI is not known nothing is said.
func refusedGuest(d *demand, p *nodeview.Prediction) *refusal {
	if d.guest == nil {
		return nil
	}
	for cpus := range p.Possible(d.guest.compute) {
		if err := placement.Fit(d.guest.Guest, cpus, p.Node.Topology); err != nil {
			return misfits(err, holdsWhenEmpty(d, p))
		}
	}
	return nil
}

// holdsWhenEmpty tells whether the node could hold the guest were nobody else on it: if not, no eviction helps.
func holdsWhenEmpty(d *demand, p *nodeview.Prediction) bool {
	empty := p.Node.Empty()
	for _, grant := range kubeletcpu.Admit(&empty, &d.Pod).Grants {
		if grant.Container == d.guest.compute {
			return placement.Fit(d.guest.Guest, grant.CPUs, p.Node.Topology) == nil
		}
	}
	return false
}

// misfits is what an error of placement.Fit means for the node; again tells that evicting pods could help.
func misfits(err error, again bool) *refusal {
	switch {
	case errors.Is(err, placement.ErrSplitsCore):
		return choose(again, &refusedSplitsThreads, &refusedAlwaysSplitsThreads)
	case errors.Is(err, placement.ErrTooFew):
		return &refusedNoThreadCPU
	}
	return choose(again, &refusedGuestNUMA, &refusedNeverGuestNUMA)
}
