package dedicatedcpu

import (
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

	// beside is the CPU, in millicores, that the pod requests besides its exclusive CPUs; set at PreScore.
	beside int64

	// waits puts the pod among those that a report can wake, once in a scheduling cycle.
	waits sync.Once
	// heldAt are the nodes that could not answer because of pods in flight.
	heldAt sync.Map
	// estimatedAt are the nodes that were let through on something less than an exact prediction, each with an
	// estimated; anyEstimated tells whether there is one, which costs less to ask.
	estimatedAt  sync.Map
	anyEstimated atomic.Bool
}

// estimate notes that a node was let through on something less than an exact prediction.
func (d *demand) estimate(nodeName string, e estimated) {
	d.estimatedAt.Store(nodeName, e)
	d.anyEstimated.Store(true)
}

// exact notes that a node was predicted exactly. With nominated pods on it, it may have been estimated just before.
func (d *demand) exact(nodeName string) {
	if d.anyEstimated.Load() {
		d.estimatedAt.Delete(nodeName)
	}
}

// estimated is what was known of a node that could not be predicted exactly.
type estimated struct {
	standing nodeview.Standing
	why      string
}

// Clone returns the demand itself: what a pod asks for is the same whatever preemption simulates, and
// whether it waits is for all copies to know.
func (d *demand) Clone() fwk.StateData { return d }

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

// read gives the demand that PreFilter wrote; nil for a pod that PreFilter skipped.
func read(state fwk.CycleState) *demand {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil
	}
	d, _ := data.(*demand)
	return d
}
