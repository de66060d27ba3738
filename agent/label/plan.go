// SPDX-License-Identifier: Apache-2.0

package label

import (
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// plan is what an action comes to on a Node as it is.
type plan struct {
	// labels are all that the agent is to own.
	labels map[string]string
	// write reports whether it owns anything else now.
	write bool
	// conflicts are the labels that somebody else gave another value.
	conflicts []conflict
}

type conflict struct{ label, value, manager string }

// planFor plans an action; Leave plans nothing.
func planFor(node *corev1.Node, action Action, fieldManager string) plan {
	if action == Leave {
		return plan{}
	}
	p := plan{labels: map[string]string{}}
	if action == Set {
		for _, label := range []string{CPUManager, KubeVirtCPUManager} {
			if is, ok := node.Labels[label]; ok && is != value {
				p.conflicts = append(p.conflicts, conflict{label, is, managerOf(node, label, fieldManager)})
				continue
			}
			p.labels[label] = value
		}
	}
	owned := ownedLabels(node, fieldManager)
	for _, label := range owned {
		if label != CPUManager && label != KubeVirtCPUManager {
			p.labels[label] = node.Labels[label] // a newer agent's
		}
	}
	p.write = !slices.Equal(owned, slices.Sorted(maps.Keys(p.labels)))
	return p
}

// ownedLabels are the labels that a field manager owns by server-side apply, in order.
func ownedLabels(node *corev1.Node, fieldManager string) []string {
	var owned []string
	for _, entry := range node.ManagedFields {
		if entry.Manager == fieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" {
			owned = append(owned, labelsIn(entry)...)
		}
	}
	slices.Sort(owned)
	return owned
}

// managerOf is the field manager that a label belongs to, other than ours; "" where that is not recorded.
func managerOf(node *corev1.Node, label, ours string) string {
	for _, entry := range node.ManagedFields {
		if entry.Manager != ours && slices.Contains(labelsIn(entry), label) {
			return entry.Manager
		}
	}
	return ""
}

// labelsIn are the labels among the fields of an entry. The format is that of structured-merge-diff: each
// field's name after "f:".
func labelsIn(entry metav1.ManagedFieldsEntry) []string {
	var fields struct {
		Metadata struct {
			Labels map[string]json.RawMessage `json:"f:labels"`
		} `json:"f:metadata"`
	}
	if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
		return nil
	}
	var labels []string
	for name := range fields.Metadata.Labels {
		const prefix = "f:"
		if len(name) > len(prefix) && name[:len(prefix)] == prefix { // "." is the map itself
			labels = append(labels, name[len(prefix):])
		}
	}
	return labels
}
