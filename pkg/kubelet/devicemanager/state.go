// SPDX-License-Identifier: Apache-2.0

package devicemanager

import (
	"cmp"
	"slices"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// State is the devices of a node, as the kubelet's device manager has them.
type State struct {
	// Resources are all that the device manager serves, sorted by name. A resource that is not among them is served by no
	// device plugin: it gives no hint, and the kubelet takes nothing for it.
	Resources []Resource
}

// Resource is the devices of one resource.
type Resource struct {
	Name string
	// Unknown says why the rest cannot be relied on, for a person to read; "" where it can.
	Unknown string
	// Groups are the devices by the set of NUMA nodes that they are on, sorted by NUMANodes, each set once. A plugin may
	// have no device at all, as one that has not registered again after a restart of the kubelet.
	Groups []Group
	// Unsure is set where pods have devices of the resource and only the kubelet knows which. The numbers are right in sum,
	// but not those of each group. The next report tells. A report never sets it.
	Unsure bool
}

// Group is how many devices are on one set of NUMA nodes.
type Group struct {
	// NUMANodes is 0 for devices without NUMA node. A device of two NUMA nodes counts once, in the group of both.
	NUMANodes topologymanager.Mask
	// Devices is how many the plugin lists, healthy or not.
	Devices int
	// Healthy is how many of them are healthy.
	Healthy int
	// Free is how many of the healthy ones no container holds.
	Free int
}

// Held is devices of one resource and one set of NUMA nodes that one container holds.
type Held struct {
	Container string
	Resource  string
	NUMANodes topologymanager.Mask
	// Devices is how many the container holds.
	Devices int
	// Again is how many of Devices an earlier entry of the same pod has, too: a container may use devices of init containers
	// that ended before it.
	Again int
	// Unhealthy is how many of the others are not healthy. They are not free when the pod has gone.
	Unhealthy int
	// Unsure is set in a prediction where only the kubelet knows which devices these are. They are of groups within NUMANodes.
	Unsure bool
}

// Request is how many devices of a resource a container asks for.
type Request struct {
	Resource string
	Count    int
	// DRA is set where the scheduler has mapped the request to a resource claim.
	DRA bool
}

// Resource is the resource of a name, or nil where no device plugin serves it.
func (s *State) Resource(name string) *Resource {
	if s == nil {
		return nil
	}
	at, found := slices.BinarySearchFunc(s.Resources, name, func(r Resource, name string) int { return cmp.Compare(r.Name, name) })
	if !found {
		return nil
	}
	return &s.Resources[at]
}

// Aligned reports whether any device of the resource has a NUMA node, healthy or not. Only then does it give hints
// (deviceHasTopologyAlignment in topology_hints.go, v1.36.3).
func (r *Resource) Aligned() bool {
	return slices.ContainsFunc(r.Groups, func(g Group) bool { return g.NUMANodes != 0 })
}

// Free is how many devices no container holds.
func (r *Resource) Free() int {
	free := 0
	for i := range r.Groups {
		free += r.Groups[i].Free
	}
	return free
}

func (r *Resource) healthy() int {
	healthy := 0
	for i := range r.Groups {
		healthy += r.Groups[i].Healthy
	}
	return healthy
}

// Clone is a copy that shares nothing that changes.
func (s *State) Clone() *State {
	c := &State{Resources: slices.Clone(s.Resources)}
	for i := range c.Resources {
		c.Resources[i].Groups = slices.Clone(c.Resources[i].Groups)
	}
	return c
}

// Empty is the state with every healthy device free.
func (s *State) Empty() *State {
	empty := s.Clone()
	for i := range empty.Resources {
		r := &empty.Resources[i]
		r.Unsure = false
		for k := range r.Groups {
			r.Groups[k].Free = r.Groups[k].Healthy
		}
	}
	return empty
}

// Unregistered is the state of a kubelet that has started again, before any plugin has registered: it knows the resources,
// and no device of them (readCheckpoint in manager.go, v1.36.3).
func (s *State) Unregistered() *State {
	if s == nil {
		return nil
	}
	none := &State{Resources: slices.Clone(s.Resources)}
	for i := range none.Resources {
		none.Resources[i].Groups = nil
	}
	return none
}

// Releasing is the state after the pod that holds devices has gone.
func (s *State) Releasing(held []Held) *State {
	after := s.Clone()
	for i := range held {
		h := &held[i]
		r := after.Resource(h.Resource)
		if r == nil {
			continue
		}
		r.Unsure = r.Unsure || h.Unsure
		for k := range r.Groups {
			g := &r.Groups[k]
			if g.NUMANodes == h.NUMANodes && !h.Unsure {
				g.Free = min(g.Healthy, g.Free+h.Devices-h.Again-h.Unhealthy)
			}
		}
	}
	return after
}

// Equal reports whether both states say the same.
func (s *State) Equal(t *State) bool {
	if s == nil || t == nil {
		return s == t
	}
	return slices.EqualFunc(s.Resources, t.Resources, func(a, b Resource) bool {
		return a.Name == b.Name && a.Unknown == b.Unknown && a.Unsure == b.Unsure && slices.Equal(a.Groups, b.Groups)
	})
}
