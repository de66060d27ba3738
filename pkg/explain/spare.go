// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/quantity"
)

// mostSpared is how many smaller numbers of devices are tried.
const mostSpared = 16

// sparing are hints to ask for less memory of a type, or for fewer devices of a resource: for each container the most that fits.
func (q *question) sparing() []Hint {
	v := q.verdict()
	if q.node.Kubelet == nil || v.State == nodereport.Inexact {
		return nil
	}
	memory, devices := q.node.Kubelet.Besides(&q.demand.Pod)
	var hints []Hint
	for i := range q.demand.Pod.Containers {
		container := &q.demand.Pod.Containers[i]
		for k := 0; memory && k < len(container.Memory); k++ {
			hints = append(hints, q.sparingMemory(i, k)...)
		}
		for k := range container.Devices {
			if slices.Contains(devices, container.Devices[k].Resource) {
				hints = append(hints, q.sparingDevices(i, k)...)
			}
		}
	}
	return hints
}

// sparingMemory tries what NUMA nodes have free, each by itself and all together, with and without what the other containers ask
// for.
func (q *question) sparingMemory(place, k int) []Hint {
	asked := q.demand.Pod.Containers[place].Memory[k]
	state := q.node.Kubelet.Memory
	at := slices.Index(state.Types, asked.Type)
	if at < 0 {
		return nil
	}
	var others, all uint64
	for i := range q.demand.Pod.Containers {
		for _, other := range q.demand.Pod.Containers[i].Memory {
			if i != place && other.Type == asked.Type {
				others += other.Bytes
			}
		}
	}
	var sizes []uint64
	add := func(free uint64) {
		for _, size := range []uint64{free, free - min(free, others)} {
			size -= size % unitOf(asked.Type)
			if size > 0 && size < asked.Bytes {
				sizes = append(sizes, size)
			}
		}
	}
	for i := range state.NUMANodes {
		add(state.NUMANodes[i].Memory[at].Free)
		all += state.NUMANodes[i].Memory[at].Free
	}
	add(all)
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	for _, size := range slices.Backward(sizes) {
		after := q.with(place, func(c *admission.Container) {
			c.Memory = slices.Clone(c.Memory)
			c.Memory[k].Bytes = size
		})
		hint := after.try(Hint{Kind: Spare, Container: q.demand.Pod.Containers[place].Name, Resource: asked.Type, Amount: int64(size),
			Text: fmt.Sprintf("%s asks for %s less %s (%s instead of %s)", q.who(place), Gibibytes(asked.Bytes-size), asked.Type, Gibibytes(size), Gibibytes(asked.Bytes))})
		if hint != nil {
			return hint
		}
	}
	return nil
}

// unitOf is the smallest amount of a type of memory that one would ask for: a page, or a MiB.
func unitOf(name string) uint64 {
	const mebi = 1 << 20
	size, huge := strings.CutPrefix(name, "hugepages-")
	page, err := quantity.Parse(size)
	if !huge || err != nil || page.Value() <= 0 {
		return mebi
	}
	return uint64(page.Value())
}

func (q *question) sparingDevices(place, k int) []Hint {
	asked := q.demand.Pod.Containers[place].Devices[k]
	for number := asked.Count - 1; number > max(0, asked.Count-1-mostSpared); number-- {
		after := q.with(place, func(c *admission.Container) {
			c.Devices = slices.Clone(c.Devices)
			c.Devices[k].Count = number
		})
		hint := after.try(Hint{Kind: Spare, Container: q.demand.Pod.Containers[place].Name, Resource: asked.Resource, Amount: int64(number),
			Text: fmt.Sprintf("%s asks for %d fewer %s (%d instead of %d)", q.who(place), asked.Count-number, asked.Resource, number, asked.Count)})
		if hint != nil {
			return hint
		}
	}
	return nil
}

// with is the question with one container changed.
func (q *question) with(place int, change func(*admission.Container)) question {
	after := *q
	after.demand.Pod.Containers = slices.Clone(q.demand.Pod.Containers)
	change(&after.demand.Pod.Containers[place])
	return after
}

// who is how to call what asks for something of a kind: the pod, or one of several containers.
func (q *question) who(place int) string {
	if q.several() {
		return "container " + q.demand.Pod.Containers[place].Name
	}
	return "the pod"
}
