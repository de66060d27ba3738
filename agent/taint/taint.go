// SPDX-License-Identifier: Apache-2.0

// Package taint takes a startup taint away from a new node.
//
// A node pool's template may give new nodes a taint, so that nothing is scheduled there before somebody has prepared
// them. Autoscalers know such taints and leave them out of what they simulate. The agent takes one away, by its key, when the
// node's report is exact: from then on corepin-scheduler knows what the kubelet will do with a VM. It never puts a taint on a
// node, and touches no other.
package taint

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/loop"
)

// fold is how long further changes are waited for after the first.
const fold = 100 * time.Millisecond

// Nodes is what a Remover needs of the API server.
type Nodes interface {
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, options metav1.PatchOptions, subresources ...string) (*corev1.Node, error)
}

// Options are what a Remover works with.
type Options struct {
	// Key is the key of the taint; "" means that there is none to take away.
	Key          string
	FieldManager string
	Nodes        Nodes
	// Node is the agent's own Node; an error of NotFound where there is none (yet).
	Node func() (*corev1.Node, error)
	// Ready reports whether the API server has the node's report, and it is exact.
	Ready func() bool
	Clock clock.WithTicker
}

// Remover takes the taint away.
type Remover struct {
	*loop.Loop
	options Options
}

// New gives a Remover that has done nothing yet. Trigger it when Ready or the Node may have changed.
func New(options Options) *Remover {
	return &Remover{Loop: loop.New("startup taint", fold, options.Clock), options: options}
}

// Run works until ctx ends.
func (r *Remover) Run(ctx context.Context) error {
	r.Loop.Run(ctx, func(ctx context.Context, _ time.Time) error {
		if err := r.sync(ctx); err != nil {
			return fmt.Errorf("taking startup taint %s away: %w", r.options.Key, err)
		}
		return nil
	})
	return nil
}

func (r *Remover) sync(ctx context.Context) error {
	if r.options.Key == "" || !r.options.Ready() {
		return nil
	}
	node, err := r.options.Node()
	if apierrors.IsNotFound(err) {
		return nil // its coming triggers
	}
	if err != nil {
		return err
	}
	patch, err := without(node, r.options.Key)
	if patch == nil || err != nil {
		return err
	}
	if _, err := r.options.Nodes.Patch(ctx, node.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: r.options.FieldManager}); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("took the startup taint away: the node's report is exact", "node", node.Name, "taint", r.options.Key)
	return nil
}

// operation is one of a JSON patch.
type operation struct {
	Op    string         `json:"op"`
	Path  string         `json:"path"`
	Value []corev1.Taint `json:"value"`
}

// without is the patch that takes a taint off a Node, whatever its value and effect; nil where it has none. It fails if the
// taints have changed meanwhile, so that no taint of somebody else is lost.
func without(node *corev1.Node, key string) ([]byte, error) {
	rest := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(taint corev1.Taint) bool { return taint.Key == key })
	if len(rest) == len(node.Spec.Taints) {
		return nil, nil
	}
	const path = "/spec/taints"
	return json.Marshal([]operation{{"test", path, node.Spec.Taints}, {"replace", path, rest}})
}
