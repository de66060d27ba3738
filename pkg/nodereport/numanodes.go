// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"errors"
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// maskBits is how many NUMA nodes a topologymanager.Mask can have. Of a machine with more, memory and devices are not known.
const maskBits = 64

// numaNodes reads sets of NUMA nodes. Each different text is read once.
type numaNodes struct {
	bits  map[int]topologymanager.Mask // by the kernel's id
	masks map[string]topologymanager.Mask
}

func newNUMANodes(topology *cputopology.Topology) *numaNodes {
	n := &numaNodes{bits: map[int]topologymanager.Mask{}, masks: map[string]topologymanager.Mask{}}
	for i, node := range topology.NUMANodes() {
		n.bits[node.ID] = 1 << i
	}
	return n
}

// mask reads a list of the kernel's ids, such as "0-1"; "" is no NUMA node.
func (n *numaNodes) mask(list string) (topologymanager.Mask, error) {
	mask, known := n.masks[list]
	if known {
		return mask, nil
	}
	ids, err := cpuset.Parse(list)
	if err != nil {
		return 0, fmt.Errorf("NUMA nodes %.80q: %w", list, err)
	}
	for id := range ids.All() {
		bit, known := n.bits[id]
		if !known {
			return 0, fmt.Errorf("NUMA node %d is not in numaNodes", id)
		}
		mask |= bit
	}
	n.masks[list] = mask
	return mask, nil
}

// maskOf reads the kernel's ids, of which there must be one.
func (n *numaNodes) maskOf(ids []int32) (topologymanager.Mask, error) {
	var mask topologymanager.Mask
	for _, id := range ids {
		bit, known := n.bits[int(id)]
		if !known {
			return 0, fmt.Errorf("NUMA node %d is not in numaNodes", id)
		}
		mask |= bit
	}
	if mask == 0 {
		return 0, errors.New("there is no NUMA node")
	}
	return mask, nil
}
