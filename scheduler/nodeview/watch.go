package nodeview

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/scheduler/crwatch"
)

// Events are what a caller of Run wants to be told; all must be set. The functions may be called at the same time.
type Events struct {
	// Changed is called when a node's report has changed in a way that predictions depend on, after the
	// view has it; not before Settled.
	Changed func(node string)
	// Compared is called before that, when the report shows what the kubelet did with pods that were Expected.
	Compared func(node string, with Comparison)
	// Settled is called once, when the reports have been listed for the first time or when that has failed
	// for the first time: no node is Starting any more.
	Settled func()
}

// Run keeps the view up to date until ctx ends. Where reports cannot be listed (no CRD, no permission,
// no connection) it says so once for each cause, and tries again with growing pauses of up to half a
// minute (package crwatch).
func (v *View) Run(ctx context.Context, client dynamic.Interface, events Events) error {
	v.began = time.Now()
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
			v.listed.Store(true)
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

// OnAdd is called by the informer for a report it had not.
func (h *handler) OnAdd(object any, _ bool) { h.OnUpdate(nil, object) }

// OnUpdate is called by the informer for a report that may have changed.
func (h *handler) OnUpdate(_, object any) {
	report, ok := object.(*Report)
	if !ok {
		return
	}
	changed, compared := h.view.Set(report)
	h.logger.V(4).Info("node report", "node", report.Name, "standing", report.standing, "why", report.why, "changed", changed)
	if compared.Pods > 0 {
		h.events.Compared(report.Name, compared)
	}
	// While the first list is being told, everybody waits for its end, when all are woken.
	if changed && h.view.Started() {
		h.events.Changed(report.Name)
	}
}

// OnDelete is called by the informer for a report that is gone.
func (h *handler) OnDelete(object any) {
	name, err := cache.DeletionHandlingObjectToName(object)
	if err == nil && h.view.Delete(name.Name) {
		h.logger.V(2).Info("node report deleted", "node", name.Name)
		h.events.Changed(name.Name)
	}
}
