// SPDX-License-Identifier: Apache-2.0

package ranking

import (
	"cmp"
	"container/heap"
	"slices"

	fwk "k8s.io/kube-scheduler/framework"
)

// best are the nodes that are rated best so far: a heap with the worst of them on top.
type best struct {
	most   int
	places []place
}

// place is a node in the list, and its rating.
type place struct {
	at     int
	rating int64
}

func (b *best) len() int { return len(b.places) }

// wants reports whether a node with that rating would be among the best. Of equal nodes those that came first are.
func (b *best) wants(rating int64) bool {
	return rating != refused && (len(b.places) < b.most || rating > b.places[0].rating)
}

// add adds a node that is wanted.
func (b *best) add(at int, rating int64) {
	if len(b.places) == b.most {
		b.places[0] = place{at, rating}
		heap.Fix((*byRating)(&b.places), 0)
		return
	}
	heap.Push((*byRating)(&b.places), place{at, rating})
}

// sorted are the nodes, the best first.
func (b *best) sorted(nodes []fwk.NodeInfo) []Rated {
	slices.SortFunc(b.places, func(x, y place) int { return cmp.Or(cmp.Compare(y.rating, x.rating), cmp.Compare(x.at, y.at)) })
	sorted := make([]Rated, len(b.places))
	for i, p := range b.places {
		sorted[i] = Rated{nodes[p.at], p.rating}
	}
	return sorted
}

// byRating is heap.Interface.
type byRating []place

func (h byRating) Len() int           { return len(h) }
func (h byRating) Less(i, j int) bool { return h[i].rating < h[j].rating }
func (h byRating) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byRating) Push(x any)        { *h = append(*h, x.(place)) }

func (h *byRating) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
