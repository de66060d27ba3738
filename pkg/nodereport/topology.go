// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"fmt"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// SetTopology writes the machine into a report; Topology reads it back.
func SetTopology(s *v1alpha1.NodeCPUStatus, t *cputopology.Topology) {
	s.NUMANodes = nil
	s.Cores = nil
	for _, node := range t.NUMANodes() {
		var distances []int32
		for _, distance := range node.Distances {
			distances = append(distances, int32(distance))
		}
		s.NUMANodes = append(s.NUMANodes, v1alpha1.NUMANode{ID: int32(node.ID), Distances: distances})
	}
	for _, core := range t.Cores() {
		s.Cores = append(s.Cores, v1alpha1.Core{
			ID: int32(core.ID), CPUs: core.CPUs.String(), NUMANode: int32(core.NUMANode),
			Socket: int32(core.Socket), UncoreCache: int32(core.UncoreCache),
		})
	}
}

// Topology reads the machine out of a report. It is an error when a core is not named by its lowest CPU,
// or is in a NUMA node that the report does not list.
func Topology(s *v1alpha1.NodeCPUStatus) (*cputopology.Topology, error) {
	known := map[int32]bool{}
	var nodes []cputopology.NUMANode
	for _, node := range s.NUMANodes {
		known[node.ID] = true
		var distances []int
		for _, distance := range node.Distances {
			distances = append(distances, int(distance))
		}
		nodes = append(nodes, cputopology.NUMANode{ID: int(node.ID), Distances: distances})
	}
	var cores []cputopology.Core
	for _, core := range s.Cores {
		cpus, err := cpuset.Parse(core.CPUs)
		if err != nil {
			return nil, fmt.Errorf("core %d: %w", core.ID, err)
		}
		if cpus.First() != int(core.ID) {
			return nil, fmt.Errorf("core %d: its lowest CPU is %d, and a core is named by it", core.ID, cpus.First())
		}
		if !known[core.NUMANode] {
			return nil, fmt.Errorf("core %d: NUMA node %d is not in numaNodes", core.ID, core.NUMANode)
		}
		cores = append(cores, cputopology.Core{
			CPUs: cpus, NUMANode: int(core.NUMANode), Socket: int(core.Socket), UncoreCache: int(core.UncoreCache),
		})
	}
	topology, err := cputopology.New(cores, nodes...)
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	return topology, nil
}
