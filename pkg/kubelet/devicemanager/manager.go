// SPDX-License-Identifier: Apache-2.0

package devicemanager

import (
	"fmt"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Manager is the device manager while one pod is admitted. It changes nothing that State has.
type Manager struct {
	// Held are the devices that the pod's containers hold so far, in the order of their admission.
	Held []Held

	state     *State
	minor     int
	numaNodes int // of the machine
	touched   []touched
	hints     []Hints // of one request
	offer     []int   // scratch
}

// touched is a resource that the pod asks for.
type touched struct {
	resource *Resource
	free     []int // by group
	reusable []int // by group: held by init containers that have ended when the next container starts
	// unsure and unsureReuse are set where only the kubelet knows which devices are free, or may be reused. The numbers
	// are then right in sum only.
	unsure, unsureReuse bool
}

// Start makes the manager ready to admit the next pod, for a kubelet 1.<minor> on a machine with so many NUMA nodes.
func (m *Manager) Start(s *State, minor, numaNodes int) {
	*m = Manager{Held: m.Held[:0], state: s, minor: minor, numaNodes: numaNodes, touched: m.touched[:0], hints: m.hints[:0], offer: m.offer[:0]}
}

// Unsure names a resource for which hints would be a guess, since only the kubelet knows which devices are free or may be
// reused. It is "" where there is none.
func (m *Manager) Unsure(requests []Request) string {
	for i := range requests {
		t := m.touch(requests[i].Resource)
		if t != nil && (t.unsure || t.unsureReuse) {
			return requests[i].Resource
		}
	}
	return ""
}

// Hints appends the hints for the requests of a container to providers, one for each resource that has NUMA nodes. They
// are valid until the next call. A container may reuse devices of the init containers before it.
func (m *Manager) Hints(providers []topologymanager.HintProvider, requests []Request) []topologymanager.HintProvider {
	return m.appendHints(providers, requests, true)
}

// PodHints is Hints for the pod as a whole, which reuses nothing.
func (m *Manager) PodHints(providers []topologymanager.HintProvider, requests []Request) []topologymanager.HintProvider {
	return m.appendHints(providers, requests, false)
}

func (m *Manager) appendHints(providers []topologymanager.HintProvider, requests []Request, reuse bool) []topologymanager.HintProvider {
	m.hints = m.hints[:0]
	for i := range requests {
		t := m.touch(requests[i].Resource)
		if t == nil || !t.resource.Aligned() {
			continue
		}
		m.hints = append(m.hints, Hints{})
		m.hints[len(m.hints)-1].set(t, m.minor, m.numaNodes, requests[i].Count, reuse)
	}
	for i := range m.hints { // Only now, since appending may move them.
		providers = append(providers, &m.hints[i])
	}
	return providers
}

// HintsAgain appends the hints for the requests of a container that holds devices already, in a kubelet that has started
// again, or for those of the pod where container is "". They are made of what it holds. It has no possible hint where it
// holds another number than it asks for (GetTopologyHints in topology_hints.go, v1.36.3).
func (m *Manager) HintsAgain(providers []topologymanager.HintProvider, requests []Request, held []Held, container string) []topologymanager.HintProvider {
	m.hints = m.hints[:0]
	for i := range requests {
		t := m.touch(requests[i].Resource)
		if t == nil || !t.resource.Aligned() {
			continue
		}
		m.hints = append(m.hints, Hints{})
		h := &m.hints[len(m.hints)-1]
		own := holding(t.resource, held, container)
		if sum(own) == 0 {
			h.set(t, m.minor, m.numaNodes, requests[i].Count, container != "")
			continue
		}
		h.set(&touched{resource: t.resource, free: own}, m.minor, m.numaNodes, requests[i].Count, false)
		h.tooFew = sum(own) != requests[i].Count
	}
	for i := range m.hints {
		providers = append(providers, &m.hints[i])
	}
	return providers
}

// holding is how many devices of each group a container holds, or the pod where container is "".
func holding(r *Resource, held []Held, container string) []int {
	own := make([]int, len(r.Groups))
	for i := range held {
		h := &held[i]
		if h.Resource != r.Name || container != "" && h.Container != container {
			continue
		}
		for k := range r.Groups {
			if r.Groups[k].NUMANodes != h.NUMANodes {
				continue
			}
			own[k] += h.Devices
			if container == "" {
				own[k] -= h.Again
			}
		}
	}
	return own
}

// AllocateAgain is Allocate for a container that holds devices already, in a kubelet that has started again. It asks nothing
// of a container that runs. An init container that has ended needs a plugin with a healthy device, although it will not run
// again (devicesToAllocate in manager.go, v1.36.3).
func (m *Manager) AllocateAgain(container string, isInit bool, requests []Request, held []Held) error {
	for i := range requests {
		t := m.touch(requests[i].Resource)
		if isInit && t != nil && t.resource.healthy() == 0 {
			return fmt.Errorf("no healthy devices present; cannot allocate unhealthy devices %s", t.resource.Name)
		}
	}
	for i := range held {
		if held[i].Container == container {
			m.reuseAgain(isInit, &held[i])
		}
	}
	return nil
}

// reuseAgain notes what later containers may reuse of what a container holds.
func (m *Manager) reuseAgain(isInit bool, h *Held) {
	t := m.touch(h.Resource)
	if t == nil {
		return
	}
	for k := range t.resource.Groups {
		if t.resource.Groups[k].NUMANodes != h.NUMANodes {
			continue
		}
		if isInit {
			t.reusable[k] += h.Devices - h.Again
		} else {
			t.reusable[k] -= h.Again
		}
	}
}

// touch is the working copy of a resource, or nil where no plugin serves it.
func (m *Manager) touch(name string) *touched {
	for i := range m.touched {
		if m.touched[i].resource.Name == name {
			return &m.touched[i]
		}
	}
	r := m.state.Resource(name)
	if r == nil {
		return nil
	}
	if len(m.touched) < cap(m.touched) {
		m.touched = m.touched[:len(m.touched)+1]
	} else {
		m.touched = append(m.touched, touched{})
	}
	t := &m.touched[len(m.touched)-1]
	*t = touched{resource: r, free: t.free[:0], reusable: t.reusable[:0], unsure: r.Unsure}
	for i := range r.Groups {
		t.free = append(t.free, r.Groups[i].Free)
		t.reusable = append(t.reusable, 0)
	}
	return t
}

// Allocate takes devices for a container (devicesToAllocate in manager.go, v1.36.3). affinity is the topology manager's
// choice, 0 for none. isInit is set for an init container, but not for a sidecar.
//
// Devices that the pod may reuse come first, then those on the NUMA nodes of affinity, then any. Where there is more than
// one group to choose from, the kubelet or the plugin chooses, and the manager is unsure of the resource afterwards.
func (m *Manager) Allocate(container string, isInit bool, requests []Request, affinity topologymanager.Mask) error {
	for i := range requests {
		t := m.touch(requests[i].Resource)
		if t == nil {
			continue
		}
		err := m.allocate(t, container, isInit, requests[i].Count, affinity)
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) allocate(t *touched, container string, isInit bool, need int, affinity topologymanager.Mask) error {
	if t.resource.healthy() == 0 {
		return fmt.Errorf("no healthy devices present; cannot allocate unhealthy devices %s", t.resource.Name)
	}
	if need == 0 {
		return nil
	}
	take := taking{touched: t, container: container, isInit: isInit, need: need}
	m.offer = append(m.offer[:0], t.reusable...)
	m.Held = take.from(m.Held, m.offer, true)
	if take.need == 0 {
		return nil
	}
	available := sum(t.free)
	if available < take.need {
		return fmt.Errorf("requested number of devices unavailable for %s. Requested: %d, Available: %d", t.resource.Name, take.need, available)
	}
	m.offer = append(m.offer[:0], t.free...)
	for i := range m.offer {
		if t.resource.Groups[i].NUMANodes&affinity == 0 {
			m.offer[i] = 0
		}
	}
	m.Held = take.from(m.Held, m.offer, false)
	m.offer = append(m.offer[:0], t.free...)
	m.Held = take.from(m.Held, m.offer, false)
	return nil
}

// taking is the devices of one resource that a container gets.
type taking struct {
	*touched
	container string
	isInit    bool
	need      int
}

// from takes devices out of those on offer, by group, as many as are needed or all, and appends them to held. again is set
// for devices that the pod has already. If not all are taken, it is certain which only if they are of one group, and if it
// is certain which are on offer.
func (t *taking) from(held []Held, offer []int, again bool) []Held {
	total := sum(offer)
	groups := 0
	var nodes topologymanager.Mask
	for i := range offer {
		if offer[i] > 0 {
			groups++
			nodes |= t.resource.Groups[i].NUMANodes
		}
	}
	unsure := groups > 1 && t.need < total && t.need > 0
	known := !t.unsure
	if again {
		known = !t.unsureReuse
	}
	if !known && total > 0 && t.need > 0 { // The numbers on offer are right in sum only.
		unsure = true
		for i := range t.resource.Groups {
			nodes |= t.resource.Groups[i].NUMANodes
		}
	}
	first := len(held)
	for i := range offer {
		n := min(t.need, offer[i])
		if n == 0 {
			continue
		}
		t.need -= n
		t.move(i, n, again)
		h := Held{Container: t.container, Resource: t.resource.Name, NUMANodes: t.resource.Groups[i].NUMANodes, Devices: n}
		if again {
			h.Again = n
		}
		if !unsure || len(held) == first {
			held = append(held, h)
			continue
		}
		held[first].Devices += h.Devices
		held[first].Again += h.Again
	}
	if !unsure {
		return held
	}
	held[first].NUMANodes = nodes
	held[first].Unsure = true
	if !again {
		t.unsure = true
	}
	t.unsureReuse = t.unsureReuse || again != t.isInit
	return held
}

// move moves n devices of a group to the container.
func (t *taking) move(group, n int, again bool) {
	switch {
	case again && !t.isInit:
		t.reusable[group] -= n
	case again:
	case t.isInit:
		t.free[group] -= n
		t.reusable[group] += n
	default:
		t.free[group] -= n
	}
}

// After is the state with what the pod holds taken.
func (m *Manager) After() *State {
	after := m.state.Clone()
	for i := range m.touched {
		t := &m.touched[i]
		r := after.Resource(t.resource.Name)
		r.Unsure = t.unsure
		for k := range r.Groups {
			r.Groups[k].Free = t.free[k]
		}
	}
	return after
}

func sum(numbers []int) int {
	all := 0
	for _, n := range numbers {
		all += n
	}
	return all
}
