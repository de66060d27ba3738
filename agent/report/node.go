// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// kubeletLabels are the labels that a kubelet writes on its Node when it starts, whoever removed or changed them before
// (updateDefaultLabels, pkg/kubelet/kubelet_node_status.go, v1.36.3).
var kubeletLabels = []string{
	corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	corev1.LabelInstanceTypeStable, corev1.LabelInstanceType, corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
}

// mirrorAnnotation is on the API server's copy of a static pod (ConfigMirrorAnnotationKey, pkg/kubelet/types/constants.go).
const mirrorAnnotation = "kubernetes.io/config.mirror"

// refusedByNode is why a kubelet that starts would not admit a pod that runs, by the labels and taints that its Node has
// now; "" where it would. It reads both again for every pod (generalFilter, pkg/kubelet/lifecycle/predicate.go, v1.34 to
// v1.38.0-beta.0), though the scheduler promised that they are looked at once. A label that was taken away is the usual cause. It
// is not certain where the kubelet itself writes the label, since it does so while it starts.
func refusedByNode(pod *corev1.Pod, node *corev1.Node) (why string, certain bool) {
	if node == nil {
		node = &corev1.Node{}
	}
	matches, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	if !matches || err != nil { // the kubelet takes an affinity that it cannot read for one that does not match
		return unmatched(pod, node)
	}
	_, static := pod.Annotations[mirrorAnnotation]
	if static {
		return "", true
	}
	evicts := func(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }
	// Comparing tolerations are alpha in 1.36: by default, the kubelet does not know them.
	taint, found := schedulinghelpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, pod.Spec.Tolerations, evicts, false)
	if found {
		return fmt.Sprintf("TaintToleration: it does not tolerate taint %s of the node", taint.ToString()), true
	}
	return "", true
}

// unmatched says which of a pod's requirements the node's labels do not meet.
func unmatched(pod *corev1.Pod, node *corev1.Node) (why string, certain bool) {
	for _, key := range slices.Sorted(maps.Keys(pod.Spec.NodeSelector)) {
		want := pod.Spec.NodeSelector[key]
		is, there := node.Labels[key]
		if there && is == want {
			continue
		}
		has := "the node has no such label"
		if there {
			has = "the node has " + is
		}
		why = fmt.Sprintf("NodeAffinity: it selects %s=%s, and %s", key, want, has)
		return maybe(why, slices.Contains(kubeletLabels, key))
	}
	return maybe("NodeAffinity: its required node affinity does not match the node's labels", namesKubeletLabel(pod.Spec.Affinity))
}

// maybe is a reason that is not certain where the kubelet writes the label.
func maybe(why string, byKubelet bool) (string, bool) {
	if byKubelet {
		return why + "; the kubelet writes that label itself while it starts", false
	}
	return why, true
}

// namesKubeletLabel reports whether a required node affinity asks for a label that the kubelet itself writes.
func namesKubeletLabel(affinity *corev1.Affinity) bool {
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, expression := range term.MatchExpressions {
			if slices.Contains(kubeletLabels, expression.Key) {
				return true
			}
		}
	}
	return false
}
