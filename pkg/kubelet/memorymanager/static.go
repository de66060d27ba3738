// SPDX-License-Identifier: Apache-2.0

package memorymanager

import (
	"errors"
	"slices"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// PolicyNone and PolicyStatic are the policies, as in a kubelet's configuration.
const (
	PolicyNone   = "None"
	PolicyStatic = "Static"
)

// The errors of Allocate, each an UnexpectedAdmissionError of the pod.
var (
	errNoDefault  = errors.New("[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available")
	errDefault    = errors.New("[memorymanager] failed to find the default preferred hint")
	errNoExtended = errors.New("[memorymanager] failed to find NUMA nodes to extend the current topology hint")
	errExtended   = errors.New("[memorymanager] failed to find the extended preferred hint")
	errGroup      = errors.New("[memorymanager] preferred hint violates NUMA node allocation")
)

// ErrPanic is a refusal of ours: the kubelet would panic at a type of memory that a NUMA node does not have.
var ErrPanic = &topologymanager.Refusal{Reason: topologymanager.ReasonPanic,
	Message: "the kubelet would panic: its memory manager does not know a type of memory that the pod requests"}

// Static is the policy Static while one pod is admitted.
type Static struct {
	// State is the memory that remains.
	State State
	// Held is what the pod's containers hold so far, in the order of their admission.
	Held []Held

	reusable []Block // of init containers, one for each set of NUMA nodes and type
	hints    Hints
}

// NewStatic is the policy before it admits a pod. It changes a copy of the state.
func NewStatic(s *State) *Static {
	static := &Static{}
	static.Start(s)
	return static
}

// Start makes the policy ready to admit the next pod, over a copy of the state.
func (s *Static) Start(from *State) {
	s.State.set(from)
	s.Held = s.Held[:0]
	s.reusable = s.reusable[:0]
}

// Undo gives back what the containers of a pod hold, as the kubelet does after a refusal.
func (s *Static) Undo() {
	s.State.Release(s.Held)
	s.Held = s.Held[:0]
}

// Regenerated is what a container holds, where a kubelet that has started again makes its hints of that: the blocks are what
// is requested. Otherwise there are no hints, which the topology manager takes for no preference (regenerateHints).
func Regenerated(request []Quantity, held []Held) []Held {
	if len(request) != len(held) {
		return nil
	}
	for i := range held {
		if !slices.Contains(request, held[i].Quantity) {
			return nil
		}
	}
	return held
}

// Keep lets a container keep what it holds, in a kubelet that has started again.
func (s *Static) Keep(isInit bool, held []Held) {
	before := len(s.Held)
	s.Held = append(s.Held, held...)
	for i := range s.Held[before:] {
		s.Held[before+i].Init = isInit
	}
	s.reuse(isInit, s.Held[before:])
}

// KeepRest adds what the containers hold that have not been asked about, so that Undo gives it back, too.
func (s *Static) KeepRest(held []Held) {
	kept := s.Held
	for i := range held {
		if !slices.ContainsFunc(kept, func(h Held) bool { return h.Container == held[i].Container }) {
			s.Held = append(s.Held, held[i])
		}
	}
}

// Knows reports whether every type of a request is known. If not, the kubelet panics: see ErrPanic.
func (s *State) Knows(request []Quantity) bool {
	return !slices.ContainsFunc(request, func(q Quantity) bool { return !slices.Contains(s.Types, q.Type) })
}

// Allocate allocates the request of a container (Allocate). affinity is the topology manager's choice, 0 for none, and
// preferred whether it was a preferred one. isInit is set for an init container, but not for a sidecar.
func (s *Static) Allocate(container string, isInit bool, request []Quantity, affinity topologymanager.Mask, preferred bool) error {
	if !s.State.Knows(request) {
		return ErrPanic
	}
	mask, err := s.choose(request, affinity, preferred)
	if err != nil {
		return err
	}
	before := len(s.Held)
	for _, q := range request {
		b := Block{NUMANodes: mask, Quantity: q}
		s.State.take(b, reusableOn(s.reusable, mask, q.Type))
		s.Held = append(s.Held, Held{Container: container, Init: isInit, Block: b})
	}
	s.reuse(isInit, s.Held[before:])
	s.shrinkInit(s.Held[:before], s.Held[before:])
	return nil
}

// choose gives the NUMA nodes for a request: the affinity, or a set that includes it and has enough. Reusable memory
// counts in hints, but not where the kubelet asks whether an affinity has enough (isAffinitySatisfyRequest).
func (s *Static) choose(request []Quantity, affinity topologymanager.Mask, preferred bool) (topologymanager.Mask, error) {
	hints, some := s.Hints(request)
	best := affinity
	if best == 0 {
		if !some {
			return 0, errNoDefault
		}
		best = hints.first(0)
		if preferred && !hints.Preferred(best) {
			return 0, errDefault
		}
		preferred = hints.Preferred(best)
	}
	if !hints.enough(best, nil) {
		extended := hints.first(best)
		if extended == 0 {
			return 0, errNoExtended
		}
		if preferred && !hints.Preferred(extended) {
			return 0, errExtended
		}
		best = extended
	}
	if s.State.violates(best) {
		return 0, errGroup
	}
	return best, nil
}

// reusableOn is how much of a type the pod may reuse on exactly these NUMA nodes.
func reusableOn(reusable []Block, mask topologymanager.Mask, name string) uint64 {
	for _, b := range reusable {
		if b.NUMANodes == mask && b.Type == name {
			return b.Bytes
		}
	}
	return 0
}

// reuse notes what later containers may reuse after blocks were allocated: the largest block of an init container, and
// less after any other container (updatePodReusableMemory).
func (s *Static) reuse(isInit bool, blocks []Held) {
	for i := range blocks {
		b := &blocks[i].Block
		at := slices.IndexFunc(s.reusable, func(r Block) bool { return r.NUMANodes == b.NUMANodes && r.Type == b.Type })
		switch {
		case isInit && at < 0:
			s.reusable = append(s.reusable, *b)
		case isInit:
			s.reusable[at].Bytes = max(s.reusable[at].Bytes, b.Bytes)
		case at >= 0:
			s.reusable[at].Bytes -= min(s.reusable[at].Bytes, b.Bytes)
		}
	}
}

// shrinkInit takes what new blocks reuse off the blocks of init containers, so that it is released only once
// (updateInitContainersMemoryBlocks).
func (s *Static) shrinkInit(before, blocks []Held) {
	for i := range blocks {
		b := &blocks[i]
		missing := b.Bytes
		for k := range before {
			held := &before[k]
			if !held.Init || held.Type != b.Type || held.NUMANodes != b.NUMANodes {
				continue
			}
			taken := min(held.Bytes, missing)
			held.Bytes -= taken
			missing -= taken
		}
	}
}
