// SPDX-License-Identifier: Apache-2.0

package admission

// maxTried is how many admissions are looked through for the same one. To look through more costs more than it saves.
const maxTried = 128

// tried is an admission, and what it depends on. undetermined says why nobody can tell how it ends, or "".
type tried struct {
	pod           *Pod
	before, after contents
	decision      Decision
	undetermined  string
}

// memo remembers admissions to one node, since many orders lead to the same. Of more than maxTried the oldest are forgotten.
type memo struct {
	tried []tried
	next  int  // the place of the one to forget next
	room  Node // scratch: the node with the contents that are asked for
}

// end forgets all admissions and keeps the room for them.
func (m *memo) end() {
	clear(m.tried)
	*m = memo{tried: m.tried[:0]}
}

// admit returns the admission of a pod to a node with contents c. It holds until the next call.
func (m *memo) admit(n *Node, c *contents, p *Pod) *tried {
	for i := range m.tried {
		t := &m.tried[i]
		if t.pod == p && t.before == *c {
			return t
		}
	}
	t := m.place()
	*t = tried{pod: p, before: *c, after: *c}
	m.room = n.with(c)
	t.undetermined = m.room.uncertain(p, m.room.interestsOf(p))
	t.decision = admit(&m.room, p, &t.after)
	if t.decision.Reason == ReasonUndetermined {
		t.undetermined = t.decision.Message
	}
	return t
}

// place is where the next admission is put.
func (m *memo) place() *tried {
	if len(m.tried) < maxTried {
		m.tried = append(m.tried, tried{})
		return &m.tried[len(m.tried)-1]
	}
	t := &m.tried[m.next]
	m.next = (m.next + 1) % maxTried
	return t
}
