// SPDX-License-Identifier: Apache-2.0

package heard

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/scheduler/nodes"
)

// pace is the time between two Steps.
const pace = time.Second

// Options are what a Watch works with.
type Options struct {
	// After is for how long an agent's pod is unready before its node is silent.
	After time.Duration
	// View takes which nodes are silent.
	View *nodes.View
	// Changed is called with a node about which predictions have changed.
	Changed func(node string)
	// Pods and Nodes are kube-scheduler's.
	Pods  cache.SharedIndexInformer
	Nodes corelisters.NodeLister
	// Client writes condition Seen. Recorder writes events on Nodes.
	Client   dynamic.Interface
	Recorder events.EventRecorder
	Clock    clock.WithTicker
}

// Watch keeps a View informed of who is heard from, and says it in the reports.
type Watch struct {
	options Options
	tracker *Tracker
	writer  *writer
}

// New gives a Watch that does not run yet.
func New(options Options) (*Watch, error) {
	lister := corelisters.NewPodLister(options.Pods.GetIndexer())
	w := &Watch{options: options}
	w.tracker = NewTracker(options.After, func(name types.NamespacedName) *corev1.Pod {
		pod, err := lister.Pods(name.Namespace).Get(name.Name)
		if err != nil {
			return nil // a lister has no other error than NotFound
		}
		return pod
	})
	w.writer = newWriter(&options, w.tracker)
	changed := func(object any) {
		name, err := cache.DeletionHandlingObjectToName(object)
		if err != nil {
			return
		}
		node := w.tracker.PodChanged(types.NamespacedName{Namespace: name.Namespace, Name: name.Name}, options.Clock.Now())
		if node != "" {
			w.writer.look(node)
		}
	}
	_, err := options.Pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, object any) { changed(object) },
		DeleteFunc: changed,
	})
	return w, err
}

// Reported takes a node's report, after the View has it.
func (w *Watch) Reported(node, version string, report *nodereport.Report) {
	since, silent := w.tracker.Reported(node, version, report, w.options.Clock.Now())
	changed := false
	if silent {
		changed = w.options.View.Silence(node, since)
	} else {
		changed = w.options.View.Hear(node)
	}
	if changed {
		w.options.Changed(node)
	}
	w.writer.look(node)
}

// Deleted takes that a node's report is gone.
func (w *Watch) Deleted(node string) { w.tracker.Deleted(node) }

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	go w.writer.run(ctx)
	ticker := w.options.Clock.NewTicker(pace)
	defer ticker.Stop()
	began := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		listed := w.options.Pods.HasSynced()
		w.step(klog.FromContext(ctx), listed)
		if listed && !began {
			began = true
			for _, node := range w.tracker.All() {
				w.writer.look(node)
			}
		}
	}
}

func (w *Watch) step(logger klog.Logger, listed bool) {
	for _, turn := range w.tracker.Step(w.options.Clock.Now(), listed) {
		changed := false
		if turn.Silent {
			logger.Info("a node is not heard from, and is estimated from now on", "node", turn.Node, "since", turn.Since)
			changed = w.options.View.Silence(turn.Node, turn.Since)
		} else {
			logger.Info("a node is heard from again", "node", turn.Node)
			changed = w.options.View.Hear(turn.Node)
		}
		if changed {
			w.options.Changed(turn.Node)
		}
		w.writer.look(turn.Node)
	}
	silentNodes.Set(float64(w.tracker.Silent()))
}
