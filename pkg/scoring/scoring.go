// SPDX-License-Identifier: Apache-2.0

// Package scoring rates a node by what is left of it for other VMs once a VM is placed there. It is pure: a rating
// depends on its arguments only.
//
// A rating is a number of any size; more is better. It is comparable between nodes for the same VM and strategy.
// Normalize maps the ratings of one scheduling cycle to the scores of the scheduling framework.
//
// A rating counts CPUs. Where the kubelet aligns memory or devices, it counts the CPUs that have both beside them. Whether the
// VM fits at all is the kubelet's decision, which is predicted elsewhere. Here it matters only how much of the node is left,
// and a few divisions are enough for that.
//
// # One voice among many
//
// kube-scheduler multiplies each plugin's score (0 to 100) by the plugin's weight and adds them up. The table has what a
// plugin can contribute to the difference between two nodes, with the default weights of kube-scheduler
// (pkg/scheduler/apis/config/v1/default_plugins.go, v1.36.3) and the shipped weight of DedicatedCPU.
//
//	plugin                           weight  largest difference  normal difference between two nodes
//	DedicatedCPU, exact or estimated 26      1,508               always the same: exact nodes come first
//	DedicatedCPU, heard from or not  26      962 (scoreRange 5)  always the same, among estimated nodes
//	DedicatedCPU, both exact         26      130 (scoreRange 5)  best against worst rating of the cycle: 130
//	TaintToleration                  3       300                 one PreferNoSchedule taint against none: 300
//	NodeAffinity, preferred terms    2       200                 the heaviest sum of met terms against none: 200
//	InterPodAffinity, preferred      2       200                 stretched: any difference of met terms gives 200
//	PodTopologySpread, ScheduleAnyway 2      200                 no matching pod against one: 200; k against k+1: 200/(k+1)
//	DynamicResources                 2       200                 only for pods with resource claims
//	NodeResourcesFit, LeastAllocated 1       100                 half of the VM's share of the node's CPUs and memory: 3 to 25
//	NodeResourcesBalancedAllocation  1       50                  how much the VM evens CPU against memory: 0 to 10
//	ImageLocality                    1       100                 0 if the launcher image is on all nodes or on few
//	VolumeBinding                    1       100                 only with feature StorageCapacityScoring
//
// Three rules follow.
//
// A node that is predicted exactly wins over every estimated node. The stock weights add up to 15, so all stock plugins
// together give at most 1,500. An estimated node scores 58 less than the worst exact one could, and 58 x 26 is 1,508.
//
// Among estimated nodes one whose agent reports wins over one that is not heard from, or has no report. The difference is
// 37 x 26 = 962 with the default range, which is four preferences, and 52 with the largest.
//
// Among exact nodes a preference that a user has written down wins over fragmentation. Taints, affinity and soft spread
// that are met on one node and not on the other count 200 at least. With the default range of 5, corepin's strategy counts
// 130 at most. It wins over NodeResourcesFit, which spreads VMs without being asked to; 70 is left for that plugin and
// ImageLocality before they could outweigh 200 together with corepin. Preferences that are met in part, such as a
// spread over hosts with 3 and 4 pods (50), may lose. An operator who wants dense nodes more than soft rules sets a larger
// scoreRange: from 8 on one preference can lose, from 40 on all of them together.
//
// test/perf/packing measures what a range costs. This is LeastFragmentation on 24 nodes with 2,240 CPUs for VMs, with one
// trace of mixed sizes and one of even sizes. The first two columns are CPUs placed when the nodes are full, without
// preferences. The last two are pairs of VMs of one application on one host, in percent, if each VM prefers a host without
// another VM of its application. One trace is a small sample: differences of some CPUs are chance.
//
//	scoreRange  mixed  even   pairs, mixed  pairs, even
//	2           2,169  2,170  0             1
//	5           2,166  2,168  0             0
//	7           2,165  2,164  0             2
//	40          2,167  2,170  25            17
//
// In the mixed trace, VMs come and go and ask for 115 of 100 CPUs. The mean number of CPUs in use is then 2,045 with
// range 2, 2,057 with range 5 and 2,060 with range 40.
//
// # What restartSafety costs
//
// A node whose kubelet would lose VMs at its next start is Unsafe with argument restartSafety Prefer, and refused with Require.
// The table has 100 nodes of 62 CPUs for VMs, all with full-pcpus-only and kubelets 1.36, and one trace of each class. It is from
// test/perf/packing with -whole-cores. "Filled" is CPUs placed at the end of a fill, and "in use" CPUs that run while VMs ask
// for 115 of 100. "Lost" is VMs that fail when each kubelet is restarted once after the fill.
//
//	               mixed: filled  in use  lost        even: filled  in use  lost
//	Ignore         5,124          4,921   318 of 743  5,980         5,761   542 of 788
//	Prefer         4,964          4,683   203 of 738  5,968         5,208   516 of 810
//	Require        3,748          3,584   0 of 700    4,668         4,335   0 of 785
//
// So Require costs a quarter of such nodes, and Prefer helps only while the cluster is not full. Where a third of the nodes has
// the option, Require costs 5 %: 8,530 in place of 8,959 CPUs of 9,302 with the mixed trace.
package scoring

import (
	"math"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Placement is a VM on a node that can take it.
type Placement struct {
	// Node is the node without the VM. The CPUs of VMs that are being started there are not in its shared pool.
	Node *admission.Node
	// After has the memory and the devices as the VM leaves them; nil where the node manages neither.
	After *admission.Node
	// MemoryPerCPU is what the VM asks for of each type of memory, divided by its CPUs, in bytes.
	MemoryPerCPU map[string]uint64
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
func Rate(strategy Strategy, p *Placement) int64 {
	after := p.after()
	switch strategy {
	case MostFree:
		return after.share()
	case MostAllocated:
		return -after.share()
	}
	before := p.before()
	return -loss(&before, &after, p.SharedMilliCPU)
}

// capacity is what a node has for more VMs: CPUs that can be granted, and CPU that can be requested. Both are needed,
// since a sidecar runs beside each VM.
type capacity struct {
	node  *admission.Node
	free  cpuset.Set
	milli int64
	// stock has the memory and the devices, and perCPU is Placement.MemoryPerCPU.
	stock  *admission.Node
	perCPU map[string]uint64
}

func (p *Placement) before() capacity {
	return capacity{p.Node, p.Node.Free(), p.UnrequestedMilliCPU, p.Node, p.MemoryPerCPU}
}

func (p *Placement) after() capacity {
	after := p.After
	if after == nil {
		after = p.Node
	}
	return capacity{p.Node, p.FreeAfter, p.UnrequestedMilliCPU - 1000*int64(p.ExclusiveCPUs) - p.SharedMilliCPU, after, p.MemoryPerCPU}
}

// share is the part of a node's exclusive CPUs that VMs can still have, in millionths.
func (c *capacity) share() int64 {
	all := int64(c.node.Topology.CPUs().Minus(c.node.Reserved).Len())
	if all == 0 {
		return 0
	}
	return 1_000_000 * max(0, min(int64(c.free.Len()), c.milli/1000)) / all
}

// Ratings of nodes that are not predicted exactly. They are below every rating.
const (
	// Unrated is for a node that nobody is heard from.
	Unrated = math.MinInt64
	// Estimated is for a node whose agent reports, and that cannot be predicted exactly all the same.
	Estimated = Unrated + 1
)

// unsafe is more than two ratings can differ.
const unsafe = 1 << 60

// Unsafe is the rating of a node whose kubelet could not be started again with the VM there without losing VMs. It is below
// the rating of every other rated node.
func Unsafe(rating int64) int64 { return rating - unsafe }

// Scores of nodes. Unrated nodes get 0. Rated nodes get maxScore minus the range of scores at least.
const (
	maxScore = 100
	// MinRated is the lowest score of a rated node with the largest range.
	MinRated = maxScore - MaxRange
	// Gap is by how much an estimated node scores below the worst rated one. With the shipped weight it is more than all
	// stock plugins together.
	Gap = 58
)

// Normalize replaces the ratings of all nodes of a cycle by scores. The best rated node gets 100, the worst
// 100-scoreRange, and nodes between in proportion. Estimated nodes get Gap less than that, and unrated nodes 0. Where some of the rated nodes are Unsafe, these share
// the lower half of the range.
func Normalize(ratings []*int64, scoreRange int) {
	var safe, unsafely []*int64
	for _, rating := range ratings {
		switch {
		case *rating == Unrated:
			*rating = 0
		case *rating == Estimated:
			*rating = int64(maxScore - scoreRange - Gap)
		case *rating < -unsafe/2:
			unsafely = append(unsafely, rating)
		default:
			safe = append(safe, rating)
		}
	}
	if len(safe) == 0 || len(unsafely) == 0 {
		spread(append(safe, unsafely...), maxScore, scoreRange)
		return
	}
	half := (scoreRange - 1) / 2
	spread(safe, maxScore, half)
	spread(unsafely, int64(maxScore-half-1), scoreRange-half-1)
}

// spread gives the best rating the score top, and the worst one scoreRange points less.
func spread(ratings []*int64, top int64, scoreRange int) {
	worst := int64(math.MaxInt64)
	best := int64(math.MinInt64)
	for _, rating := range ratings {
		worst = min(worst, *rating)
		best = max(best, *rating)
	}
	for _, rating := range ratings {
		if best == worst {
			*rating = top
			continue
		}
		short := float64(best-*rating) / float64(best-worst)
		*rating = top - int64(math.Round(float64(scoreRange)*short))
	}
}
