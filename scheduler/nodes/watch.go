// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/scheduler/crwatch"
)

// Events are called by Run; all but Came and Gone must be set. They may be called at the same time.
type Events struct {
	// Reported is called when a node's report has changed something, after the view has it.
	Reported func(node string, change Change)
	// Changed is called after that, and when a report is deleted. frees is false if the report has nothing free that the one
	// before did not have. It is not called before Settled.
	Changed func(node string, frees bool)
	// Came is called with every report, after the view has it, and Gone when one is deleted. Both may be nil.
	Came func(node, version string, report *nodereport.Report)
	Gone func(node string)
	// Settled is called once, when the reports have been listed for the first time, or when that has failed for the first
	// time. From then on no node is in state Starting.
	Settled func()
}

// Run keeps the view up to date until ctx ends. Where reports cannot be listed (no CRD, no permission, no connection) it logs
// each cause once, and tries again with growing pauses of up to half a minute (package crwatch).
func (v *View) Run(ctx context.Context, client dynamic.Interface, events Events) error {
	settle := sync.OnceFunc(events.Settled)
	watch := crwatch.Watch{
		Resource: v1alpha1.Resource,
		Missing:  "apply the NodeCPU CRD from corepin's manifests",
		Decode:   func(object *unstructured.Unstructured) any { return Decode(object) },
		Handler:  &handler{view: v, events: events, logger: klog.FromContext(ctx)},
		Failed: func() {
			v.unlisted.Store(true)
			settle()
		},
		Listed: func() {
			v.list()
			settle()
		},
	}
	return watch.Run(ctx, client)
}

// handler brings the informer's events into the view.
type handler struct {
	view   *View
	events Events
	logger klog.Logger
}

// OnAdd is called by the informer for a report that it did not have.
func (h *handler) OnAdd(object any, _ bool) { h.OnUpdate(nil, object) }

// OnUpdate is called by the informer for a report that may have changed.
func (h *handler) OnUpdate(before, object any) {
	decoded, ok := object.(*Object)
	if !ok {
		return
	}
	was, known := before.(*Object)
	if known && was.ResourceVersion == decoded.ResourceVersion && was.Report.Same(decoded.Report) {
		return // the watch has begun anew, and nobody has written anything
	}
	change := h.view.Set(decoded.Name, decoded.Report)
	h.logger.V(4).Info("node report", "node", decoded.Name, "state", decoded.Report.State, "why", decoded.Report.Why, "changed", change.Changed)
	if change.Changed {
		h.events.Reported(decoded.Name, change)
		// During the first list all pods wait for its end. Then all of them are woken.
		if h.view.Started() {
			h.events.Changed(decoded.Name, decoded.Report.Frees(change.Before))
		}
	}
	if h.events.Came != nil {
		h.events.Came(decoded.Name, decoded.ResourceVersion, decoded.Report)
	}
}

// OnDelete is called by the informer for a report that is gone.
func (h *handler) OnDelete(object any) {
	name, err := cache.DeletionHandlingObjectToName(object)
	if err != nil {
		return
	}
	if h.view.Delete(name.Name) {
		h.logger.V(2).Info("node report deleted", "node", name.Name)
		h.events.Changed(name.Name, true)
	}
	if h.events.Gone != nil {
		h.events.Gone(name.Name)
	}
}
