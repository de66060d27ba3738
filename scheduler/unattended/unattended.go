// SPDX-License-Identifier: Apache-2.0

// Package unattended tells pods that wait for a scheduler which does not come.
//
// A pod that names corepin's scheduler while nobody leads gets no event from anybody: kube-scheduler passes it over, and
// the replicas of corepin-scheduler wait for the Lease. The replicas can tell, though. Each watches all pods, whether it
// leads or not, so it costs nothing to see one that nobody looks at. The agents cannot. They watch the pods of their own
// node, and a pod that is on none is in no agent's watch. 15,000 agents that each list the pods without a node would cost
// more than the scheduler itself, and each would need the right to read every pod of the cluster.
//
// Nobody tells where no replica runs at all. Then kubectl corepin explain says so, which reads the Lease.
//
// Whether somebody leads is judged by what that one does, not by the Lease: the Lease may be held by kube-scheduler, which
// has no such profile, or by a replica that stands still. A pod is unattended if, for a minute, neither it nor any other
// pod with the same schedulerName was bound or got condition PodScheduled. So a long queue is no reason to tell.
package unattended

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/scheduler/minor"
)

const (
	// After is for how long nobody looks at a pod before it is told.
	After = time.Minute
	pace  = 5 * time.Second
	// maxEvents bounds the events of one look. The others are told at the next.
	maxEvents = 50

	// EventUnattended is the reason of the event.
	EventUnattended = "NoScheduler"
	controller      = "corepin.dev/scheduler"
)

// Watcher knows the pods that wait. All methods may be called from any goroutine.
type Watcher struct {
	clock clock.WithTicker
	after time.Duration

	mu       sync.Mutex
	profiles map[string]*profile // by schedulerName
}

type profile struct {
	// moved is when a pod with this schedulerName was last bound or tried; at first when the profile was added.
	moved   time.Time
	waiting map[types.UID]*waiting
}

type waiting struct {
	pod   *corev1.Pod
	since time.Time
	told  bool
}

// New gives a Watcher of no profile.
func New(clock clock.WithTicker, after time.Duration) *Watcher {
	return &Watcher{clock: clock, after: after, profiles: map[string]*profile{}}
}

// Add adds a profile by its schedulerName.
func (w *Watcher) Add(schedulerName string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.profiles[schedulerName] = &profile{moved: w.clock.Now(), waiting: map[types.UID]*waiting{}}
}

// Handler brings a pod informer's events into the Watcher.
func (w *Watcher) Handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { w.changed(nil, object) },
		UpdateFunc: w.changed,
		DeleteFunc: w.deleted,
	}
}

func (w *Watcher) changed(before, object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.profiles[pod.Spec.SchedulerName]
	if p == nil {
		return
	}
	if waits(pod) {
		if p.waiting[pod.UID] == nil {
			p.waiting[pod.UID] = &waiting{pod: pod, since: w.clock.Now()}
		}
		return
	}
	delete(p.waiting, pod.UID)
	was, existed := before.(*corev1.Pod)
	if attended(pod) && existed && !attended(was) {
		p.moved = w.clock.Now()
	}
}

func (w *Watcher) deleted(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.profiles[pod.Spec.SchedulerName]; p != nil {
		delete(p.waiting, pod.UID)
	}
}

// attended reports whether a scheduler has looked at a pod.
func attended(pod *corev1.Pod) bool {
	if pod.Spec.NodeName != "" {
		return true
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled {
			return true
		}
	}
	return false
}

// waits reports whether a scheduler would look at a pod at once. Pods with gates, claims or a group may be kept out of its
// queue for reasons of their own.
func waits(pod *corev1.Pod) bool {
	return !attended(pod) && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0 &&
		len(pod.Spec.ResourceClaims) == 0 && !minor.Grouped(pod)
}

// due gives the pods that nobody looks at and that were not told yet, and since when.
func (w *Watcher) due() map[*corev1.Pod]time.Time {
	now := w.clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[*corev1.Pod]time.Time{}
	for _, p := range w.profiles {
		if now.Sub(p.moved) < w.after {
			continue
		}
		for _, waiting := range p.waiting {
			if !waiting.told && now.Sub(waiting.since) >= w.after && len(all) < maxEvents {
				all[waiting.pod] = later(waiting.since, p.moved)
			}
		}
	}
	return all
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *Watcher) told(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.profiles[pod.Spec.SchedulerName]; p != nil && p.waiting[pod.UID] != nil {
		p.waiting[pod.UID].told = true
	}
}

// Run tells pods until ctx ends.
func (w *Watcher) Run(ctx context.Context, client kubernetes.Interface) {
	logger := klog.FromContext(ctx)
	ticker := w.clock.NewTicker(min(pace, w.after))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		for pod, since := range w.due() {
			event := w.eventOf(pod, since)
			_, err := client.EventsV1().Events(pod.Namespace).Create(ctx, event, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				logger.V(2).Info("telling a pod failed, trying again", "pod", klog.KObj(pod), "err", err)
				continue
			}
			logger.Info("nobody schedules a pod", "pod", klog.KObj(pod), "schedulerName", pod.Spec.SchedulerName, "since", since)
			w.told(pod)
		}
	}
}

// eventOf is the one event of a pod. Its name is made of the pod's UID, so that of several replicas one writes it.
func (w *Watcher) eventOf(pod *corev1.Pod, since time.Time) *eventsv1.Event {
	now := w.clock.Now()
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: pod.Namespace, Name: "unattended-" + string(pod.UID)},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: controller,
		ReportingInstance:   "corepin-scheduler",
		Action:              "Waiting",
		Reason:              EventUnattended,
		Type:                corev1.EventTypeWarning,
		Regarding: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		},
		Note: fmt.Sprintf("no scheduler has looked at this pod for %s, nor at any other with schedulerName %s: no corepin-scheduler leads, or the one that "+
			"leads has no profile of that name. Look at its Lease and its pods: kubectl get leases,pods -n corepin-system",
			now.Sub(since).Round(time.Second), pod.Spec.SchedulerName),
	}
}
