// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"corepin.dev/corepin/pkg/vmi"
)

// vmiReader reads the VMIs behind launcher pods.
type vmiReader struct{ client dynamic.Interface }

// of gives the VMI that owns a launcher pod, in the version of the API that the pod's owner reference names; nil
// where none does or there is none any more. One at a time and by name, since the agent needs no more than those
// of its own node, and may do no more than get.
func (r vmiReader) of(ctx context.Context, pod *corev1.Pod) (*vmi.VMI, error) {
	for _, owner := range pod.OwnerReferences {
		group, err := schema.ParseGroupVersion(owner.APIVersion)
		if err != nil || owner.Kind != vmi.KindVMI || !strings.HasPrefix(owner.APIVersion, "kubevirt.io/") {
			continue
		}
		object, err := r.client.Resource(group.WithResource("virtualmachineinstances")).Namespace(pod.Namespace).
			Get(ctx, owner.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading VMI %s/%s: %w", pod.Namespace, owner.Name, err)
		}
		return vmi.FromUnstructured(object.Object)
	}
	return nil, nil
}

// nodeObject is the agent's Node, for events; nil before it is known.
func (a *agent) nodeObject() runtime.Object {
	node, err := a.informers.Node()
	if err != nil {
		return nil
	}
	return node
}
