// SPDX-License-Identifier: Apache-2.0

package page

// summary is the page in numbers.
type summary struct {
	Nodes int
	// States counts the nodes of each State.
	States [Unlabelled + 1]int
	// Usable are the CPUs that are not reserved, and Taken those of them that cannot be granted to another pod.
	Usable, Taken int
	Holders       int
	InFlight      int
	// Waiting counts pods.
	Waiting int
	// Notes counts the nodes with a note of each kind, in the order of noteKinds.
	Notes []noteCount
}

type noteCount struct {
	Kind, Title string
	Nodes       int
}

// noteKinds are the kinds that the page counts, and what it calls them.
var noteKinds = []noteCount{{Kind: Drift, Title: "drifted"}, {Kind: Sharing, Title: "share CPUs of VMs"}, {Kind: Restart, Title: "not safe to restart"},
	{Kind: Siblings, Title: "share cores"}, {Kind: Closed, Title: "closed or tainted"}}

func (p *Page) summary() summary {
	s := summary{Nodes: len(p.Nodes)}
	notes := map[string]int{}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		s.States[n.State]++
		s.Usable += n.Usable
		s.Taken += n.Taken
		for k := range n.Holders {
			if n.Holders[k].InFlight {
				s.InFlight++
			}
		}
		s.Holders += len(n.Holders)
		of := map[string]bool{}
		for _, note := range n.Notes {
			if !of[note.Kind] {
				notes[note.Kind]++
			}
			of[note.Kind] = true
		}
	}
	for i := range p.Waiting {
		s.Waiting += len(p.Waiting[i].Names)
	}
	for _, kind := range noteKinds {
		kind.Nodes = notes[kind.Kind]
		if kind.Nodes > 0 {
			s.Notes = append(s.Notes, kind)
		}
	}
	return s
}

// Percent is the share of the CPUs that is taken.
func (s summary) Percent() int {
	if s.Usable == 0 {
		return 0
	}
	return (100*s.Taken + s.Usable/2) / s.Usable
}
