// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
)

// besides says what each NUMA node has of all that the pod asks for, and without which of it the pod would fit. It is ""
// for a pod about which only the CPU manager decides.
func (q *question) besides() string {
	n := q.node.Kubelet
	p := &q.demand.Pod
	memory, devices := n.Besides(p)
	if !memory && len(devices) == 0 {
		return ""
	}
	var parts []string
	for i, numa := range n.Topology.NUMANodes() {
		var has []string
		cpus := p.PeakCPUs()
		if cpus > 0 {
			has = append(has, having(uint64(n.Free().Intersect(numa.CPUs).Len()), uint64(cpus), number, "CPUs"))
		}
		if memory {
			has = append(has, memoryOn(n, p, i)...)
		}
		for _, name := range devices {
			has = append(has, having(uint64(freeOn(n.Devices.Resource(name), i)), uint64(devicesAsked(p, name)), number, name))
		}
		parts = append(parts, fmt.Sprintf("NUMA node %d has %s", numa.ID, strings.Join(has, ", ")))
	}
	return strings.Join(parts, "; ") + "; " + q.culprit(memory, devices)
}

// memoryOn are the types of memory that the pod asks for, with what a NUMA node has free.
func memoryOn(n *admission.Node, p *admission.Pod, numaNode int) (has []string) {
	for at, name := range n.Memory.Types {
		asked := p.Peak(func(i int) int64 {
			for _, q := range p.Containers[i].Memory {
				if q.Type == name {
					return int64(q.Bytes)
				}
			}
			return 0
		})
		if asked > 0 {
			free := n.Memory.NUMANodes[numaNode].Memory[at].Free
			has = append(has, having(free, uint64(asked), Gibibytes, name))
		}
	}
	return has
}

// having says how much is free of what the pod asks for, and how much that is where it is too little: "14 CPUs",
// "2 of 3 intel.com/vf".
func having(free, asked uint64, text func(uint64) string, name string) string {
	if free >= asked {
		return text(free) + " " + name
	}
	return text(free) + " of " + text(asked) + " " + name
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// Gibibytes writes an amount: "1.5 GiB", or "64 MiB" for less than one GiB.
func Gibibytes(bytes uint64) string {
	const mebi = 1 << 20
	if bytes < 1<<30 {
		return fmt.Sprintf("%d MiB", bytes/mebi)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(bytes)/(1<<30)), ".0") + " GiB"
}

// freeOn is how many free devices of a resource are on a NUMA node.
func freeOn(r *devicemanager.Resource, numaNode int) int {
	free := 0
	for _, g := range r.Groups {
		if g.NUMANodes>>numaNode&1 != 0 {
			free += g.Free
		}
	}
	return free
}

func devicesAsked(p *admission.Pod, name string) int64 {
	return p.Peak(func(i int) int64 {
		for _, r := range p.Containers[i].Devices {
			if r.Resource == name {
				return int64(r.Count)
			}
		}
		return 0
	})
}

// culprit names what the pod would have to do without to fit.
func (q *question) culprit(memory bool, devices []string) string {
	var fits []string
	without := func(what string, after question) {
		if after.fits() {
			fits = append(fits, what)
		}
	}
	if q.demand.Pod.PeakCPUs() > 0 {
		without("exclusive CPUs", q.changing(func(c *admission.Container) { c.CPUs = 0 }))
	}
	if memory {
		without("regard to memory", q.on(func(n *admission.Node) { n.MemoryManager = "" }))
	}
	for _, name := range devices {
		without(name, q.changing(func(c *admission.Container) {
			c.Devices = slices.DeleteFunc(slices.Clone(c.Devices), func(r devicemanager.Request) bool { return r.Resource == name })
		}))
	}
	if len(fits) == 0 {
		return "no single one of these stands in the way"
	}
	return "without " + strings.Join(fits, ", or without ") + " it would fit"
}

// changing is the question with each container of the pod changed.
func (q *question) changing(change func(c *admission.Container)) question {
	after := *q
	after.demand.Guest = nil
	after.demand.Pod.Containers = slices.Clone(q.demand.Pod.Containers)
	for i := range after.demand.Pod.Containers {
		change(&after.demand.Pod.Containers[i])
	}
	return after
}
