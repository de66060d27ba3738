// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// watch calls changed at first, and then when a NodeCPU has changed since the call before. An interrupt ends it.
func (c connection) watch(ctx context.Context, changed func(ctx context.Context) error) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted(ctx)
	defer stop()
	return watchUntil(ctx, client.Resource(v1alpha1.Resource), changed)
}

// watchUntil watches until ctx ends. A watch that the API server ends, as it does after some minutes, is begun again. Where that
// fails, changed is called: it finds out whether the cluster can be read, and says so.
func watchUntil(ctx context.Context, reports dynamic.ResourceInterface, changed func(ctx context.Context) error) error {
	for first := true; ; first = false {
		events, err := begin(ctx, reports)
		switch {
		case err == nil:
			err = follow(ctx, events, changed)
		case !first:
			err = changed(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// begin watches the NodeCPUs from now on.
func begin(ctx context.Context, reports dynamic.ResourceInterface) (watch.Interface, error) {
	now, err := reports.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("listing NodeCPU objects (is corepin installed in the cluster?): %w%s", err, remedy(err))
	}
	events, err := reports.Watch(ctx, metav1.ListOptions{ResourceVersion: now.GetResourceVersion()})
	if err != nil {
		return nil, fmt.Errorf("watching NodeCPU objects: %w%s", err, remedy(err))
	}
	return events, nil
}

// follow calls changed until the watch ends, or with an error. Events that have come meanwhile are one change.
func follow(ctx context.Context, events watch.Interface, changed func(ctx context.Context) error) error {
	defer events.Stop()
	for {
		if err := changed(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-events.ResultChan():
			if !open || event.Type == watch.Error {
				return nil
			}
		}
		for more := true; more; {
			select {
			case event, open := <-events.ResultChan():
				if !open || event.Type == watch.Error {
					return nil
				}
			default:
				more = false
			}
		}
	}
}
