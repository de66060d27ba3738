package nodeview

import (
	"fmt"
	"strings"
	"sync"
	"weak"

	"corepin.dev/corepin/pkg/cputopology"
)

// machines keeps one Topology for all nodes that are the same machine: a cluster has thousands of nodes and a
// few types of machine. It holds them weakly, so that a type of which no report is left goes.
type machines struct {
	mu    sync.Mutex
	known map[string]weak.Pointer[cputopology.Topology] // by text, distances included
	// sweep is how many there are when those that have gone are next forgotten.
	sweep int
}

// shared are the machines of all reports of this process.
var shared = newMachines()

func newMachines() *machines {
	return &machines{known: map[string]weak.Pointer[cputopology.Topology]{}, sweep: 64}
}

// machine gives the Topology to keep in place of t, which is equal.
func (m *machines) machine(t *cputopology.Topology) *cputopology.Topology {
	var b strings.Builder
	b.WriteString(t.String())
	for _, numa := range t.NUMANodes() {
		fmt.Fprint(&b, ";", numa.ID, numa.CPUs, numa.Distances)
	}
	text := b.String()
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.known[text].Value(); known != nil && known.Equal(t) {
		return known
	}
	if len(m.known) >= m.sweep {
		for text, known := range m.known {
			if known.Value() == nil {
				delete(m.known, text)
			}
		}
		m.sweep = 2*len(m.known) + 64
	}
	m.known[text] = weak.Make(t)
	return t
}
