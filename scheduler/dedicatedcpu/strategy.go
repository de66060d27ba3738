package dedicatedcpu

import (
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// coreShare is what whole cores count in LeastFragmentation against a good fit in the NUMA node.
const coreShare = 0.25

// rate says, from 0 to 1, how good a node would be after an admitted pod.
func rate(strategy config.ScoringStrategy, p *nodeview.Prediction) float64 {
	switch strategy {
	case config.MostFree:
		return share(p.Decision.Shared.Minus(p.Node.Reserved), p.Node.Topology.CPUs().Minus(p.Node.Reserved))
	default:
		return coreShare*coresKept(p) + (1-coreShare)*tightness(p)
	}
}

// used are the CPUs that the pod may be granted: those of its grant, or, where that depends on pods in
// flight, all.
func used(p *nodeview.Prediction) cpuset.Set {
	if granted := p.Decision.Granted(); !granted.IsEmpty() {
		return granted
	}
	return p.Node.Topology.CPUs()
}

// tightness is 1 where the NUMA nodes that the pod uses are full afterwards, and 0 where they are empty.
func tightness(p *nodeview.Prediction) float64 {
	granted, free := used(p), p.Decision.Shared.Minus(p.Node.Reserved)
	var around cpuset.Set
	for _, numa := range p.Node.Topology.NUMANodes() {
		if numa.CPUs.Overlaps(granted) {
			around = around.Union(numa.CPUs)
		}
	}
	around = around.Minus(p.Node.Reserved)
	return 1 - share(free.Intersect(around), around)
}

// coresKept is the share of the cores used by the pod that leaves no thread of them free.
func coresKept(p *nodeview.Prediction) float64 {
	granted, free := used(p), p.Decision.Shared.Minus(p.Node.Reserved)
	cores, whole := 0, 0
	for _, core := range p.Node.Topology.Cores() {
		if !core.CPUs.Overlaps(granted) {
			continue
		}
		cores++
		if !core.CPUs.Overlaps(free) {
			whole++
		}
	}
	if cores == 0 {
		return 1
	}
	return float64(whole) / float64(cores)
}

// share is how much of all the part is; 0 of nothing.
func share(part, all cpuset.Set) float64 {
	if all.IsEmpty() {
		return 0
	}
	return float64(part.Len()) / float64(all.Len())
}
