// SPDX-License-Identifier: Apache-2.0

package label

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/klog/v2"
)

// AllNodes is what TakeBack needs of the API server.
type AllNodes interface {
	Nodes
	List(ctx context.Context, options metav1.ListOptions) (*corev1.NodeList, error)
}

// page is how many Nodes are read at a time.
const page = 500

// TakeBack gives up, on all Nodes, the labels that the agents have set, and returns on how many Nodes there were any. It
// is for removing corepin, and the agents must not run any more: they would set the labels again. The API server removes
// only what the field manager owns, so labels that a person or KubeVirt set stay. A Node that fails does not keep the
// others from being done.
func TakeBack(ctx context.Context, nodes AllNodes, fieldManager string) (int, error) {
	var failed []error
	done := 0
	options := metav1.ListOptions{Limit: page}
	for {
		list, err := nodes.List(ctx, options)
		if err != nil {
			return done, errors.Join(append(failed, fmt.Errorf("listing nodes: %w", err))...)
		}
		for i := range list.Items {
			node := &list.Items[i]
			plan := planFor(node, GiveUp, fieldManager)
			if !plan.write {
				continue
			}
			apply := applycorev1.Node(node.Name).WithUID(node.UID).WithLabels(plan.labels)
			if _, err := nodes.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: fieldManager}); err != nil {
				failed = append(failed, fmt.Errorf("taking back the labels of node %s: %w", node.Name, err))
				continue
			}
			done++
			klog.FromContext(ctx).Info("took back the labels that the agent had set", "node", node.Name)
		}
		options.Continue = list.Continue
		if options.Continue == "" {
			return done, errors.Join(failed...)
		}
	}
}
