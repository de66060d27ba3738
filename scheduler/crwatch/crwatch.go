// SPDX-License-Identifier: Apache-2.0

// Package crwatch watches a custom resource whose CRD may be missing.
//
// kube-scheduler waits for the first list of its own informers before it schedules anything; without the CRD that is for
// ever. A plain informer logs every failed try as an error. A Watch blocks nobody, and tries again with growing pauses of
// up to half a minute. It logs each cause once, with what to do about it. It calls its user back when the first list has come
// or has failed. So "not known yet" differs from "will not be known". Objects are decoded as they arrive, and
// only the decoded form is kept.
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

// firstListTimeout bounds the wait for the first list. A server that does not answer must not hold back anybody for ever.
const firstListTimeout = 10 * time.Second

// Watch is a resource and the callbacks of its user.
type Watch struct {
	// Resource is watched in all namespaces.
	Resource schema.GroupVersionResource
	// Missing is what an operator has to do if the API server does not know the resource.
	Missing string
	// Decode returns the form in which an object is kept. meta.Accessor must find the object's name, namespace and
	// resource version in it.
	Decode func(*unstructured.Unstructured) any
	// Handler is called with results of Decode, one call at a time.
	Handler cache.ResourceEventHandler
	// Failed is called once if the first list fails, takes longer than ten seconds, or does not begin because Run
	// returns an error. Listed is called once when the handler has been called for all of the first list. At least one
	// of the two is called unless ctx ends first.
	Failed, Listed func()

	logger klog.Logger
	failed chan struct{}
	// logged is the cause of failure that was logged last; nil after an object has come.
	logged atomic.Pointer[string]
}

// Run watches until ctx ends. It must be called once.
func (w *Watch) Run(ctx context.Context, client dynamic.Interface) error {
	w.logger = klog.FromContext(ctx)
	w.failed = make(chan struct{}, 1)
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

// register connects the watch to an informer.
func (w *Watch) register(informer cache.SharedIndexInformer) (cache.ResourceEventHandlerRegistration, error) {
	if err := informer.SetTransform(w.transform); err != nil {
		return nil, err
	}
	if err := informer.SetWatchErrorHandlerWithContext(w.logFailure); err != nil {
		return nil, err
	}
	return informer.AddEventHandler(w.Handler)
}

// settle waits until the objects are listed. If the first list fails or is late, it says so and waits on.
func (w *Watch) settle(ctx context.Context, registration cache.ResourceEventHandlerRegistration) {
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		cache.WaitForCacheSync(ctx.Done(), registration.HasSynced)
	}()
	late := time.NewTimer(firstListTimeout)
	defer late.Stop()
	select {
	case <-w.failed:
		w.Failed()
		<-listed
	case <-late.C:
		w.logger.Info("listing a custom resource takes long, continuing without it", "resource", w.Resource.GroupResource().String(), "waited", firstListTimeout)
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

// logFailure handles failed lists and watches. The informer itself would log each of them as an error.
func (w *Watch) logFailure(_ context.Context, _ *cache.Reflector, err error) {
	select {
	case w.failed <- struct{}{}:
	default:
	}
	resource := w.Resource.GroupResource().String()
	cause := string(apierrors.ReasonForError(err))
	next := "check the connection to the API server"
	switch {
	case apierrors.IsNotFound(err):
		next = w.Missing
	case apierrors.IsForbidden(err):
		next = "allow the scheduler's service account to list and watch " + resource
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		w.logger.V(4).Info("listing a custom resource again", "resource", resource, "err", err)
		return
	}
	before := w.logged.Swap(&cause)
	if before != nil && *before == cause {
		w.logger.V(4).Info("still cannot watch a custom resource", "resource", resource, "err", err)
		return
	}
	w.logger.Info("cannot watch a custom resource, trying again", "resource", resource, "err", err, "fix", next)
}

// transform decodes objects before the informer stores them. The informer may call it on its own results too.
func (w *Watch) transform(object any) (any, error) {
	raw, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	w.logged.Store(nil)
	return w.Decode(raw), nil
}
