// SPDX-License-Identifier: Apache-2.0

package wakeup

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Reaches reports whether the Node object allows a pod. It looks at labels, taints and amounts of the empty node. What
// other pods use is known to the scheduling cycle only.
func Reaches(logger klog.Logger, node *corev1.Node, pod *corev1.Pod) bool {
	return Admits(logger, nodeaffinity.GetRequiredNodeAffinity(pod), node, pod) && provides(node, pod)
}

// Admits reports whether labels and taints let a pod in that has that required node affinity. A cordoned node has a taint too.
func Admits(logger klog.Logger, required nodeaffinity.RequiredNodeAffinity, node *corev1.Node, pod *corev1.Pod) bool {
	matches, err := required.Match(node)
	if err != nil || !matches {
		return false
	}
	keepsOut := func(taint *corev1.Taint) bool {
		return taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute
	}
	_, untolerated := schedulinghelpers.FindMatchingUntoleratedTaint(logger, node.Spec.Taints, pod.Spec.Tolerations, keepsOut, true)
	return !untolerated
}

// provides reports whether the empty node has the memory, huge pages and ephemeral storage that a pod asks for. Extended
// resources are not checked: one that the node does not have may come from a DRA driver.
func provides(node *corev1.Node, pod *corev1.Pod) bool {
	for name, asked := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		checked := name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage ||
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		has := node.Status.Allocatable[name]
		if checked && asked.Cmp(has) > 0 {
			return false
		}
	}
	return true
}
