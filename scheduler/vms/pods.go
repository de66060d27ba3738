// SPDX-License-Identifier: Apache-2.0

package vms

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"corepin.dev/corepin/pkg/launcher"
)

// podIndex is the name of the index over pods.
const podIndex = "corepin.dev/vmi"

// PodIndexers returns the index that PodsOf needs. It has to be added to the pod informer before that is started.
func PodIndexers() cache.Indexers { return cache.Indexers{podIndex: vmiOfPod} }

// PodsOf returns the launcher pods of a VMI, bound or not. The pods must not be changed.
func PodsOf(pods cache.Indexer, name types.NamespacedName) ([]*corev1.Pod, error) {
	objects, err := pods.ByIndex(podIndex, name.String())
	if err != nil {
		return nil, fmt.Errorf("finding the launcher pods of VMI %s: %w", name, err)
	}
	found := make([]*corev1.Pod, 0, len(objects))
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok {
			found = append(found, pod)
		}
	}
	return found, nil
}

// vmiOfPod is the index function. The informer calls it for every pod of the cluster, so it has to be cheap for pods
// that are no launcher pods.
func vmiOfPod(object any) ([]string, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	l, isLauncher := launcher.Of(pod)
	if !isLauncher || l.VMI.Name == "" {
		return nil, nil
	}
	return []string{l.VMI.String()}, nil
}
