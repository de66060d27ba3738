// SPDX-License-Identifier: Apache-2.0

package memorymanager

import (
	"fmt"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// errState is the kubelet's error.
const errState = "[memorymanager] the expected machine state is different from the real one"

// Restarts is "" where a kubelet with the policy Static starts again over this state while held is assigned, or the kubelet's
// error, with the difference. now is the memory of the machine as it is now, with nothing assigned; nil stands for the
// same as before. A total that differs by a KiB is enough (validateState).
//
// certain is false where the kubelet compares with a state that it makes up in an order that nobody knows: containers hold
// memory on different sets of NUMA nodes that have some in common.
func (s *State) Restarts(held []Held, now *State) (why string, certain bool) {
	if now == nil {
		empty := s.Empty()
		now = &empty
	}
	if len(now.NUMANodes) != len(s.NUMANodes) {
		return fmt.Sprintf("%s: %d NUMA nodes are now %d", errState, len(s.NUMANodes), len(now.NUMANodes)), true
	}
	expected := now.Clone()
	for i := range held {
		if expected.index(held[i].Type) < 0 {
			return fmt.Sprintf("[memorymanager] (container: %s) the memory assignment uses memory resource that does not exist", held[i].Container), true
		}
		expected.take(held[i].Block, 0)
	}
	for i := range s.NUMANodes {
		why = s.differs(&expected, i)
		if why != "" {
			return errState + ": " + why, !overlap(held)
		}
	}
	return "", !overlap(held)
}

// overlap reports whether blocks are on different sets of NUMA nodes that have some in common. Which of them the group of
// such a NUMA node is then depends on the order.
func overlap(held []Held) bool {
	for i := range held {
		for k := range held[:i] {
			if held[i].NUMANodes != held[k].NUMANodes && held[i].NUMANodes&held[k].NUMANodes != 0 {
				return true
			}
		}
	}
	return false
}

// differs says how a NUMA node differs from what is expected, or "" (areMachineStatesEqual). What is free and reserved is
// compared in sum over the group.
func (s *State) differs(expected *State, numaNode int) string {
	is := &s.NUMANodes[numaNode]
	should := &expected.NUMANodes[numaNode]
	switch {
	case is.Assignments != should.Assignments:
		return fmt.Sprintf("NUMA node %d has %d assignments, and its containers %d", numaNode, is.Assignments, should.Assignments)
	case is.Group != should.Group:
		return fmt.Sprintf("NUMA node %d has another group than its containers", numaNode)
	case len(is.Memory) != len(should.Memory):
		return fmt.Sprintf("NUMA node %d has other types of memory", numaNode)
	}
	for at, name := range s.Types {
		k := expected.index(name)
		if k < 0 {
			return fmt.Sprintf("NUMA node %d has no %s any more", numaNode, name)
		}
		a := &is.Memory[at]
		b := &should.Memory[k]
		if a.Total != b.Total || a.SystemReserved != b.SystemReserved || a.Allocatable != b.Allocatable {
			return fmt.Sprintf("%s of NUMA node %d was %d bytes, %d of them reserved, and is %d, %d of them reserved",
				name, numaNode, a.Total, a.SystemReserved, b.Total, b.SystemReserved)
		}
		if s.inGroup(is.Group, at) != expected.inGroup(is.Group, k) {
			return fmt.Sprintf("what is free of %s around NUMA node %d does not agree with what its containers hold", name, numaNode)
		}
	}
	return ""
}

// inGroup is what is free and reserved of a type on a group of NUMA nodes.
func (s *State) inGroup(group topologymanager.Mask, at int) (sum [2]uint64) {
	for ; group != 0; group = group.Rest() {
		amount := &s.NUMANodes[group.First()].Memory[at]
		sum[0] += amount.Free
		sum[1] += amount.Reserved
	}
	return sum
}
