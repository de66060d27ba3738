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
	// Blocks are what the pod's containers hold so far, in the order of their admission.
	Blocks []ContainerBlocks

	reusable []Block // of init containers, one for each set of NUMA nodes and type
}

// ContainerBlocks are the blocks of one container.
type ContainerBlocks struct {
	Container string
	Init      bool // an init container, but no sidecar
	Blocks    []Block
}

// NewStatic is the policy before it admits a pod. It changes a copy of the state.
func NewStatic(s *State) *Static { return &Static{State: s.Clone()} }

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
	held := ContainerBlocks{Container: container, Init: isInit}
	for _, q := range request {
		b := Block{NUMANodes: mask, Quantity: q}
		s.State.take(b, reusableOn(s.reusable, mask, q.Type))
		held.Blocks = append(held.Blocks, b)
	}
	s.reuse(isInit, held.Blocks)
	s.shrinkInit(held.Blocks)
	s.Blocks = append(s.Blocks, held)
	return nil
}

// choose gives the NUMA nodes for a request: the affinity, or a set that includes it and has enough.
func (s *Static) choose(request []Quantity, affinity topologymanager.Mask, preferred bool) (topologymanager.Mask, error) {
	hints, some := s.Hints(request)
	best := affinity
	if best == 0 {
		if !some {
			return 0, errNoDefault
		}
		best = hints.first(func(topologymanager.Mask) bool { return true })
		if preferred && !hints.Preferred(best) {
			return 0, errDefault
		}
		preferred = hints.Preferred(best)
	}
	if !s.State.satisfies(best, request) {
		extended := hints.first(func(mask topologymanager.Mask) bool { return mask&best == best })
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

// satisfies reports whether the NUMA nodes of mask have enough free memory. Reusable memory does not count
// (isAffinitySatisfyRequest).
func (s *State) satisfies(mask topologymanager.Mask, request []Quantity) bool {
	return !slices.ContainsFunc(request, func(q Quantity) bool { return s.free(mask, q.Type) < q.Bytes })
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
func (s *Static) reuse(isInit bool, blocks []Block) {
	for _, b := range blocks {
		at := slices.IndexFunc(s.reusable, func(r Block) bool { return r.NUMANodes == b.NUMANodes && r.Type == b.Type })
		switch {
		case isInit && at < 0:
			s.reusable = append(s.reusable, b)
		case isInit:
			s.reusable[at].Bytes = max(s.reusable[at].Bytes, b.Bytes)
		case at >= 0:
			s.reusable[at].Bytes -= min(s.reusable[at].Bytes, b.Bytes)
		}
	}
}

// shrinkInit takes what new blocks reuse off the blocks of init containers, so that it is released only once
// (updateInitContainersMemoryBlocks).
func (s *Static) shrinkInit(blocks []Block) {
	for _, b := range blocks {
		missing := b.Bytes
		for i := range s.Blocks {
			if !s.Blocks[i].Init {
				continue
			}
			for k := range s.Blocks[i].Blocks {
				held := &s.Blocks[i].Blocks[k]
				if held.Type == b.Type && held.NUMANodes == b.NUMANodes {
					taken := min(held.Bytes, missing)
					held.Bytes -= taken
					missing -= taken
				}
			}
		}
	}
}
