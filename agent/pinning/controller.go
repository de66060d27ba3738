// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/exclusive"
	"corepin.dev/corepin/agent/pinning/ledger"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/vmi"
)

// Options is what a Controller needs. The functions are called by many goroutines at once.
type Options struct {
	Config   config.Pinning
	NodeName string
	// KubeletRootDir has the pods' directories in pods/<UID>.
	KubeletRootDir string
	// Pods lists the pods of this node, and of no other.
	Pods corelisters.PodLister
	// Granted gives the exclusive CPUs by pod UID and container name as last read. Where current is false,
	// the kubelet may have granted others since, to pods that are not among them.
	Granted func() (grants map[types.UID]map[string]cpuset.Set, current bool)
	// Topology gives the machine, nil where it is not known (yet).
	Topology   func() *cputopology.Topology
	Recorder   record.EventRecorder
	Hypervisor Hypervisor

	// What follows may be missing.

	// VMI gives the VMI that owns a launcher pod, nil where none does.
	VMI func(context.Context, *corev1.Pod) (*vmi.VMI, error)
	// CPUSet gives the CPUs that the kernel lets a container use, where that can be known.
	CPUSet func(pod *corev1.Pod, container string) (cpus cpuset.Set, known bool, err error)
	// Housekeeping gives the CPUs of the child cgroup into which KubeVirt moves threads that are no vCPUs; an empty set
	// where there is none.
	Housekeeping func(pod *corev1.Pod, container string) (cpuset.Set, error)
	// Confiner names the cgroup above the container's that keeps it off some of these CPUs; "" where none does.
	Confiner func(pod *corev1.Pod, container string, cpus cpuset.Set) string
	// Exclusive says who else may run on the CPUs that were granted to a launcher pod's guest.
	Exclusive func(pod types.UID, granted cpuset.Set) exclusive.Verdict
	// Node refers to this node, nil before it is known.
	Node func() runtime.Object
	// Known reports whether Pods lists all there are yet; missing means that it does.
	Known func() bool
	// Changed is called when Pins or Condition may give something else than before. It must not block.
	Changed func()
}

func (o *Options) changed() {
	if o.Changed != nil {
		o.Changed()
	}
}

// Controller keeps one worker for each running launcher pod of a dedicated VM.
type Controller struct {
	Options
	clock   clock.WithTicker
	trigger chan struct{}
	workers map[types.UID]*worker // Run's goroutine only
	// topology is the machine as the workers were last woken for it. Run's goroutine only.
	topology *cputopology.Topology
	running  sync.WaitGroup
	ledger   *ledger.Ledger
	jitter   func(time.Duration) time.Duration
	began    time.Time // when Run did
}

// New returns a Controller that does nothing until Run.
func New(o Options) *Controller {
	registerMetrics()
	return &Controller{
		Options: o,
		clock:   clock.RealClock{},
		trigger: make(chan struct{}, 1),
		workers: map[types.UID]*worker{},
		ledger:  ledger.New(clock.RealClock{}),
		jitter:  spread,
	}
}

// Pins gives, by pod UID, where the threads of each guest were found at the last look, as placement.Pins.Text gives it;
// nil before every guest has been looked at once. It may be called at any time, by many goroutines.
func (c *Controller) Pins() map[types.UID]string { return c.ledger.Pins() }

// Waits gives, by pod UID, which vCPUs waited for a CPU for longer than the configuration allows, as nodereport.Waits gives it;
// guests without any are left out. It is nil when Pins is.
func (c *Controller) Waits() map[types.UID]string { return c.ledger.Waits() }

// Condition is condition Drifted of the node, without its time; nil before every guest has been looked at once.
// It may be called at any time, by many goroutines.
func (c *Controller) Condition() *metav1.Condition { return c.ledger.Condition() }

// Trigger says that pods or grants may have changed. It never blocks; several triggers may become one look.
func (c *Controller) Trigger() {
	select {
	case c.trigger <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and returns once every worker has stopped.
func (c *Controller) Run(ctx context.Context) error {
	if c.Pods == nil || c.Granted == nil || c.Topology == nil || c.Recorder == nil || c.Hypervisor == nil {
		return errors.New("starting pinning: pods, grants, topology, recorder and hypervisor must be given")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer c.running.Wait()
	defer cancel()
	c.began = c.clock.Now()

	ticker := c.clock.NewTicker(resync)
	defer ticker.Stop()
	unlisted := c.clock.NewTimer(listPatience)
	defer unlisted.Stop()
	for {
		if err := c.sync(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.trigger:
		case <-unlisted.C():
		case <-ticker.C():
		}
	}
}

// sync gives every guest to be kept pinned a worker, stops the others and wakes those whose grant changed.
func (c *Controller) sync(ctx context.Context) error {
	grants, _ := c.Granted()
	wanted, err := c.launchers(grants)
	if err != nil {
		return err
	}
	changed := map[types.UID]cpuset.Set{}
	for uid, l := range wanted {
		granted := grants[uid][l.Compute]
		w := c.workers[uid]
		switch {
		case w != nil && w.pod.Name != l.pod.Name: // only the node knew of it
			w.stop()
			c.start(ctx, l, granted)
		case w == nil:
			c.start(ctx, l, granted)
		case w.granted != granted:
			w.granted = granted
			changed[uid] = granted
		case c.verdict(uid, granted) != w.verdict:
			w.verdict = c.verdict(uid, granted)
			w.wake()
		}
	}
	topology := c.Topology()
	if topology != c.topology { // CPUs went on or off line
		c.topology = topology
		for _, w := range c.workers {
			w.wake()
		}
	}
	c.ledger.Regrant(changed)
	for uid := range changed {
		c.workers[uid].wake()
	}
	for uid, w := range c.workers {
		_, still := wanted[uid]
		if !still {
			w.stop()
			delete(c.workers, uid)
		}
	}
	if c.known() && c.ledger.AllKnown() {
		c.changed()
	}
	return nil
}

// verdict is what is known of who else may run on the granted CPUs; the zero Verdict where that cannot be known.
func (o *Options) verdict(pod types.UID, granted cpuset.Set) exclusive.Verdict {
	if o.Exclusive == nil {
		return exclusive.Verdict{}
	}
	return o.Exclusive(pod, granted)
}

func (c *Controller) known() bool { return c.Known == nil || c.Known() }

// guestPod is a pod with a guest to be kept pinned.
type guestPod struct {
	launcher.Launcher
	pod *corev1.Pod
}

// launchers are the pods whose guests are to be kept pinned, by UID.
func (c *Controller) launchers(grants map[types.UID]map[string]cpuset.Set) (map[types.UID]guestPod, error) {
	pods, err := c.Pods.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing pods of %s: %w", c.NodeName, err)
	}
	wanted := map[types.UID]guestPod{}
	if !c.known() && c.clock.Since(c.began) >= listPatience {
		c.addUnlisted(wanted, grants)
	}
	for _, pod := range pods {
		delete(wanted, pod.UID)
		if of, ok := launcher.Of(pod); ok && of.Dedicated && runs(pod, of.Compute) {
			wanted[pod.UID] = guestPod{of, pod}
		}
	}
	return wanted, nil
}

const (
	// computeContainer is KubeVirt's name of the container that runs the guest.
	computeContainer = "compute"
	// resync is the time between two syncs that nothing has asked for. All that a sync reads triggers one when it changes.
	resync = time.Minute
	// listPatience is how long an agent that has just started waits for the API server to list the pods.
	listPatience = 10 * time.Second
)

// addUnlisted adds the pods that hold CPUs for a guest by the kubelet's word, while the API server has not listed the
// pods. An agent that restarts while it is away goes on watching them. Nothing is known of them but the UID, so that a
// guest that nobody has pinned is left alone.
func (c *Controller) addUnlisted(wanted map[types.UID]guestPod, grants map[types.UID]map[string]cpuset.Set) {
	for uid, containers := range grants {
		if !containers[computeContainer].IsEmpty() {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}}
			vm := types.NamespacedName{Namespace: "(pod)", Name: string(uid)}
			wanted[uid] = guestPod{launcher.Launcher{VMI: vm, Dedicated: true, Compute: computeContainer}, pod}
		}
	}
}

// start begins to keep a guest pinned.
func (c *Controller) start(ctx context.Context, l guestPod, granted cpuset.Set) {
	logger := klog.FromContext(ctx).WithValues("pod", klog.KObj(l.pod), "vm", l.VMI.String())
	ctx, stop := context.WithCancel(klog.NewContext(ctx, logger))
	w := newWorker(c, l.pod, l.Launcher)
	w.stop = stop
	w.granted = granted
	c.workers[l.pod.UID] = w
	c.running.Go(func() {
		w.run(ctx)
		w.entry.Close()
		c.changed()
	})
}

// runs reports whether the guest's container runs. A pod that is being deleted still runs its guest, for
// as long as the guest takes to shut down.
func runs(pod *corev1.Pod, compute string) bool {
	if pod.Status.Phase != corev1.PodRunning {
		return false
	}
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		if status.Name == compute {
			return status.State.Running != nil
		}
	}
	return true
}
