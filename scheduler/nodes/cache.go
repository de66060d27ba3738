// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"container/list"
	"sync"
	"sync/atomic"
)

const (
	// maxKinds bounds the kinds of demands whose predictions are cached, and maxCacheBytes the memory that they take in all.
	maxKinds      = 512
	maxCacheBytes = 64 << 20
	// predictionBytes is what one cached prediction takes, with what it points to; setBytes is one set of a table.
	predictionBytes = 1024
	setBytes        = 16 * associativity
	// associativity is how many entries a set has: as many as one line of the processor's cache holds.
	associativity = 4
	// firstSets is how many sets a kind has at first.
	firstSets = 64
)

// predictionCache has what was predicted, for each kind of demand and each node. Demands are of one kind if every node gives
// them the same verdict and rating. The kinds that were not asked for the longest are dropped when the cache is full.
//
// Only the cache and the scheduling cycles at work refer to a kind. So a kind that is dropped takes its predictions with it,
// however many pods of that kind wait.
type predictionCache struct {
	mu    sync.Mutex
	byKey map[string]*list.Element
	used  list.List // of *kind, the latest first
	// kinds are the same by number. A node notes by these numbers which kinds have a prediction for it.
	kinds [maxKinds]atomic.Pointer[kind]
	bytes atomic.Int64
}

// kind has the predictions for one kind of demand, by the generation of the NodeInfo. kube-scheduler never uses a generation
// twice, on any node. So one number says which node it is, and that it has not changed.
//
// A look-up costs two cache lines and no lock, and a cycle makes hundreds. A map by name with a lock for each node costs six
// times as much, nearly all of it waiting for memory. A kind may lose a prediction when more generations than its
// associativity fall on one set. That prediction is then made again.
type kind struct {
	key    string
	number int
	table  atomic.Pointer[[]set]

	mu      sync.Mutex // held by those who write
	held    int        // predictions in the table
	dropped bool
}

type set [associativity]entry

// entry is a prediction, and what of it most questions are about: with that they need not read the prediction.
type entry struct {
	tag        atomic.Uint64
	prediction atomic.Pointer[Prediction]
}

// tag is a generation, and in the lowest bit whether the node certainly takes the pod.
func tag(generation int64, fits bool) uint64 {
	if fits {
		return uint64(generation)<<1 | 1
	}
	return uint64(generation) << 1
}

// is reports whether the entry is for a generation.
func (e *entry) is(generation int64) bool { return e.tag.Load()>>1 == uint64(generation) }

// kind returns the kind with that key, and makes it the latest used.
func (c *predictionCache) kind(key string) *kind {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, known := c.byKey[key]
	if known {
		c.used.MoveToFront(at)
		return at.Value.(*kind)
	}
	if c.byKey == nil {
		c.byKey = map[string]*list.Element{}
	}
	if c.used.Len() == maxKinds {
		c.drop()
	}
	number := 0
	for c.kinds[number].Load() != nil {
		number++
	}
	k := &kind{key: key, number: number}
	table := make([]set, firstSets)
	k.table.Store(&table)
	c.bytes.Add(firstSets * setBytes)
	c.kinds[number].Store(k)
	c.byKey[key] = c.used.PushFront(k)
	return k
}

// drop forgets the kind that was not asked for the longest.
func (c *predictionCache) drop() {
	k := c.used.Remove(c.used.Back()).(*kind)
	delete(c.byKey, k.key)
	c.kinds[k.number].Store(nil)
	k.mu.Lock()
	defer k.mu.Unlock()
	c.bytes.Add(-k.bytes())
	k.dropped = true
	k.held = 0
	k.table.Store(&[]set{{}})
}

// store puts a prediction into a kind, and drops other kinds if there are too many bytes.
func (c *predictionCache) store(k *kind, p *Prediction) {
	c.bytes.Add(k.store(p))
	if c.bytes.Load() <= maxCacheBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.bytes.Load() > maxCacheBytes && c.used.Len() > 1 {
		c.drop()
	}
}

// forget takes the prediction for a generation back.
func (c *predictionCache) forget(number int, generation int64) {
	k := c.kinds[number].Load()
	if k != nil {
		c.bytes.Add(-k.forget(generation))
	}
}

func (k *kind) bytes() int64 {
	return int64(len(*k.table.Load()))*setBytes + int64(k.held)*predictionBytes
}

// setFor is where a generation is looked for. Generations count up, so those of nodes that were made or updated in a row lie
// side by side.
func setFor(table []set, generation int64) *set {
	return &table[uint64(generation)&uint64(len(table)-1)]
}

// load returns what was predicted for a generation; nil if it is not known here.
func (k *kind) load(generation int64) *Prediction {
	at := setFor(*k.table.Load(), generation)
	for i := range at {
		if !at[i].is(generation) {
			continue
		}
		p := at[i].prediction.Load()
		if p != nil && p.generation == generation {
			return p
		}
	}
	return nil
}

// fits reports whether it was predicted for a generation that the node certainly takes the pod.
func (k *kind) fits(generation int64) bool {
	at := setFor(*k.table.Load(), generation)
	for i := range at {
		if at[i].tag.Load() == tag(generation, true) {
			return true
		}
	}
	return false
}

// store adds a prediction, and returns how many bytes that takes.
func (k *kind) store(p *Prediction) (bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dropped {
		return 0
	}
	before := k.bytes()
	at := entryFor(*k.table.Load(), p.generation)
	for at.prediction.Load() != nil && !at.is(p.generation) && len(*k.table.Load()) < k.held {
		k.grow()
		at = entryFor(*k.table.Load(), p.generation)
	}
	k.put(at, p)
	return k.bytes() - before
}

// entryFor is where to write the prediction for a generation: over its own, or an empty entry, or some other one.
func entryFor(table []set, generation int64) *entry {
	at := setFor(table, generation)
	chosen := &at[uint64(generation)/uint64(len(table))%associativity]
	for i := range at {
		if at[i].prediction.Load() == nil {
			chosen = &at[i]
		} else if at[i].is(generation) {
			return &at[i]
		}
	}
	return chosen
}

// put writes an entry. Readers take no lock: none may find the tag before the prediction, or another one's tag.
func (k *kind) put(at *entry, p *Prediction) {
	if at.prediction.Load() == nil {
		k.held++
	}
	at.tag.Store(0)
	at.prediction.Store(p)
	at.tag.Store(tag(p.generation, p.certain()))
}

// grow doubles the table. Readers may use the one before for a moment longer.
func (k *kind) grow() {
	before := *k.table.Load()
	table := make([]set, 2*len(before))
	k.held = 0
	for i := range before {
		for j := range before[i] {
			p := before[i][j].prediction.Load()
			if p != nil {
				k.put(entryFor(table, p.generation), p)
			}
		}
	}
	k.table.Store(&table)
}

// forget takes the prediction for a generation back, and returns how many bytes that sets free.
func (k *kind) forget(generation int64) (bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := setFor(*k.table.Load(), generation)
	for i := range at {
		p := at[i].prediction.Load()
		if p != nil && p.generation == generation {
			at[i].tag.Store(0)
			at[i].prediction.Store(nil)
			k.held--
			bytes += predictionBytes
		}
	}
	return bytes
}
