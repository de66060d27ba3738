// SPDX-License-Identifier: Apache-2.0

package heard

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
)

// The reasons of condition Seen, and of the events on the Node.
const (
	ReasonHeard  = "AgentReady"
	ReasonSilent = "AgentNotReady"

	EventSilent = "NodeNotHeard"
	EventHeard  = "NodeHeard"
)

const (
	fieldManager = "corepin-scheduler"
	// writesPerSecond and writesAtOnce bound the writes: at the first start every report gets its condition, and a network
	// that fails can make thousands of nodes turn at once.
	writesPerSecond = 20
	writesAtOnce    = 100
	writeTimeout    = 10 * time.Second
)

// writer writes condition Seen where a report does not say what is so. It looks again after every report and turn, so
// what is written is what is so then. Every replica of the scheduler has one. Of two that see the same the second finds it
// written: a write is for one version of the report only.
type writer struct {
	options *Options
	tracker *Tracker
	queue   workqueue.TypedRateLimitingInterface[string]
	limit   flowcontrol.RateLimiter
}

func newWriter(options *Options, tracker *Tracker) *writer {
	return &writer{
		options: options, tracker: tracker,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
		limit: flowcontrol.NewTokenBucketRateLimiter(writesPerSecond, writesAtOnce),
	}
}

// look makes the writer look at a node's condition.
func (w *writer) look(node string) {
	if _, due := w.tracker.Due(node); due {
		w.queue.Add(node)
	}
}

func (w *writer) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, w.queue.ShutDown)
	defer stop()
	for {
		node, ended := w.queue.Get()
		if ended {
			return
		}
		err := w.write(ctx, node)
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("writing condition Seen failed, trying again", "node", node, "err", err)
			w.queue.AddRateLimited(node)
		} else {
			w.queue.Forget(node)
		}
		w.queue.Done(node)
	}
}

func (w *writer) write(ctx context.Context, node string) error {
	if _, due := w.tracker.Due(node); !due {
		return nil
	}
	if err := w.limit.Wait(ctx); err != nil {
		return err
	}
	due, ok := w.tracker.Due(node) // as it is after the wait
	if !ok {
		return nil
	}
	condition := due.condition(w.options.Clock.Now())
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err := w.options.Client.Resource(v1alpha1.Resource).ApplyStatus(ctx, node, objectOf(node, due.Version, condition),
		metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil // the report has changed since, and its event comes
	case err != nil:
		return fmt.Errorf("writing condition Seen of NodeCPU %s: %w", node, err)
	}
	w.tell(node, &due, condition)
	return nil
}

// tell writes an event on the Node. The first condition that a report gets is no news, unless it is bad.
func (w *writer) tell(name string, due *Condition, condition metav1.Condition) {
	node, err := w.options.Nodes.Get(name)
	if err != nil || due.Seen && due.Before == "" {
		return
	}
	kind := corev1.EventTypeWarning
	reason := EventSilent
	if due.Seen {
		kind = corev1.EventTypeNormal
		reason = EventHeard
	}
	w.options.Recorder.Eventf(node, nil, kind, reason, "Watching", "%s", condition.Message)
}

// condition is what is written. A silent node's condition has changed when the node was last heard from.
func (c *Condition) condition(now time.Time) metav1.Condition {
	if c.Seen {
		return metav1.Condition{
			Type: v1alpha1.ConditionSeen, Status: metav1.ConditionTrue, Reason: ReasonHeard,
			Message:            "the agent's pod is ready, so the report is current",
			LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
		}
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionSeen, Status: metav1.ConditionFalse, Reason: ReasonSilent,
		Message: fmt.Sprintf("%s, so this report is of then: the agent's pod is not ready or gone, or the node is cut off; "+
			"VMs go to other nodes first, and to this one by a count of free CPUs only", nodereport.NotHeard(c.Since)),
		LastTransitionTime: metav1.NewTime(c.Since).Rfc3339Copy(),
	}
}

func objectOf(node, version string, c metav1.Condition) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"status": map[string]any{"conditions": []any{map[string]any{
			"type": c.Type, "status": string(c.Status), "reason": c.Reason, "message": c.Message,
			"lastTransitionTime": nodereport.Moment(c.LastTransitionTime.Time),
		}}},
	}}
	object.SetAPIVersion(v1alpha1.GroupVersion.String())
	object.SetKind(v1alpha1.Kind)
	object.SetName(node)
	object.SetResourceVersion(version)
	return object
}
