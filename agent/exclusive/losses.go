// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"fmt"
	"strings"
	"time"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// counters are what the kernel has counted for one guest.
type counters struct {
	at    time.Time
	usage cgroup.Usage
	// times are those of all its CPUs together.
	times hostcpu.Times
}

// loss is the share of the time of a guest's CPUs that went elsewhere, by cause.
type loss struct {
	others, irq, softIRQ, steal, throttled float64
}

const (
	// limit is the share of the CPUs' time that is worth telling, and low where it is over. The kernel charges most of that
	// time by sampling at its tick, so less than a percent is noise.
	limit = 0.05
	low   = 0.02
	// limitThrottled is that of a quota, which is counted exactly.
	limitThrottled = 0.001
	// inRow is how many looks must find a loss before it is told: a job that runs for a minute or two is no news.
	inRow = 3
	// shortest is the shortest time that two readings may be apart.
	shortest = period / 2
)

// since is what was lost since an earlier reading, on so many CPUs.
func (c counters) since(before counters, cpus int) loss {
	span := float64(c.at.Sub(before.at)) * float64(cpus)
	share := func(d time.Duration) float64 { return min(1, max(0, float64(d)/span)) }
	spent := c.times.Minus(before.times)
	return loss{
		others: share(spent.Busy - (c.usage.CPU - before.usage.CPU)), irq: share(spent.IRQ), softIRQ: share(spent.SoftIRQ), steal: share(spent.Steal),
		throttled: share(c.usage.Throttled - before.usage.Throttled),
	}
}

// above reports whether the loss is worth telling, and over whether one that was told has ended.
func (l loss) above() bool {
	return l.others >= limit || l.irq+l.softIRQ >= limit || l.steal >= limit || l.throttled >= limitThrottled
}

func (l loss) over() bool {
	return l.others < low && l.irq+l.softIRQ < low && l.steal < low && l.throttled < limitThrottled
}

// String names each cause, with what to do about it.
func (l loss) String() string {
	var parts []string
	for _, cause := range []struct {
		share float64
		least float64
		text  string
	}{
		{l.others, low, "went to other threads: see condition Exclusive for who may run there"},
		{l.irq + l.softIRQ, low, "went to interrupts: see /proc/interrupts on the node, and keep them off with irqaffinity or irqbalance"},
		{l.steal, low, "was taken by the hypervisor below: the node is a virtual machine, and its CPUs are not its own"},
		{l.throttled, limitThrottled, "was kept from the VM by its own CPU quota: kubelets of 1.33 and later set none (DisableCPUQuotaWithExclusiveCPUs), earlier ones with cpuCFSQuota: false"},
	} {
		if cause.share >= cause.least {
			parts = append(parts, fmt.Sprintf("%.1f %% %s", 100*cause.share, cause.text))
		}
	}
	return strings.Join(parts, "; ")
}

// meter is what is remembered of one guest's counters.
type meter struct {
	last counters
	row  int // of looks with a loss that is worth telling
	// text is the loss that is told; "" for none.
	text string
}

// look takes a reading. news reports whether it gave a loss at all, which the first one does not.
func (m *meter) look(now counters, cpus int) (l loss, news bool) {
	before := m.last
	age := now.at.Sub(before.at)
	if !before.at.IsZero() && age < shortest {
		return loss{}, false
	}
	m.last = now
	if before.at.IsZero() || now.usage.CPU < before.usage.CPU { // its container was started again
		m.row = 0
		return loss{}, false
	}
	l = now.since(before, cpus)
	switch {
	case l.above():
		m.row++
		if m.row >= inRow && m.text == "" {
			m.text = l.String()
		}
	case l.over():
		m.row = 0
		m.text = ""
	}
	return l, true
}

const (
	// leastAway is how much memory on other NUMA nodes is worth telling: QEMU's own is less.
	leastAway = 256 << 20
	mebi      = 1 << 20
	// awayShare is the share of all memory that is.
	awayShare = 0.05
)

// awayFrom says how much of a guest's memory is on NUMA nodes that have none of its CPUs; "" for little. The amount is
// rounded down to a power of two, so that a guest that grows has no event each minute.
func awayFrom(cpus cpuset.Set, memory map[int]int64, topology *cputopology.Topology) string {
	if topology == nil {
		return ""
	}
	near := map[int]bool{}
	for id := range cpus.All() {
		core, known := topology.CoreOf(id)
		if known {
			near[core.NUMANode] = true
		}
	}
	if len(near) == 0 {
		return ""
	}
	var away, all int64
	var nodes []string
	for _, node := range topology.NUMANodes() {
		bytes := memory[node.ID]
		all += bytes
		if !near[node.ID] && bytes > 0 {
			away += bytes
			nodes = append(nodes, fmt.Sprint(node.ID))
		}
	}
	if away < leastAway || float64(away) < awayShare*float64(all) {
		return ""
	}
	step := int64(leastAway)
	for 2*step <= away {
		step *= 2
	}
	return fmt.Sprintf("more than %d MiB of its memory is on NUMA node %s, where it has no CPU", step/mebi, strings.Join(nodes, ", "))
}
