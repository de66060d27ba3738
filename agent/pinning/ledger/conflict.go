// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
)

// conflictGrace is how long two VMs must share a CPU before it is told. While the kubelet's grants change, one VM may be
// looked at before the other.
const conflictGrace = time.Second

// Conflict is one other VM that may run on CPUs of this one.
type Conflict struct {
	With types.NamespacedName
	// CPUs are all that were shared since the conflict began. A thread that moves between two CPUs is one conflict.
	CPUs  cpuset.Set
	since time.Time
	told  bool
}

// String gives the conflict as the report names it.
func (c Conflict) String() string { return fmt.Sprintf("CPU %s with VM %s", c.CPUs, c.With) }

// compare looks which other VMs hold CPUs of this one. It gives the conflicts to be told now, each once for as long as it
// lasts, and when those that are too young for that are due. It is called with the lock held.
func (g *Guest) compare(now time.Time) (news []Conflict, again time.Duration) {
	current := map[types.UID]*Conflict{}
	for pod, other := range g.ledger.guests {
		shared := other.entry.Held.Intersect(g.entry.Held)
		if other == g || shared.IsEmpty() {
			continue
		}
		c := g.conflicts[pod]
		if c == nil {
			c = &Conflict{With: other.entry.VM, since: now}
		}
		c.CPUs = c.CPUs.Union(shared)
		current[pod] = c
	}
	for pod := range g.conflicts {
		if current[pod] == nil {
			g.ledger.wake(pod)
		}
	}
	for pod := range current {
		if g.conflicts[pod] == nil {
			g.ledger.wake(pod)
		}
	}
	g.conflicts = current
	for _, c := range g.sorted() {
		switch age := now.Sub(c.since); {
		case c.told:
		case age >= conflictGrace:
			c.told = true
			news = append(news, *c)
		default:
			again = sooner(again, conflictGrace-age)
		}
	}
	return news, again
}

// wake has the guest of a pod looked at, if it is still there. It is called with the lock held.
func (l *Ledger) wake(pod types.UID) {
	g := l.guests[pod]
	if g != nil && g.wake != nil {
		g.wake()
	}
}

// sorted are the conflicts in the order of the other VMs' names.
func (g *Guest) sorted() []*Conflict {
	return slices.SortedFunc(maps.Values(g.conflicts), func(a, b *Conflict) int {
		return cmp.Compare(a.With.String(), b.With.String())
	})
}

// shares are the conflicts that were told, in one line.
func (g *Guest) shares() string {
	var texts []string
	for _, c := range g.sorted() {
		if c.told {
			texts = append(texts, c.String())
		}
	}
	return strings.Join(texts, ", ")
}
