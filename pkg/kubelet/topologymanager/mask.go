// SPDX-License-Identifier: Apache-2.0

package topologymanager

import "math/bits"

// Mask is a set of NUMA nodes. Bit i is the NUMA node at index i of Topology.NUMANodes().
type Mask uint64

// Len is the number of NUMA nodes in the mask.
func (m Mask) Len() int { return bits.OnesCount64(uint64(m)) }

// First is the index of the lowest NUMA node in the mask, which must not be empty.
func (m Mask) First() int { return bits.TrailingZeros64(uint64(m)) }

// Rest is the mask without its lowest NUMA node.
func (m Mask) Rest() Mask { return m & (m - 1) }

// OfSize calls visit with every subset of size NUMA nodes, from the lowest number up, until visit returns false.
func (m Mask) OfSize(size int, visit func(Mask) bool) {
	if size < 1 || size > m.Len() {
		return
	}
	all := Mask(1)<<m.Len() - 1
	lowest := Mask(1)<<size - 1
	highest := lowest << (m.Len() - size)
	for compact := lowest; visit(m.expand(compact, all)) && compact != highest; compact = nextOfSameSize(compact) {
	}
}

// expand gives the subset of m that compact names by the order of the NUMA nodes in m.
func (m Mask) expand(compact, all Mask) Mask {
	if m == all {
		return compact
	}
	var expanded Mask
	for rest := m; compact != 0; compact >>= 1 {
		if compact&1 != 0 {
			expanded |= rest & -rest
		}
		rest = rest.Rest()
	}
	return expanded
}

// compact is the reverse of expand for a subset of nodes.
func (m Mask) compact(nodes Mask) Mask {
	var compact Mask
	for bit := Mask(1); m != 0; nodes = nodes.Rest() {
		lowest := nodes & -nodes
		if m&lowest != 0 {
			compact |= bit
			m &^= lowest
		}
		bit <<= 1
	}
	return compact
}

// nextOfSameSize is the next higher mask with as many bits.
func nextOfSameSize(mask Mask) Mask {
	low := mask & -mask
	carry := mask + low
	return carry | (mask^carry)>>2/low
}
