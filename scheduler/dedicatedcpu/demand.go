package dedicatedcpu

import (
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/scheduler/nodeview"
)

const stateKey fwk.StateKey = Name

// demand is what a pod asks for: computed at PreFilter, used at Filter, Score and PostBind, and kept while
// the pod waits.
type demand struct {
	nodeview.Demand
	// launcher tells that the pod is the launcher pod of a dedicated VM: it insists on exclusive CPUs.
	launcher bool
	// guest is what the VM needs of its CPUs; nil where that is not known.
	guest *guest
	// beside is the CPU, in millicores, that a VM's pod requests besides its exclusive CPUs; set at PreFilter.
	beside int64

	// waits puts the pod among those that a report can wake, once in a scheduling cycle.
	waits sync.Once
	// later has it tried again when it is old enough to evict others, once in a scheduling cycle.
	later sync.Once
	// heldAt are the nodes that could not answer because of pods in flight.
	heldAt sync.Map
	// held tells that there is one, as nodes are.
	held atomic.Bool
	// estimatedAt are the nodes that were let through on something less than an exact prediction, each with an
	// estimated; anyEstimated tells whether there is one, which costs less to ask.
	estimatedAt  sync.Map
	anyEstimated atomic.Bool
}

// shape is equal for demands that plugins of one manner answer alike on every node, and rate alike.
func (d *demand) shape() string {
	return fmt.Sprintf("%t%s;%s;%d", d.launcher, d.Key, d.guest.key(), d.beside)
}

// cycle is a demand in the state of its scheduling cycle.
type cycle struct {
	*demand
	// simulated tells that nodes are not asked about as they are: preemption and nominated pods get a copy of the
	// state and of the node, and change the latter's pods. So does the cycle of a pod group, with the snapshot itself, of which
	// it leaves the generations as they were (AssumePod in pkg/scheduler/backend/cache/snapshot.go, v1.36.3).
	simulated bool
	// evicts tells of a simulation that pods were taken out, evictsInFlight that one of them is in flight.
	evicts, evictsInFlight bool
}

// Clone is called for a simulation. What a pod asks for is the same in it, and whether it waits is for all copies to know.
func (c *cycle) Clone() fwk.StateData {
	return &cycle{demand: c.demand, simulated: true, evicts: c.evicts, evictsInFlight: c.evictsInFlight}
}

// estimate notes that a node was let through on something less than an exact prediction.
func (d *demand) estimate(nodeName string, e estimated) {
	d.estimatedAt.Store(nodeName, e)
	d.anyEstimated.Store(true)
}

// exact notes that a node was predicted exactly. With nominated pods on it, it may have been estimated just before.
func (d *demand) exact(nodeInfo fwk.NodeInfo) {
	if d.anyEstimated.Load() {
		d.estimatedAt.Delete(nodeInfo.Node().Name)
	}
}

// estimated is what was known of a node that could not be predicted exactly.
type estimated struct {
	standing nodeview.Standing
	why      string
}

// demandOf reads a pod; nil for one that asks for no exclusive CPUs, and that nobody meant to.
func demandOf(pod *corev1.Pod) *demand {
	l, isLauncher := launcher.Of(pod)
	dedicated := isLauncher && l.Dedicated
	if class := pod.Status.QOSClass; !dedicated && class != "" && class != corev1.PodQOSGuaranteed {
		return nil
	}
	d := &demand{Demand: nodeview.DemandOf(pod), launcher: dedicated}
	if !dedicated && !d.Pod.Exclusive() {
		return nil
	}
	return d
}

// read gives what PreFilter wrote; nil for a pod that PreFilter skipped.
func read(state fwk.CycleState) *cycle {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil
	}
	c, _ := data.(*cycle)
	return c
}

// predict asks the view about a node.
func (pl *DedicatedCPU) predict(c *cycle, nodeInfo fwk.NodeInfo) *nodeview.Prediction {
	if c.simulated {
		return pl.view.Simulate(&c.Demand, nodeInfo)
	}
	return pl.view.Predict(&c.Demand, nodeInfo)
}
