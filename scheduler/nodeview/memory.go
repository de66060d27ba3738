package nodeview

import (
	"math/bits"
	"sync/atomic"
)

// ways is how many predictions share a place in a memory: as many as one line of the processor's cache holds.
const ways = 4

// memory has what was predicted for demands that are alike, by the generation of the NodeInfo. kube-scheduler gives no
// generation twice, to whatever node, so one number says which node it is and that it has not changed. To look
// something up costs two lines of memory and no lock, of which a cycle does some hundred; a map by name and a lock for each node
// cost six times as much, nearly all of it waiting for memory.
//
// A memory may lose what it is given, when more generations than it has ways fall on one place: then the node itself has
// it (node.decided). What it holds is right at any time: the node takes it back when it no longer is.
type memory struct{ places []place }

type place [ways]slot

// slot is written prediction first, by whoever holds the lock of the prediction's node. Two nodes may write one slot at
// a time, so its generation is but a hint; the prediction has its own.
type slot struct {
	generation atomic.Int64
	prediction atomic.Pointer[Prediction]
}

// newMemory has room for so many nodes that few predictions are lost.
func newMemory(nodes int) *memory {
	return &memory{places: make([]place, 1<<bits.Len(uint(nodes)))}
}

// holds tells whether there is still room for so many nodes.
func (m *memory) holds(nodes int) bool { return len(m.places) > nodes/2 }

// place is where a generation is looked for. Generations count up, so those of nodes that were made or updated
// in a row lie side by side.
func (m *memory) place(generation int64) *place {
	return &m.places[uint64(generation)&uint64(len(m.places)-1)]
}

// load gives what was predicted for a generation; nil if it is not known here.
func (m *memory) load(generation int64) *Prediction {
	at := m.place(generation)
	for i := range at {
		if at[i].generation.Load() != generation {
			continue
		}
		if p := at[i].prediction.Load(); p != nil && p.generation == generation {
			return p
		}
	}
	return nil
}

// store takes a prediction, over one that was forgotten if there is such.
func (m *memory) store(p *Prediction) {
	at := m.place(p.generation)
	chosen := &at[p.generation/int64(len(m.places))%ways]
	for i := range at {
		if at[i].prediction.Load() == nil {
			chosen = &at[i]
			break
		}
	}
	chosen.prediction.Store(p)
	chosen.generation.Store(p.generation)
}

// forget takes a prediction back.
func (m *memory) forget(p *Prediction) {
	at := m.place(p.generation)
	for i := range at {
		at[i].prediction.CompareAndSwap(p, nil)
	}
}
