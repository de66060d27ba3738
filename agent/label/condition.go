// SPDX-License-Identifier: Apache-2.0

package label

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Reasons of condition Labelled.
const (
	ReasonCPUManagerRuns    = "CPUManagerRuns"
	ReasonCPUManagerNot     = "CPUManagerDoesNotRun"
	ReasonGateOff           = "FeatureGateOff"
	ReasonSetOtherwise      = "SetOtherwise"
	ReasonLeftToKubeVirt    = "LeftToKubeVirt"
	ReasonKubeVirtDisagrees = "KubeVirtDisagrees"
)

// verdict is what was found out about a Node.
type verdict struct {
	gate, static Answer
	gateBy       string
	manager      string // ours
	action       Action
	kubevirt     bool
}

// condition is what the node's report says about the labels. It is nil where an answer is missing; then the last
// condition stays.
func condition(node *corev1.Node, v verdict, p plan) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionLabelled, Status: metav1.ConditionFalse}
	if v.labelledAfter(node, p) {
		c.Status = metav1.ConditionTrue
	}
	wrong := disagreements(node, v.static)
	switch {
	case v.static == Unknown && (v.kubevirt || v.gate == Yes), v.gate == Unknown && !v.kubevirt:
		return nil
	case v.kubevirt && wrong != "":
		c.Reason = ReasonKubeVirtDisagrees
		c.Message = fmt.Sprintf(
			"KubeVirt's virt-handler says %s, but whether the CPU manager runs with policy static here: %s; look into virt-handler's log, or set labels.overrideKubeVirt",
			wrong, v.static)
	case v.kubevirt:
		c.Reason = ReasonLeftToKubeVirt
		c.Message = "KubeVirt's virt-handler keeps the labels of this node"
	case v.gate == No:
		c.Reason = ReasonGateOff
		c.Message = "feature gate CPUManager is off by " + v.gateBy + "; labels that people set stay"
	case v.static == No:
		c.Reason = ReasonCPUManagerNot
		c.Message = "the kubelet's CPU manager does not run with policy static; labels that people set stay"
	case len(p.conflicts) > 0:
		var set []string
		for _, conflict := range p.conflicts {
			set = append(set, fmt.Sprintf("%s=%s was set by %s", conflict.label, conflict.value, conflict.by()))
		}
		c.Reason = ReasonSetOtherwise
		c.Message = strings.Join(set, ", ") + ", which is respected, although the CPU manager runs with policy static"
	default:
		c.Reason = ReasonCPUManagerRuns
		c.Message = "the CPU manager runs with policy static, and feature gate CPUManager is on by " + v.gateBy
	}
	return c
}

// labelledAfter reports whether the Node has both labels once the plan has been carried out.
func (v verdict) labelledAfter(node *corev1.Node, p plan) bool {
	for _, label := range []string{CPUManager, KubeVirtCPUManager} {
		is := node.Labels[label] == value
		if v.action == GiveUp {
			is = is && managerOf(node, label, v.manager) != ""
		}
		if !is && p.labels[label] != value {
			return false
		}
	}
	return true
}

// disagreements are the labels that say another thing than is so, in words.
func disagreements(node *corev1.Node, static Answer) string {
	var wrong []string
	for _, label := range []string{CPUManager, KubeVirtCPUManager} {
		if is, ok := node.Labels[label]; ok && (is == value) != (static == Yes) {
			wrong = append(wrong, label+"="+is)
		}
	}
	return strings.Join(wrong, ", ")
}
