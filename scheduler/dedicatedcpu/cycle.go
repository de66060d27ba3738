// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/nodes"
	"corepin.dev/corepin/scheduler/wakeup"
)

const stateKey fwk.StateKey = Name

// cycle is the plugin's state of one scheduling cycle: PreFilter writes it, the other extension points read it.
type cycle struct {
	*verdict.Demand
	*findings
	query *nodes.Query
	// warnings say what is wrong with a VM that runs nevertheless. They decide nothing.
	warnings []string
	// simulated is set if the cycle asks about nodes that are not as they are. Preemption and nominated pods get a copy
	// of the state and of the node, and change the pods of the copy. The cycle of a pod group changes the snapshot itself
	// without a new generation (AssumePod in pkg/scheduler/backend/cache/snapshot.go, v1.36.3).
	simulated bool
	// narrowed is set if kube-scheduler looks at candidates only.
	narrowed bool
	// ratings are those of the candidates, by the generations of their NodeInfos, as they were when they were chosen.
	ratings map[int64]int64
	// evicted are the pods that the simulation has taken out and not put back. A clone shares them until it changes them.
	evicted []evicted
}

// evicted is a pod that a simulation has taken out of a node.
type evicted struct {
	uid types.UID
	// awaited is set if a report is waited for on its account: nobody knows what is free without it.
	awaited bool
}

// evicts reports whether the simulation has taken pods out, and whether one of them is awaited.
func (c *cycle) evicts() (any, awaited bool) {
	return len(c.evicted) > 0, slices.ContainsFunc(c.evicted, func(pod evicted) bool { return pod.awaited })
}

// evict notes that a pod is taken out.
func (c *cycle) evict(uid types.UID, awaited bool) {
	c.evicted = append(slices.Clone(c.evicted), evicted{uid, awaited})
}

// reprieve notes that a pod is put back.
func (c *cycle) reprieve(uid types.UID) {
	c.evicted = slices.DeleteFunc(slices.Clone(c.evicted), func(pod evicted) bool { return pod.uid == uid })
}

// Clone is called for a simulation. The copy shares the demand and the findings.
func (c *cycle) Clone() fwk.StateData {
	clone := *c
	clone.simulated = true
	return &clone
}

// readCycle returns what PreFilter wrote; nil for a pod that PreFilter skipped.
func readCycle(state fwk.CycleState) *cycle {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil
	}
	c, _ := data.(*cycle)
	return c
}

func newFindings() *findings { return &findings{heldAt: &nodeSet{}} }

// findings are what a cycle learns about nodes. Filter writes them from many goroutines.
type findings struct {
	// addPending puts the pod among those that a report can wake, once in a cycle.
	addPending sync.Once
	// addLate notes once in a cycle that its time is over.
	addLate sync.Once
	// heldAt are the nodes that could not answer because of pods in flight. The pod keeps it while it waits, and nothing
	// else of the findings. held is set when a node, judged as it is and not in a simulation, waits for a report.
	heldAt *nodeSet
	held   atomic.Bool
	// estimatedAt has an estimate for each node that was accepted without an exact prediction, by name. anyEstimated is
	// set if there is one; it is cheaper to read.
	estimatedAt  sync.Map
	anyEstimated atomic.Bool
}

// estimate is why an accepted node could not be predicted exactly.
type estimate struct {
	state nodereport.State
	why   string
}

// noteHeld notes a node that waits for a report: its first, or one that shows pods in flight. That report wakes the pod,
// even if there is no room for it: it is told so, and preemption can look at the node.
func (f *findings) noteHeld(nodeName string, simulated bool) {
	f.heldAt.add(nodeName)
	if !simulated {
		f.held.Store(true)
	}
}

func (f *findings) noteEstimated(nodeName string, e estimate) {
	f.estimatedAt.Store(nodeName, e)
	f.anyEstimated.Store(true)
}

// noteExact takes noteEstimated back. A node is asked twice if pods are nominated to it, and may be exact without them. It
// reads the Node only if it has to: Filter runs for hundreds of nodes, and their Nodes are in no cache of the processor.
func (f *findings) noteExact(nodeInfo fwk.NodeInfo) {
	if f.anyEstimated.Load() {
		f.estimatedAt.Delete(nodeInfo.Node().Name)
	}
}

// estimateOf returns why a node was not predicted exactly; ok is false if it was.
func (f *findings) estimateOf(nodeName string) (e estimate, ok bool) {
	value, ok := f.estimatedAt.Load(nodeName)
	if !ok {
		return estimate{}, false
	}
	return value.(estimate), true
}

// predict asks the view about a node.
func (c *cycle) predict(nodeInfo fwk.NodeInfo) *nodes.Prediction {
	if c.simulated {
		return c.query.Simulate(nodeInfo)
	}
	return c.query.Predict(nodeInfo)
}

// pendingDemand is the demand of a pod that waits, as package wakeup needs it.
type pendingDemand struct {
	*verdict.Demand
	view   *nodes.View
	heldAt *nodeSet
}

func (pl *DedicatedCPU) pendingDemand(d *verdict.Demand, f *findings) *pendingDemand {
	return &pendingDemand{Demand: d, view: pl.view, heldAt: f.heldAt}
}

// Class is called by package wakeup.
func (d *pendingDemand) Class() string { return d.Key() }

// HeldAt is called by package wakeup.
func (d *pendingDemand) HeldAt(nodeName string) bool { return d.heldAt.has(nodeName) }

// Capacity is called by package wakeup when the report of a node has changed.
func (d *pendingDemand) Capacity(node *corev1.Node, limit int) (pods int, exact bool) {
	most, known := d.view.MostCPUs(node.Name)
	if known && d.Pod.PodLevel == nil && d.Pod.PeakCPUs() > most {
		return wakeup.NoCapacity, true
	}
	best := d.view.BestCase(node, d.Demand)
	if !best.Fits() {
		return wakeup.NoCapacity, true // if only the label is missing, its event will wake the pod
	}
	pods, exact = d.view.Capacity(node, d.Demand, limit)
	if pods == 0 && !exact {
		return wakeup.NoCapacity, false // too few CPUs are free, whatever becomes of the pods in flight
	}
	return pods, exact
}
