// Package crwatch watches a custom resource that may not be there.
//
// kube-scheduler's own informers wait for the first list before anything is scheduled at all, which
// for a resource without a CRD is for ever, and an informer alone logs every failed try as an error. A Watch
// blocks nobody, tries again with growing pauses of up to half a minute, says each cause once, with what to do
// about it, and tells its user when the first list has come, or has failed, so that what
// cannot be known yet is told from what will not be known. Objects are decoded as they arrive, and
// only what was decoded is kept.
package crwatch

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// patience is how long the first list may take: a server that does not answer at all must hold nobody back for
// ever.
const patience = 10 * time.Second

// Watch is what to watch and whom to tell.
type Watch struct {
	// Resource is watched in all namespaces.
	Resource schema.GroupVersionResource
	// Missing is what an operator is told to do where the API server does not know the resource.
	Missing string
	// Decode makes what is kept of an object as the API server sent it. It must keep the object's name,
	// namespace and resource version where meta.Accessor finds them.
	Decode func(*unstructured.Unstructured) any
	// Handler is called with what Decode made, one call at a time.
	Handler cache.ResourceEventHandler
	// Failed is called once, if the first list fails, takes longer than ten seconds, or is never begun because
	// Run ends with an error; Listed once, when the first list is there and the handler has been called for all
	// of it. So one of the two is called unless ctx ends before.
	Failed, Listed func()

	logger klog.Logger
	failed chan struct{}
	// told is the cause of failure last told; nil after an object has come.
	told atomic.Pointer[string]
}

// Run watches until ctx ends. It must be called once.
func (w *Watch) Run(ctx context.Context, client dynamic.Interface) error {
	w.logger, w.failed = klog.FromContext(ctx), make(chan struct{}, 1)
	informer := dynamicinformer.NewFilteredDynamicInformer(client, w.Resource, "", 0, cache.Indexers{}, nil).Informer()
	registration, err := w.register(informer)
	if err != nil {
		w.Failed()
		return fmt.Errorf("preparing the watch of %s: %w", w.Resource.GroupResource(), err)
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

// register hangs the watch into an informer.
func (w *Watch) register(informer cache.SharedIndexInformer) (cache.ResourceEventHandlerRegistration, error) {
	if err := informer.SetTransform(w.transform); err != nil {
		return nil, err
	}
	if err := informer.SetWatchErrorHandlerWithContext(w.tell); err != nil {
		return nil, err
	}
	return informer.AddEventHandler(w.Handler)
}

// settle waits until the objects are listed; if that fails at first, or does not come, it goes on waiting after
// saying so.
func (w *Watch) settle(ctx context.Context, registration cache.ResourceEventHandlerRegistration) {
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		cache.WaitForCacheSync(ctx.Done(), registration.HasSynced)
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-w.failed:
		w.Failed()
		<-listed
	case <-late.C:
		w.logger.Info("listing a custom resource takes long, going on without it", "resource", w.Resource.GroupResource().String(), "waited", patience)
		w.Failed()
		<-listed
	case <-listed:
	}
	if ctx.Err() != nil {
		return
	}
	w.logger.V(2).Info("listed a custom resource", "resource", w.Resource.GroupResource().String())
	w.Listed()
}

// tell is the informer's handler for failed lists and watches, which would log each of them as an error.
func (w *Watch) tell(_ context.Context, _ *cache.Reflector, err error) {
	select {
	case w.failed <- struct{}{}:
	default:
	}
	resource := w.Resource.GroupResource().String()
	cause, next := string(apierrors.ReasonForError(err)), "see that the API server can be reached"
	switch {
	case apierrors.IsNotFound(err):
		next = w.Missing
	case apierrors.IsForbidden(err):
		next = "allow the scheduler's service account to list and watch " + resource
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		w.logger.V(4).Info("listing a custom resource again", "resource", resource, "err", err)
		return
	}
	if told := w.told.Swap(&cause); told != nil && *told == cause {
		w.logger.V(4).Info("still cannot watch a custom resource", "resource", resource, "err", err)
		return
	}
	w.logger.Info("cannot watch a custom resource, trying again", "resource", resource, "err", err, "fix", next)
}

// transform decodes before the informer stores; the informer may call it on its own results too.
func (w *Watch) transform(object any) (any, error) {
	raw, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	w.told.Store(nil)
	return w.Decode(raw), nil
}
