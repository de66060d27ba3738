// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"fmt"
	"math"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// This file is the option distribute-cpus-across-numa (takeByTopologyNUMADistributed in cpu_assignment.go; v1.36.3 is
// the same as 1.34 and 1.35, later ones differ where minor is asked for).
//
// It looks for the fewest NUMA nodes that can give equal shares. Among combinations of that many it chooses the one
// that leaves the machine's NUMA nodes most alike: the least standard deviation of their free CPUs, to three digits.
// Combinations are tried in lexicographic order of the NUMA nodes sorted by free CPUs. The first of several equal
// ones wins, except for the flaw that kept describes, up to 1.37.

// spread is one run of it.
type spread struct {
	*taking
	o     *Options
	total int // CPUs asked for
	group int // CPUs are handed out in groups of this many: a core under full-pcpus-only, else one
	// bySocket is set where NUMA nodes in one socket win over others.
	bySocket bool
	numa     []unit
	order    []int // of the NUMA nodes with free CPUs, as the kubelet tries them
	endless  bool

	// left and after are scratch of balance, by NUMA node. balance sets only their elements: if it set the slices, the compiler
	// would allocate each taking, also where nothing is distributed.
	left, after []int
}

// ReasonEndless is a reason of ours: the kubelet would not refuse the pod but hang, with its locks held.
const ReasonEndless = "EndlessDistribution"

var errEndless = &topologymanager.Refusal{Reason: ReasonEndless, Message: "the kubelet's distribution of CPUs over NUMA nodes would not end"}

func (t *taking) distribute(o *Options) error {
	s := spread{taking: t, o: o, total: t.need, group: 1, bySocket: t.minor.limitsShares() && o.AlignBySocket}
	if o.FullPCPUsOnly {
		s.group = t.cpusPerCore
	}
	if t.need < 1 || t.need%s.group != 0 {
		return t.pack(o)
	}
	if err := t.enough(); err != nil {
		return err
	}
	s.numa = t.machine.numa(nil)
	s.left = make([]int, len(s.numa))
	s.after = make([]int, len(s.numa))
	sockets := t.sockets(nil)
	if len(sockets) >= len(s.numa) {
		s.order = t.ordered(s.numa, nil)
	} else {
		s.order = t.nested(sockets, s.numa, nil)
	}
	least, most := s.bounds()
	for k := least; k <= most; k++ {
		combo, extra := s.choose(k)
		if s.endless {
			return errEndless
		}
		if combo != nil {
			return s.takeFrom(combo, extra)
		}
	}
	return t.pack(o)
}

// bounds are the least and the most NUMA nodes worth trying. A choice of the topology manager that is more than the most
// does not count.
func (s *spread) bounds() (least, most int) {
	available := 0
	for i := range s.numa {
		if s.numa[i].free > 0 {
			available++
		}
	}
	least = fewestShares(s.cpus, s.numaNodes, s.total, s.group)
	most = min(roundUp(s.total, s.group), available)
	if s.minor.heedsHint() && s.hintNodes <= most {
		least = max(least, s.hintNodes)
	}
	return least, most
}

// fewestShares is how many NUMA nodes of mean size need CPUs take, which are given out in groups.
func fewestShares(cpus, numaNodes, need, group int) int {
	perNode := roundUp(roundUp(cpus, group), numaNodes)
	return roundUp(roundUp(need, group), perNode)
}

func roundUp(n, by int) int { return (n-1)/by + 1 }

// choose picks k NUMA nodes, and those of them that give what equal shares leave over. It returns nil if no k of them
// can give equal shares.
func (s *spread) choose(k int) (combo, extra []int) {
	var best kept
	balance := math.MaxFloat64
	inOneSocket := false
	var candidate []int
	combinations(len(s.order), k, func(places []int) bool {
		s.overwrite(best, places)
		if balance == 0 && (!s.bySocket || inOneSocket) {
			return false
		}
		candidate = pick(candidate[:0], s.order, places)
		share, ok := s.share(candidate)
		if !ok {
			return true
		}
		b, over := s.balance(candidate, share)
		better := b < balance
		if s.bySocket {
			one := s.inOneSocket(candidate)
			if one != inOneSocket {
				better = one
			}
		}
		if better {
			balance, extra, inOneSocket = b, over, s.bySocket && s.inOneSocket(candidate)
			best = slices.Clone(places)
		}
		return !s.endless
	})
	if best == nil {
		return nil, nil
	}
	return pick(nil, s.order, best), extra
}

// share is the equal share of each NUMA node of combo, if together they have enough.
func (s *spread) share(combo []int) (int, bool) {
	var all cpuset.Set
	groups := 0
	for _, i := range combo {
		s.add(&all, s.numa[i].cpus)
		groups += s.numa[i].free / s.group
	}
	if s.common(&all, &s.free) < s.total || groups*s.group < s.total {
		return 0, false
	}
	share := s.total / len(combo) / s.group * s.group
	if s.bySocket {
		share = s.clamp(share, combo)
	}
	for _, i := range combo {
		if s.numa[i].free < share {
			return 0, false
		}
	}
	return share, true
}

// clamp lowers share to what the NUMA node of combo with the fewest whole groups has.
func (s *spread) clamp(share int, combo []int) int {
	for _, i := range combo {
		share = min(share, s.numa[i].free/s.group*s.group)
	}
	return share
}

// balance is how unlike the machine's NUMA nodes would be after share CPUs from each of combo and the rest from extra.
// extra are as many of combo as possible, and the ones with the best balance.
func (s *spread) balance(combo []int, share int) (best float64, extra []int) {
	left := s.left
	for i := range s.numa {
		left[i] = s.numa[i].free
	}
	for _, i := range combo {
		left[i] -= share
	}
	rest := s.total - share*len(combo)
	if rest == 0 {
		return s.deviation(left), nil
	}
	givers := slices.DeleteFunc(slices.Clone(combo), func(i int) bool { return left[i] < s.group })
	best = math.MaxFloat64
	var bestPlaces kept
	var chosen []int
	for k := len(givers); k >= 1; k-- {
		combinations(len(givers), k, func(places []int) bool {
			s.overwrite(bestPlaces, places)
			chosen = pick(chosen[:0], givers, places)
			copy(s.after, left)
			after, ok := s.giveRest(rest, s.after, chosen)
			b := s.deviation(after)
			if ok && b < best {
				best = b
				bestPlaces = slices.Clone(places)
			}
			return !s.endless
		})
	}
	return best, pick(nil, givers, bestPlaces)
}

// giveRest takes the rest from left, one group from each giver in turn. Where the givers have enough CPUs but too few
// whole groups, a kubelet up to 1.37 loops for ever. This was seen with v1.36.3.
func (s *spread) giveRest(rest int, left, givers []int) ([]int, bool) {
	sum := 0
	for _, i := range givers {
		if s.minor.countsGroups() {
			sum += left[i] / s.group * s.group
			continue
		}
		sum += left[i]
	}
	if sum < rest {
		return nil, false
	}
	for rest > 0 {
		before := rest
		for _, i := range givers {
			if rest > 0 && left[i] >= s.group {
				left[i] -= s.group
				rest -= s.group
			}
		}
		if rest == before {
			s.endless = true
			return nil, false
		}
	}
	return left, true
}

// deviation is the standard deviation of the CPUs that remain on the NUMA nodes that had free CPUs.
func (s *spread) deviation(left []int) float64 {
	round := func(x float64) float64 { return math.Round(x*1000) / 1000 }
	var sum, n, squares float64
	for i := range left {
		if s.numa[i].free > 0 {
			sum += float64(left[i])
			n++
		}
	}
	mean := round(sum / n)
	for i := range left {
		if s.numa[i].free > 0 {
			squares += (float64(left[i]) - mean) * (float64(left[i]) - mean)
		}
	}
	return round(math.Sqrt(squares / n))
}

// inOneSocket reports whether all CPUs of the NUMA nodes are in one socket.
func (s *spread) inOneSocket(combo []int) bool {
	sockets := 0
	list := s.topology.SocketUnits()
	for u := range list {
		if slices.ContainsFunc(combo, func(i int) bool { return s.meet(s.numa[i].cpus, &list[u].CPUs) }) {
			sockets++
		}
	}
	return sockets <= 1
}

// takeFrom takes equal shares from combo and the rest, group by group, from extra.
func (s *spread) takeFrom(combo, extra []int) error {
	share := s.total / len(combo) / s.group * s.group
	if s.minor.limitsShares() {
		share = s.clamp(share, combo)
	}
	for _, i := range combo {
		s.packFrom(&s.numa[i], share)
	}
	for rest := s.total - share*len(combo); rest > 0; {
		before := rest
		for _, i := range extra {
			if rest > 0 && s.common(s.numa[i].cpus, &s.free) >= s.group {
				s.packFrom(&s.numa[i], s.group)
				rest -= s.group
			}
		}
		if rest == before {
			return errEndless
		}
	}
	switch {
	case s.need > 0:
		return fmt.Errorf("accounting error, not enough CPUs allocated, remaining: %d", s.need)
	case s.need < 0:
		return fmt.Errorf("accounting error, too many CPUs allocated, remaining: %d", s.need)
	}
	return nil
}

// packFrom packs need CPUs into one NUMA node. Where it has too few, nothing is taken and there is no error: the
// kubelet finds out by accounting at the end.
func (s *spread) packFrom(node *unit, need int) {
	part := taking{machine: s.machine, free: s.free.Intersect(*node.cpus), need: need}
	if part.pack(s.o) == nil {
		s.take(&part.taken)
	}
}

// kept is a combination that the kubelet keeps as its best, as indexes in a list (iterateCombinations and its callers).
// Up to 1.37 it has a flaw. The kubelet keeps the slice in which combinations are built by append, and append makes a new array at
// lengths 1, 2, 3, 5, 9, 17. The elements after the last such length share an array with every later combination that
// begins alike, and are overwritten by it. So of 4 NUMA nodes the last one is wrong, unless the best combination is
// the last one tried that begins alike.
type kept []int

// overwrite must be called with every combination tried.
func (s *spread) overwrite(best kept, tried []int) {
	if !s.minor.keepsCombinations() {
		best.overwrite(tried)
	}
}

// overwrite makes of k what is left of it when another combination is tried.
func (k kept) overwrite(places []int) {
	if len(k) != len(places) {
		return
	}
	own := 1
	for boundary := 1; boundary < len(k); boundary *= 2 {
		own = boundary + 1
	}
	if slices.Equal(k[:own], places[:own]) {
		copy(k, places)
	}
}

// combinations calls visit with every k of the numbers below n, in lexicographic order, until visit returns false.
func combinations(n, k int, visit func(places []int) bool) {
	if k < 1 || k > n {
		return
	}
	places := make([]int, k)
	for i := range places {
		places[i] = i
	}
	for visit(places) {
		i := k - 1
		for i >= 0 && places[i] == n-k+i {
			i--
		}
		if i < 0 {
			return
		}
		places[i]++
		for j := i + 1; j < k; j++ {
			places[j] = places[j-1] + 1
		}
	}
}

// pick appends the elements of list at places to into.
func pick(into, list, places []int) []int {
	for _, at := range places {
		into = append(into, list[at])
	}
	return into
}
