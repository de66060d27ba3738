// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

const (
	// outcomeTimeout is how long an API server that is away is asked for the outcome of a binding.
	outcomeTimeout = time.Minute
	outcomePeriod  = 200 * time.Millisecond
)

// Bind binds a pod as DefaultBinder does. After an error it asks the API server whether the pod is bound: the answer may have
// been lost, for example with the API server itself. kube-scheduler would take the pod for unbound, until its watch shows it,
// and bind another pod to the same place. The node's kubelet would then refuse one of the two.
//
// Before that it asks the view whether the pod's place still holds. Minutes may have passed since Filter, in which the pod waited
// for its volumes or its group, and others left the node or came to it. If the kubelet might refuse the pod now, it is not bound.
// kube-scheduler then unreserves it, and it is tried again. What it waited for is there by then.
//
// No pod is bound, whatever it asks for, when another scheduler may lead (package term).
//
// Bind is called where the profile names the plugin at extension point bind, too. Otherwise DefaultBinder comes first.
func (pl *DedicatedCPU) Bind(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodeName string) *fwk.Status {
	if err := pl.term.Check(); err != nil {
		return fwk.AsStatus(fmt.Errorf("not bound to node %s: %w", nodeName, err))
	}
	c := readCycle(state)
	if c == nil {
		return fwk.NewStatus(fwk.Skip)
	}
	if r := pl.judgeAgain(ctx, c, pod, nodeName); r != nil {
		refusals.WithLabelValues(r.label).Inc()
		pl.waker.RetryIn(pod.UID, changedRetry)
		return fwk.NewStatus(r.code, r.reason)
	}
	err := pl.bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: nodeName},
	})
	if err == nil {
		return nil
	}
	if !isBound(ctx, pl.client, pod, nodeName) {
		return fwk.AsStatus(err)
	}
	klog.FromContext(ctx).Info("a pod is bound although its binding ended with an error", "pod", klog.KObj(pod), "node", nodeName, "err", err)
	return nil
}

// changedRetry is when a pod is tried again that was not bound.
const changedRetry = time.Second

// judgeAgain says why a pod must not be bound any more that Filter has accepted by an exact prediction; nil if it may be.
func (pl *DedicatedCPU) judgeAgain(ctx context.Context, c *cycle, pod *corev1.Pod, nodeName string) *refusal {
	_, estimated := c.estimateOf(nodeName)
	node, err := pl.nodes.Get(nodeName)
	if estimated || err != nil { // without a Node the API server decides
		return nil
	}
	logger := klog.FromContext(ctx)
	bound := func() []*corev1.Pod {
		pods, err := podsOn(pl.podIndex, nodeName)
		if err != nil {
			logger.Error(err, "a pod is judged again beside those that this scheduler has bound, and no others", "pod", klog.KObj(pod), "node", nodeName)
		}
		return pods
	}
	v := pl.view.Binding(node, bound, pod.UID, c.Demand)
	if v == nil {
		return nil
	}
	logger.Info("a pod is not bound, as its node has changed and the kubelet might refuse it now", "pod", klog.KObj(pod), "node", nodeName,
		"state", v.State, "why", v.Why, "decision", v.Decision.String())
	return &refusedChanged
}

// nodeIndex is the name of the index over pods by node.
const nodeIndex = "corepin.dev/node"

// nodeIndexers returns the index that podsOn needs. It has to be added to the pod informer before that is started.
func nodeIndexers() cache.Indexers {
	return cache.Indexers{nodeIndex: func(object any) ([]string, error) {
		pod, ok := object.(*corev1.Pod)
		if !ok || pod.Spec.NodeName == "" {
			return nil, nil
		}
		return []string{pod.Spec.NodeName}, nil
	}}
}

// podsOn returns the pods that are bound to a node. They must not be changed.
func podsOn(pods cache.Indexer, nodeName string) ([]*corev1.Pod, error) {
	objects, err := pods.ByIndex(nodeIndex, nodeName)
	if err != nil {
		return nil, fmt.Errorf("finding the pods of node %s: %w", nodeName, err)
	}
	found := make([]*corev1.Pod, 0, len(objects))
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok {
			found = append(found, pod)
		}
	}
	return found, nil
}

// bindWith returns the call that binds, as in DefaultBinder (pkg/scheduler/framework/plugins/defaultbinder/default_binder.go,
// v1.36.3): through kube-scheduler's queue of API calls where it has one.
func bindWith(handle fwk.Handle) func(ctx context.Context, binding *corev1.Binding) error {
	return func(ctx context.Context, binding *corev1.Binding) error {
		calls := handle.APICacher()
		if calls == nil {
			return handle.ClientSet().CoreV1().Pods(binding.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
		}
		onFinish, err := calls.BindPod(binding)
		if err != nil {
			return err
		}
		return calls.WaitOnFinish(ctx, onFinish)
	}
}

// isBound reports whether the API server has bound a pod to a node. Errors other than that there is no such pod are taken for
// those of an API server that starts.
func isBound(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, nodeName string) bool {
	bound := false
	ctx, cancel := context.WithTimeout(ctx, outcomeTimeout)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, outcomePeriod, true, func(ctx context.Context) (done bool, err error) {
		now, err := client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, nil
		}
		bound = now.UID == pod.UID && now.Spec.NodeName == nodeName
		return true, nil
	})
	return err == nil && bound
}
