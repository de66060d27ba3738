// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"sync/atomic"
	"time"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// Prediction is the verdict about a demand on a node, as the node was in a NodeInfo. It must not be changed. What is read for
// every node in every scheduling cycle comes first, to lie together in memory.
type Prediction struct {
	generation int64 // of the NodeInfo
	// Rating is for what a user computes from the prediction and the NodeInfo. It is there again the next time, until the
	// NodeInfo or the report changes. Any goroutine may use it.
	Rating Number

	verdict.Verdict
	// Until is when the node is not waited for any more, if its answer is one to wait for. The zero time says that the answer
	// holds.
	Until time.Time
	// Node is the node without the pods in flight and without the pod; nil if its kubelet is not known.
	Node *admission.Node
}

// certain reports whether the node takes the pod, by its kubelet's decision and not by an estimate.
func (p *Prediction) certain() bool { return p.State == nodereport.Exact && p.Verdict.Fits() }

// Number is a number that may be known.
type Number struct {
	known atomic.Bool
	value atomic.Int64
}

// Load returns the number, if it is known.
func (n *Number) Load() (value int64, known bool) {
	if !n.known.Load() {
		return 0, false
	}
	return n.value.Load(), true
}

// Store makes the number known. It must always be the same.
func (n *Number) Store(value int64) {
	n.value.Store(value)
	n.known.Store(true)
}
