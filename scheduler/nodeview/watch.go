package nodeview

import (
	"context"
	"fmt"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Events are what a caller of Run wants to be told. The two functions may be called at the same time.
type Events struct {
	// Changed is called when a node's report has changed in a way that predictions depend on, after the
	// view has it.
	Changed func(node string)
	// Settled is called once, when the reports have been listed for the first time or when that has failed
	// for the first time: no node is Starting any more.
	Settled func()
}

// Run keeps the view up to date until ctx ends. Where reports cannot be listed (no CRD, no permission,
// no connection) it says so once for each cause, and tries again with growing pauses of up to half a
// minute.
func (v *View) Run(ctx context.Context, client dynamic.Interface, events Events) error {
	informer := dynamicinformer.NewFilteredDynamicInformer(client, v1alpha1.Resource, "", 0, cache.Indexers{}, nil).Informer()
	if err := informer.SetTransform(transform); err != nil {
		return fmt.Errorf("preparing the watch of node reports: %w", err)
	}
	w := &watch{view: v, events: events, logger: klog.FromContext(ctx), failed: make(chan struct{}, 1)}
	if err := informer.SetWatchErrorHandlerWithContext(w.tell); err != nil {
		return fmt.Errorf("preparing the watch of node reports: %w", err)
	}
	registration, err := informer.AddEventHandler(w)
	if err != nil {
		return fmt.Errorf("preparing the watch of node reports: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	w.settle(ctx, registration)
	<-done
	return nil
}

// watch is one run of a view: it brings the informer's events into the view.
type watch struct {
	view   *View
	events Events
	logger klog.Logger
	// failed gets one element when listing fails.
	failed chan struct{}
	// told is the cause of failure last told; nil after a report has come.
	told atomic.Pointer[string]
}

// settle waits until the reports are listed; if that fails at first, it goes on waiting after saying so.
func (w *watch) settle(ctx context.Context, registration cache.ResourceEventHandlerRegistration) {
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		cache.WaitForCacheSync(ctx.Done(), registration.HasSynced)
	}()
	select {
	case <-w.failed:
		w.view.unlisted.Store(true)
		w.events.Settled()
		<-listed
	case <-listed:
	}
	if ctx.Err() != nil {
		return
	}
	w.view.listed.Store(true)
	w.logger.V(2).Info("listed the node reports")
	if !w.view.unlisted.Load() {
		w.events.Settled()
	}
}

// tell is the informer's handler for failed lists and watches, which would log each of them as an error.
func (w *watch) tell(_ context.Context, _ *cache.Reflector, err error) {
	select {
	case w.failed <- struct{}{}:
	default:
	}
	cause, next := string(apierrors.ReasonForError(err)), "see that the API server can be reached"
	switch {
	case apierrors.IsNotFound(err):
		next = "apply the NodeCPU CRD from corepin's manifests"
	case apierrors.IsForbidden(err):
		next = "allow the scheduler's service account to list and watch nodecpus.corepin.dev"
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		w.logger.V(4).Info("listing the node reports again", "err", err)
		return
	}
	if told := w.told.Swap(&cause); told != nil && *told == cause {
		w.logger.V(4).Info("still cannot watch the node reports", "err", err)
		return
	}
	w.logger.Info("cannot watch the node reports, trying again", "err", err, "fix", next)
}

// OnAdd is called by the informer for a report it had not.
func (w *watch) OnAdd(object any, _ bool) { w.OnUpdate(nil, object) }

// OnUpdate is called by the informer for a report that may have changed.
func (w *watch) OnUpdate(_, object any) {
	report, ok := object.(*Report)
	if !ok {
		return
	}
	w.told.Store(nil)
	changed := w.view.Set(report)
	w.logger.V(4).Info("node report", "node", report.Name, "standing", report.standing, "why", report.why, "changed", changed)
	if changed {
		w.events.Changed(report.Name)
	}
}

// OnDelete is called by the informer for a report that is gone.
func (w *watch) OnDelete(object any) {
	name, err := cache.DeletionHandlingObjectToName(object)
	if err == nil && w.view.Delete(name.Name) {
		w.logger.V(2).Info("node report deleted", "node", name.Name)
		w.events.Changed(name.Name)
	}
}

// transform makes a Report of what the API server sent, before the informer stores it; the informer may
// call it on its own results too.
func transform(object any) (any, error) {
	if raw, ok := object.(*unstructured.Unstructured); ok {
		return Decode(raw), nil
	}
	return object, nil
}
