// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/kubelet/preemption"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/pkg/kubelet/predicates"
)

// fit asks the kubelet's admission handlers that come after the topology manager.
func fit(node *corev1.Node, others []*corev1.Pod, pod *corev1.Pod) (r predicates.Refusal, evicts bool) {
	room := &maker{CriticalPodAdmissionHandler: preemption.NewCriticalPodAdmissionHandler(
		func() []*corev1.Pod { return others },
		func(*corev1.Pod, bool, *int64, func(*corev1.PodStatus)) error { return nil },
		&record.FakeRecorder{})}
	handler := lifecycle.NewPredicateAdmitHandler(
		func(context.Context, bool) (*corev1.Node, error) { return node, nil }, room,
		func(*framework.NodeInfo, *lifecycle.PodAdmitAttributes) error { return nil })
	result := handler.Admit(context.Background(), &lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others, Operation: lifecycle.AddOperation})
	return predicates.Refusal{Reason: result.Reason, Message: result.Message}, room.made
}

// maker makes room as the kubelet does, and remembers that it has, or that it could not.
type maker struct {
	*preemption.CriticalPodAdmissionHandler
	made bool
}

func (m *maker) HandleAdmissionFailure(ctx context.Context, pod *corev1.Pod, why []lifecycle.PredicateFailureReason, operation lifecycle.Operation) ([]lifecycle.PredicateFailureReason, error) {
	left, err := m.CriticalPodAdmissionHandler.HandleAdmissionFailure(ctx, pod, why, operation)
	m.made = len(left) == 0
	return left, err
}
