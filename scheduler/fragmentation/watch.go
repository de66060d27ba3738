// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/scheduler/nodes"
)

const (
	// pace is the time between two counts, and budget what one of them may take.
	pace   = time.Minute
	budget = time.Second
)

// Options are what a Watch works with.
type Options struct {
	// PoolLabel is the label of nodes whose values are the pools; "" for one pool.
	PoolLabel string
	// View has the nodes' reports.
	View *nodes.View
	// Nodes are kube-scheduler's, and PodsOn gives its pods on a node. They are not changed.
	Nodes  corelisters.NodeLister
	PodsOn func(node string) ([]*corev1.Pod, error)
	// Leads reports whether this process leads.
	Leads func() bool
	Clock clock.WithTicker
}

// Watch keeps the metrics. Its other methods may be called while Run runs, by any goroutine.
type Watch struct {
	options Options
	// queue has the nodes that have changed. It is empty until this process leads.
	queue workqueue.TypedInterface[string]
	leads atomic.Bool

	// The rest is only for Run.
	pools *pools
	// complete reports that every node has been counted once.
	complete  bool
	published map[string]bool
}

// New gives a Watch that does not run yet. The series of the pools that are always there are 0.
func New(options Options) *Watch {
	w := &Watch{options: options, queue: workqueue.NewTyped[string](), pools: newPools(options.PoolLabel)}
	w.published = publish(w.pools.sums(), map[string]bool{poolAll: true})
	return w
}

// Changed takes that a node's report has changed.
func (w *Watch) Changed(node string) {
	if node != "" && w.leads.Load() {
		w.queue.Add(node)
	}
}

// NodeHandler takes the events of a Node informer.
func (w *Watch) NodeHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: w.nodeChanged,
		UpdateFunc: func(before, after any) {
			was, ok := before.(*corev1.Node)
			is, okToo := after.(*corev1.Node)
			if !ok || !okToo || differ(was, is) {
				w.nodeChanged(after)
			}
		},
		DeleteFunc: w.nodeChanged,
	}
}

func (w *Watch) nodeChanged(object any) {
	name, err := cache.DeletionHandlingObjectToName(object)
	if err == nil {
		w.Changed(name.Name)
	}
}

// differ reports whether a node may take other VMs than before. Most updates of a Node are of its conditions.
func differ(before, after *corev1.Node) bool {
	return before.UID != after.UID || !maps.Equal(before.Labels, after.Labels) ||
		!equality.Semantic.DeepEqual(before.Spec, after.Spec) ||
		!equality.Semantic.DeepEqual(before.Status.Allocatable, after.Status.Allocatable) ||
		!equality.Semantic.DeepEqual(before.Status.Capacity, after.Status.Capacity) ||
		!equality.Semantic.DeepEqual(before.Status.NodeInfo, after.Status.NodeInfo)
}

// PodHandler takes the events of a pod informer.
func (w *Watch) PodHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: w.podChanged,
		UpdateFunc: func(before, after any) {
			was, ok := before.(*corev1.Pod)
			is, okToo := after.(*corev1.Pod)
			if !ok || !okToo || holdOther(was, is) {
				w.podChanged(after)
			}
		},
		DeleteFunc: w.podChanged,
	}
}

func (w *Watch) podChanged(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if ok {
		w.Changed(pod.Spec.NodeName)
	}
}

// holdOther reports whether a pod may hold something else than before: it was bound, or its amounts have changed, or its kubelet
// has given it others.
func holdOther(before, after *corev1.Pod) bool {
	return before.Spec.NodeName != after.Spec.NodeName || before.Generation != after.Generation || resizing(before) != resizing(after)
}

// resizing reports whether a pod's kubelet has not given it the amounts of its spec yet.
func resizing(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress
	})
}

// Run counts until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	defer w.queue.ShutDown()
	ticker := w.options.Clock.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			w.step(klog.FromContext(ctx))
		}
	}
}

// step counts the nodes that have changed.
func (w *Watch) step(logger klog.Logger) {
	if !w.options.View.Started() || !w.leading(logger) {
		return
	}
	began := w.options.Clock.Now()
	for range w.queue.Len() {
		if w.options.Clock.Since(began) >= budget {
			logger.V(2).Info("the time for counting room for VMs is over, the rest is counted in a minute", "nodes", w.queue.Len())
			break
		}
		name, _ := w.queue.Get()
		w.count(logger, name)
		w.queue.Done(name)
	}
	w.complete = w.complete || w.queue.Len() == 0
	if w.complete {
		w.published = publish(w.pools.sums(), w.published)
	}
}

// count counts one node.
func (w *Watch) count(logger klog.Logger, name string) {
	node, err := w.options.Nodes.Get(name)
	if apierrors.IsNotFound(err) {
		w.pools.remove(name)
		return
	}
	pods, errPods := w.options.PodsOn(name)
	if err != nil || errPods != nil {
		logger.V(2).Info("the room for VMs on a node stays as it was counted before", "node", name, "err", err, "errPods", errPods)
		return
	}
	w.pools.set(node, count(w.options.View, node, pods))
}

// leading reports whether this process leads. From when it does, changes are noted, and at first all nodes are.
func (w *Watch) leading(logger klog.Logger) bool {
	if w.leads.Load() {
		return true
	}
	if !w.options.Leads() {
		return false
	}
	w.leads.Store(true) // so that a node that comes after the list is noted
	all, err := w.options.Nodes.List(labels.Everything())
	if err != nil {
		logger.Error(err, "the room for VMs is not counted, trying again in a minute")
		w.leads.Store(false)
		return false
	}
	for _, node := range all {
		w.queue.Add(node.Name)
	}
	return true
}
