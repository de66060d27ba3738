package cli

import (
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
)

// explain puts a kubelet's refusal of p into words, a sentence or two a line: what was asked and what was
// free, which rule stood against it, and what would help. It decides nothing: kubeletcpu has.
func explain(n *kubeletcpu.Node, p *kubeletcpu.Pod, d kubeletcpu.Decision) []string {
	asked := askedAt(n, p)
	lines := []string{asked.String()}
	switch d.Reason {
	case kubeletcpu.ReasonTopologyAffinity:
		lines = append(lines, asked.affinity()...)
	case kubeletcpu.ReasonSMTAlignment:
		lines = append(lines, asked.alignment())
	case kubeletcpu.ReasonUnexpected:
		lines = append(lines, "Those are too few.")
	}
	if d.Preemptible {
		return append(lines, "On the empty node it would fit: it helps if pods with exclusive CPUs leave, or another node.")
	}
	return append(lines, "It would not fit on the empty node either: change the pod, or take another node.")
}

// request is what was asked for when the kubelet refused, and what was free then.
type request struct {
	who  string
	cpus int
	node *kubeletcpu.Node
}

// askedAt finds the first container with which the pod is refused, and the node as those before leave it.
// Where the kubelet aligns the pod as a whole, that is the pod.
func askedAt(n *kubeletcpu.Node, p *kubeletcpu.Pod) request {
	if n.TopologyManager.Scope == kubeletcpu.ScopePod && n.TopologyManager.Policy != kubeletcpu.TopologyNone {
		if parts, total := together(p); len(parts) > 1 {
			return request{fmt.Sprintf("the pod, as a whole (%s),", strings.Join(parts, ", ")), total, n}
		}
	}
	before := *n
	for i, c := range p.Containers {
		if c.CPUs == 0 {
			continue
		}
		so := *p
		so.Containers = p.Containers[:i+1]
		d := kubeletcpu.AdmitAll(n, nil, &so)
		if d.Verdict != kubeletcpu.Admitted {
			return request{"container " + c.Name, c.CPUs, &before}
		}
		before = n.Granting(d.Grants)
	}
	return request{"the pod", 0, &before}
}

// together is what the containers of a pod ask for, and how many CPUs that is at once: init containers end
// before the others start, and leave their CPUs to them.
func together(p *kubeletcpu.Pod) (parts []string, total int) {
	lasting, starting := 0, 0
	for _, c := range p.Containers {
		switch {
		case c.CPUs == 0:
			continue
		case c.Kind == kubeletcpu.Init:
			starting = max(starting, lasting+c.CPUs)
		default:
			lasting += c.CPUs
		}
		parts = append(parts, fmt.Sprintf("%s %d", c.Name, c.CPUs))
	}
	return parts, max(starting, lasting)
}

// String tells what was asked for and what was free.
func (r request) String() string {
	free := r.node.Free()
	var rooms []string
	for _, room := range r.rooms() {
		rooms = append(rooms, fmt.Sprintf("%d of %d on NUMA node %d", room.free, room.capacity, room.id))
	}
	return fmt.Sprintf("%s asks for %s of its own. Free are %d: %s.", r.who, count(r.cpus, "CPU"), free.Len(), enumerate(rooms))
}

// room is what a NUMA node has.
type room struct{ id, capacity, free int }

func (r request) rooms() []room {
	var rooms []room
	free := r.node.Free()
	for _, n := range r.node.Topology.NUMANodes() {
		if capacity := n.CPUs.Len(); capacity > 0 {
			rooms = append(rooms, room{n.ID, capacity, n.CPUs.Intersect(free).Len()})
		}
	}
	return rooms
}

// affinity tells which NUMA nodes the topology manager insists on.
func (r request) affinity() []string {
	policy := "Topology manager policy " + r.node.TopologyManager.Policy
	if r.node.CPUManager.Options.AlignBySocket {
		return []string{policy + ", with align-by-socket, wants them on as few NUMA nodes or sockets as an empty machine would need; those have no room."}
	}
	if r.node.TopologyManager.Policy == kubeletcpu.TopologySingleNUMANode {
		return []string{policy + " wants them all on one NUMA node, and none has as many free. What is free on the others does not count."}
	}
	few, capacity := r.fewest()
	if few == 0 {
		return []string{"The whole machine has not as many."}
	}
	lines := []string{policy + " allows no more NUMA nodes than an empty machine would need; reserved and used CPUs count there too."}
	if few == 1 {
		lines = append(lines, fmt.Sprintf("One empty NUMA node, with %d CPUs, would hold the %d: so it must be one, and none has as many free. "+
			"What is free on several together does not count.", capacity, r.cpus))
	} else {
		lines = append(lines, fmt.Sprintf("%d empty NUMA nodes, with %d CPUs together, would hold the %d: so it must be %d, and no %d have as many free.",
			few, capacity, r.cpus, few, few))
	}
	if more := capacity + r.node.Topology.ThreadsPerCore(); r.admits(more) {
		lines = append(lines, fmt.Sprintf("So %d would be admitted, oddly: as many need %s in any case.", more, count(few+1, "NUMA node")))
	}
	return lines
}

// admits tells whether a container that asks for so many would be admitted in its place.
func (r request) admits(cpus int) bool {
	p := kubeletcpu.Pod{Guaranteed: true, Containers: []kubeletcpu.Container{{CPUs: cpus}}}
	return kubeletcpu.AdmitAll(r.node, nil, &p).Verdict == kubeletcpu.Admitted
}

// fewest is the number of NUMA nodes that hold the request when empty, and how many CPUs so many have at
// most; 0 if all together do not.
func (r request) fewest() (few, capacity int) {
	rooms := r.rooms()
	slices.SortFunc(rooms, func(a, b room) int { return b.capacity - a.capacity })
	for _, room := range rooms {
		few++
		if capacity += room.capacity; capacity >= r.cpus {
			return few, capacity
		}
	}
	return 0, capacity
}

// alignment tells what full-pcpus-only wants.
func (r request) alignment() string {
	threads := r.node.Topology.ThreadsPerCore()
	if rest := r.cpus % threads; rest != 0 {
		return fmt.Sprintf("CPU manager option full-pcpus-only gives whole cores only, of %d CPUs each: ask for %d or %d.",
			threads, r.cpus-rest, r.cpus+threads-rest)
	}
	var beside cpuset.Set
	for _, core := range r.node.Topology.Cores() {
		if core.CPUs.Overlaps(r.node.Reserved) {
			beside = beside.Union(core.CPUs)
		}
	}
	return fmt.Sprintf("CPU manager option full-pcpus-only does not count the free CPUs of cores with a reserved CPU (%s), and then there are too few.",
		beside.Intersect(r.node.Free()))
}
