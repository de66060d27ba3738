// Package scoring rates a node by what is left of it for other VMs once a VM is placed there. It is pure: a rating
// depends on its arguments only.
//
// A rating is a number of any size; more is better. It is comparable between nodes for the same VM and strategy.
// Normalize maps the ratings of one scheduling cycle to the scores of the scheduling framework.
//
// A rating counts. The kubelet's decision, which is predicted elsewhere, tells whether the VM fits at all; here it
// matters only how much of the node is left, and a few divisions are enough for that.
package scoring

import (
	"math"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/scheduler/config"
)

// Placement is a VM on a node that can take it.
type Placement struct {
	// Node is the node without the VM. The CPUs of VMs that are being started there are not in its shared pool.
	Node *kubeletcpu.Node
	// FreeAfter are the CPUs that the kubelet could still grant with the VM there. If it may be granted one of several
	// sets of CPUs, none of them is free.
	FreeAfter cpuset.Set
	// UnrequestedMilliCPU is the allocatable CPU that no pod requests before the VM comes.
	UnrequestedMilliCPU int64
	// ExclusiveCPUs and SharedMilliCPU are what the VM's pod requests: exclusive CPUs, and the rest for sidecars.
	ExclusiveCPUs  int
	SharedMilliCPU int64
}

// Rate returns the rating of a placement.
func Rate(strategy config.ScoringStrategy, p *Placement) int64 {
	after := p.after()
	switch strategy {
	case config.MostFree:
		return after.share()
	case config.MostAllocated:
		return -after.share()
	}
	before := p.before()
	return -loss(&before, &after, p.SharedMilliCPU)
}

// capacity is what a node has for more VMs: CPUs that can be granted, and CPU that can be requested. Both are needed,
// since a sidecar runs beside each VM.
type capacity struct {
	node  *kubeletcpu.Node
	free  cpuset.Set
	milli int64
}

func (p *Placement) before() capacity {
	return capacity{p.Node, p.Node.Free(), p.UnrequestedMilliCPU}
}

func (p *Placement) after() capacity {
	return capacity{p.Node, p.FreeAfter, p.UnrequestedMilliCPU - 1000*int64(p.ExclusiveCPUs) - p.SharedMilliCPU}
}

// share is the part of a node's exclusive CPUs that VMs can still have, in millionths.
func (c *capacity) share() int64 {
	all := int64(c.node.Topology.CPUs().Minus(c.node.Reserved).Len())
	if all == 0 {
		return 0
	}
	return 1_000_000 * max(0, min(int64(c.free.Len()), c.milli/1000)) / all
}

// Unrated is the rating of a node that is not predicted exactly. It is below every rating.
const Unrated = math.MinInt64

// Scores of nodes: Unrated nodes get none, all others between minRated and maxScore.
const (
	// MinRated is the lowest score of a rated node.
	MinRated = 60
	maxScore = 100
)

// Normalize replaces the ratings of all nodes of a cycle by scores. The best rated node gets 100, the worst MinRated,
// those between in proportion. Unrated nodes get 0.
func Normalize(ratings []*int64) {
	worst := int64(math.MaxInt64)
	best := int64(math.MinInt64)
	for _, rating := range ratings {
		if *rating != Unrated {
			worst = min(worst, *rating)
			best = max(best, *rating)
		}
	}
	for _, rating := range ratings {
		switch {
		case *rating == Unrated:
			*rating = 0
		case best == worst:
			*rating = maxScore
		default:
			part := float64(*rating-worst) / float64(best-worst)
			*rating = MinRated + int64(math.Round((maxScore-MinRated)*part))
		}
	}
}
