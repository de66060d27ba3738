package pinning

import (
	"context"
	"errors"
	"fmt"
	"sync"

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
	// Node refers to this node, nil before it is known.
	Node func() runtime.Object
	// Known tells whether Pods lists all there are yet; missing means that it does.
	Known func() bool
	// Changed is called when Pins or Condition may give something else than before. It must not block.
	Changed func()
}

// Controller keeps one worker for each running launcher pod of a dedicated VM.
type Controller struct {
	Options
	clock   clock.WithTicker
	trigger chan struct{}
	workers map[types.UID]*worker // Run's goroutine only
	running sync.WaitGroup
	book    *book
}

// New returns a Controller that does nothing until Run.
func New(o Options) *Controller {
	registerMetrics()
	return &Controller{
		Options: o,
		clock:   clock.RealClock{},
		trigger: make(chan struct{}, 1),
		workers: map[types.UID]*worker{},
		book:    newBook(),
	}
}

// Pins gives, by pod UID, where the threads of each guest were found pinned at the last look, as
// placement.Pins.Text gives it; nil before every guest has been looked at once. It may be called at any time, by
// many goroutines.
func (c *Controller) Pins() map[types.UID]string { return c.book.pins() }

// Condition is condition Drifted of the node, without its time; nil before every guest has been looked at once.
// It may be called at any time, by many goroutines.
func (c *Controller) Condition() *metav1.Condition { return c.book.condition() }

// Trigger tells that pods or grants may have changed. It never blocks; several triggers may become one
// look.
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

	ticker := c.clock.NewTicker(c.Config.VerifyPeriod.Duration)
	defer ticker.Stop()
	for {
		if err := c.sync(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.trigger:
		case <-ticker.C():
		}
	}
}

// sync gives every guest to be kept pinned a worker, stops the others and wakes those whose grant changed.
func (c *Controller) sync(ctx context.Context) error {
	pods, err := c.Pods.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing pods of %s: %w", c.NodeName, err)
	}
	grants, _ := c.Granted()
	wanted, changed := map[types.UID]bool{}, map[types.UID]cpuset.Set{}
	for _, pod := range pods {
		of, ok := launcher.Of(pod)
		if !ok || !of.Dedicated || !runs(pod, of.Compute) {
			continue
		}
		wanted[pod.UID] = true
		granted := grants[pod.UID][of.Compute]
		w := c.workers[pod.UID]
		switch {
		case w == nil:
			c.start(ctx, pod, of, granted)
		case w.granted != granted:
			w.granted, changed[pod.UID] = granted, granted
		}
	}
	c.book.regrant(changed)
	for uid := range changed {
		c.workers[uid].wake()
	}
	for uid, w := range c.workers {
		if !wanted[uid] {
			w.stop()
			delete(c.workers, uid)
		}
	}
	if (c.Known == nil || c.Known()) && c.book.all() {
		c.changed()
	}
	return nil
}

func (c *Controller) start(ctx context.Context, pod *corev1.Pod, of launcher.Launcher, granted cpuset.Set) {
	logger := klog.FromContext(ctx).WithValues("pod", klog.KObj(pod), "vm", of.VMI.String())
	ctx, stop := context.WithCancel(klog.NewContext(ctx, logger))
	w := newWorker(c, pod, of)
	w.stop, w.granted = stop, granted
	c.workers[pod.UID] = w
	c.book.expect(pod.UID)
	c.running.Go(func() {
		w.run(ctx)
		c.book.drop(pod.UID)
		c.changed()
	})
}

func (c *Controller) changed() {
	if c.Changed != nil {
		c.Changed()
	}
}

// runs tells whether the guest's container runs. A pod that is being deleted still runs its guest, for
// as long as the guest takes to shut down.
func runs(pod *corev1.Pod, compute string) bool {
	if pod.Status.Phase != corev1.PodRunning {
		return false
	}
	for i := range pod.Status.ContainerStatuses {
		if status := &pod.Status.ContainerStatuses[i]; status.Name == compute {
			return status.State.Running != nil
		}
	}
	return true
}
