// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// run runs every part until ctx ends or one fails, and waits for all of them.
func (a *agent) run(ctx context.Context) error {
	a.events.StartRecordingToSink(a.eventsSink)
	defer a.events.Shutdown()

	group, ctx := errgroup.WithContext(ctx)
	// What the loops find when they first look is then complete.
	kubelet := a.kubelet.Subscribe()
	host := a.host.Subscribe()
	a.kubelet.Refresh(ctx)
	a.host.Refresh(ctx)

	var watching sync.WaitGroup
	for name, informer := range a.informers.all() {
		watching.Go(func() { informer.RunWithContext(ctx) })
		group.Go(func() error {
			a.synced(ctx, name, informer)
			return nil
		})
	}
	watching.Go(func() { a.kubeVirt.run(ctx, a.labeller.Trigger) })
	group.Go(func() error {
		if cache.WaitForCacheSync(ctx.Done(), a.kubeVirt.definition.HasSynced) {
			a.labeller.Trigger() // that KubeVirt is not there is news as well
		}
		return nil
	})
	for _, part := range []component{a.kubelet, a.host, a.publisher, a.labeller, a.taint, a.exclusive, a.pinner, a.server} {
		group.Go(func() error { return part.Run(ctx) })
	}
	group.Go(func() error {
		return forward(ctx, kubelet, a.publisher.Trigger, a.labeller.Trigger, a.exclusive.Trigger, a.pinner.Trigger)
	})
	group.Go(func() error { return forward(ctx, host, a.publisher.Trigger, a.pinner.Trigger) })
	err := group.Wait()
	watching.Wait()
	return err
}

// synced triggers every loop once an informer knows what there is, nothing included: that there is no
// ConfigMap is no change, but news.
func (a *agent) synced(ctx context.Context, name string, informer cache.SharedIndexInformer) {
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return
	}
	klog.FromContext(ctx).V(2).Info("watching", "what", name)
	a.publisher.Trigger()
	a.labeller.Trigger()
	a.taint.Trigger()
	a.exclusive.Trigger()
	a.pinner.Trigger()
}

// forward passes each signal on until ctx ends.
func forward(ctx context.Context, from <-chan struct{}, to ...func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-from:
			for _, trigger := range to {
				trigger()
			}
		}
	}
}
