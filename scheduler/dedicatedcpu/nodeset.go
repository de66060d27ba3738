// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"hash/fnv"
	"sync/atomic"
)

// setWords is the size of a nodeSet, in words of 64 bits: 2 KiB.
const setWords = 256

// nodeSet is a set of nodes by name, for each of thousands of pods that wait. Its size does not grow with the number of nodes:
// of a node it has one bit, by a hash of the name. So it may say that it has a node that it has not, and never the other way.
// In a set of a few nodes that is one in thousands. Any goroutine may use it.
type nodeSet struct {
	words atomic.Pointer[[setWords]atomic.Uint64] // nil while there is no node
}

func bitOf(name string) (word int, bit uint64) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never an error
	sum := h.Sum64()
	return int(sum >> 6 % setWords), 1 << (sum & 63)
}

func (s *nodeSet) add(name string) {
	words := s.words.Load()
	if words == nil {
		s.words.CompareAndSwap(nil, new([setWords]atomic.Uint64))
		words = s.words.Load()
	}
	word, bit := bitOf(name)
	words[word].Or(bit)
}

func (s *nodeSet) has(name string) bool {
	words := s.words.Load()
	if words == nil {
		return false
	}
	word, bit := bitOf(name)
	return words[word].Load()&bit != 0
}
