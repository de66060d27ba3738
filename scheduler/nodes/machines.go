// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"strings"
	"sync"
	"weak"

	"corepin.dev/corepin/pkg/cputopology"
)

// machines keeps one Topology for all nodes that are the same machine: a cluster has thousands of nodes and few types of
// machine. Its pointers are weak, so that a type goes when no report has it any more.
type machines struct {
	mu    sync.Mutex
	known map[string]weak.Pointer[cputopology.Topology] // by text, distances included
	// sweep is the number of types at which those that have gone are next dropped.
	sweep int
}

// shared are the machines of all reports of this process.
var shared = newMachines()

func newMachines() *machines {
	return &machines{known: map[string]weak.Pointer[cputopology.Topology]{}, sweep: 64}
}

// machine returns the Topology to keep in place of t. It is equal.
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
