// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// writes writes statuses and removes pods beside the kubelet's loop, as the kubelet's status manager does
// (pkg/kubelet/status/status_manager.go, v1.36.3). So no pod waits for its admission because the API server is
// slow. A pod has one write at a time. Only the kubelet's loop calls the methods.
type writes struct {
	client  kubernetes.Interface
	answers chan answer
	running sync.WaitGroup
	pods    map[types.UID]bool // those with a write
}

// answer is what the API server says to a write.
type answer struct {
	base    *corev1.Pod // the copy that the write was made from
	written *corev1.Pod // nil after a removal, and where another copy is newer: the watch brings what follows
	err     error       // the write has to be tried again, and retryInterval has passed
}

func newWrites(client kubernetes.Interface) *writes {
	return &writes{client: client, answers: make(chan answer), pods: map[types.UID]bool{}}
}

// busy reports whether a write of the pod has not been answered yet.
func (w *writes) busy(uid types.UID) bool { return w.pods[uid] }

// done says that the loop has taken the answer.
func (w *writes) done(uid types.UID) { delete(w.pods, uid) }

// wait returns when no write is on its way. The context that they were begun with has ended before.
func (w *writes) wait() { w.running.Wait() }

// status writes a pod's status.
func (w *writes) status(ctx context.Context, base, updated *corev1.Pod) {
	w.begin(ctx, base, func() (*corev1.Pod, error) {
		return w.client.CoreV1().Pods(base.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	})
}

// remove removes a pod of which nothing is left.
func (w *writes) remove(ctx context.Context, base *corev1.Pod) {
	w.begin(ctx, base, func() (*corev1.Pod, error) {
		now, uid := int64(0), base.UID
		return nil, w.client.CoreV1().Pods(base.Namespace).Delete(ctx, base.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid},
		})
	})
}

func (w *writes) begin(ctx context.Context, base *corev1.Pod, write func() (*corev1.Pod, error)) {
	w.pods[base.UID] = true
	w.running.Go(func() {
		a := answer{base: base}
		a.written, a.err = write()
		if a.err != nil {
			a.written = nil
		}
		if apierrors.IsConflict(a.err) || apierrors.IsNotFound(a.err) {
			a.err = nil
		}
		if a.err != nil {
			select {
			case <-time.After(retryInterval):
			case <-ctx.Done():
			}
		}
		select {
		case w.answers <- a:
		case <-ctx.Done():
		}
	})
}
