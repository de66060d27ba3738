// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

const (
	// maxPools is how many pools have series of their own. A cluster has a few; a label with a value for each node would make
	// 20 series for each node otherwise.
	maxPools = 20
	// poolOther is all other pools, and the nodes without the label. poolAll is all nodes where no label is given.
	poolOther = "other"
	poolAll   = "all"
)

// pools adds up nodes by the value of a label.
type pools struct {
	label string // "" for one pool
	nodes map[string]counted
	// named are the pools with series of their own.
	named map[string]bool
}

// counted is a node as it was last counted.
type counted struct {
	pool string // "" for one of no pool
	counts
}

func newPools(label string) *pools {
	return &pools{label: label, nodes: map[string]counted{}, named: map[string]bool{}}
}

// set takes what a node has.
func (p *pools) set(node *corev1.Node, c counts) {
	p.nodes[node.Name] = counted{node.Labels[p.label], c}
}

// remove takes that a node is gone.
func (p *pools) remove(name string) { delete(p.nodes, name) }

// rest is the pool of the nodes that are in no pool with series of its own.
func (p *pools) rest() string {
	if p.label == "" {
		return poolAll
	}
	return poolOther
}

// sums are what the pools have, the rest included.
func (p *pools) sums() map[string]*counts {
	p.name()
	sums := map[string]*counts{p.rest(): {}}
	for _, node := range p.nodes {
		pool := p.rest()
		if p.named[node.pool] {
			pool = node.pool
		}
		if sums[pool] == nil {
			sums[pool] = &counts{}
		}
		sums[pool].add(&node.counts)
	}
	return sums
}

// name gives pools series of their own, by name, while there are few enough.
func (p *pools) name() {
	present := map[string]bool{}
	for _, node := range p.nodes {
		if node.pool != "" {
			present[node.pool] = true
		}
	}
	maps.DeleteFunc(p.named, func(pool string, _ bool) bool { return !present[pool] })
	for _, pool := range slices.Sorted(maps.Keys(present)) {
		if len(p.named) < maxPools {
			p.named[pool] = true
		}
	}
}
