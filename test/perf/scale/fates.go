// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"corepin.dev/corepin/test/harness/testbed"
)

// fates is what became of the VMs' pods, and when, as a watch saw it.
type fates struct {
	mu                   sync.Mutex
	created, bound, told map[string]time.Time // by pod
	// sample is one of the reasons that pods were told.
	sample string
}

func newFates() *fates {
	return &fates{created: map[string]time.Time{}, bound: map[string]time.Time{}, told: map[string]time.Time{}}
}

// watch follows the pods until ctx ends. It returns when it is watching.
func (f *fates) watch(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(testbed.VMNamespace))
	informer := factory.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    f.see,
		UpdateFunc: func(_, object any) { f.see(object) },
	})
	if err != nil {
		return fmt.Errorf("watching the VMs' pods: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("watching the VMs' pods: %w", ctx.Err())
	}
	return nil
}

func (f *fates) see(object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	note := func(when map[string]time.Time) {
		if when[pod.Name].IsZero() {
			when[pod.Name] = time.Now()
		}
	}
	note(f.created)
	if pod.Spec.NodeName != "" {
		note(f.bound)
		return
	}
	if reason := reasonOf(pod); reason != "" {
		f.sample = reason
		note(f.told)
	}
}

// reasonOf is what a pod that waits has been told.
func reasonOf(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return c.Message
		}
	}
	return ""
}

// reason is one of those that pods were told.
func (f *fates) reason() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sample
}

// count is how many pods there are, how many are bound, and how many are not and have been told why.
func (f *fates) count() (created, bound, told int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for pod := range f.told {
		if f.bound[pod].IsZero() {
			told++
		}
	}
	return len(f.created), len(f.bound), told
}

// waits are how long the pods waited until they were bound or told, in order, and when the last was.
func (f *fates) waits() (waits []time.Duration, last time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for pod, created := range f.created {
		at := f.bound[pod]
		told := f.told[pod]
		if at.IsZero() || !told.IsZero() && told.Before(at) {
			at = told
		}
		if at.IsZero() {
			continue
		}
		waits = append(waits, at.Sub(created))
		if at.After(last) {
			last = at
		}
	}
	slices.Sort(waits)
	return waits, last
}

// firstBound is when the first pod after a moment was bound; that moment where none was.
func (f *fates) firstBound(after time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := after
	for _, at := range f.bound {
		if at.After(after) && (first.Equal(after) || at.Before(first)) {
			first = at
		}
	}
	return first
}
