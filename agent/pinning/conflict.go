package pinning

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
)

// conflictGrace is how long two VMs must have been on one CPU before it is told: while the kubelet's grants
// change, the one VM may be looked at before the other.
const conflictGrace = time.Second

// conflict is what a VM has in common with others, by the others' pods.
type conflict map[types.UID]*sharing

// sharing is one VM that is on CPUs of another's.
type sharing struct {
	with types.NamespacedName
	// cpus are all that were shared since. A thread that goes to and fro between two CPUs is one thing to tell.
	cpus  cpuset.Set
	since time.Time
	told  bool
}

func isTold(s *sharing) bool { return s.told }

// told tells whether any of it was told.
func (c conflict) told() bool {
	for _, s := range c {
		if s.told {
			return true
		}
	}
	return false
}

// text names the others that are wanted, and the CPUs, in the order of the names.
func (c conflict) text(wanted func(*sharing) bool) string {
	var all []*sharing
	for _, s := range c {
		if wanted(s) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(s, t *sharing) int { return cmp.Compare(s.with.String(), t.with.String()) })
	texts := make([]string, 0, len(all))
	for _, s := range all {
		texts = append(texts, fmt.Sprintf("CPU %s with VM %s", s.cpus, s.with))
	}
	return strings.Join(texts, ", ")
}

// conflictOf looks which other VMs are on CPUs of this pod's: news is the text to tell now, once for each other
// VM for as long as it is there; pending is true while there is one that has not been there long enough to be told.
func (b *book) conflictOf(pod types.UID, now time.Time) (news string, pending bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.count()
	c := b.overlaps(pod, now)
	if len(c) == 0 {
		delete(b.conflicts, pod)
		return "", false
	}
	b.conflicts[pod] = c
	due := func(s *sharing) bool { return !s.told && now.Sub(s.since) >= conflictGrace }
	news = c.text(due)
	for _, s := range c {
		s.told = s.told || due(s)
		pending = pending || !s.told
	}
	return news, pending
}

// overlaps gives the VMs that hold CPUs of this pod's now, and what was known of each.
func (b *book) overlaps(pod types.UID, now time.Time) conflict {
	mine := b.entries[pod]
	c := conflict{}
	for other, e := range b.entries {
		shared := e.held.Intersect(mine.held)
		if other == pod || shared.IsEmpty() {
			continue
		}
		if c[other] = b.conflicts[pod][other]; c[other] == nil {
			c[other] = &sharing{with: e.vm, since: now}
		}
		c[other].cpus = c[other].cpus.Union(shared)
	}
	return c
}
