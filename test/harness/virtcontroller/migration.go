// SPDX-License-Identifier: Apache-2.0

package virtcontroller

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/launcherpod"
)

// Migrations is the resource of what asks for a VM to move.
var Migrations = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstancemigrations"}

// preparingTarget is the phase of a migration whose target pod is ready. What follows is virt-handler's part.
const preparingTarget = "PreparingTarget"

// migrantOf is the name of the VMI that a migration moves.
func migrantOf(object metav1.Object) (types.NamespacedName, bool) {
	migration, ok := object.(*unstructured.Unstructured)
	if !ok {
		return types.NamespacedName{}, false
	}
	name, found, err := unstructured.NestedString(migration.Object, "spec", "vmiName")
	return types.NamespacedName{Namespace: migration.GetNamespace(), Name: name}, found && err == nil
}

// migrate makes the target pods of a VMI that runs in source, and says in the migrations how far they are.
func (c *controller) migrate(ctx context.Context, vmi *unstructured.Unstructured, source *corev1.Pod) error {
	var errs []error
	for _, item := range c.migrations.GetStore().List() {
		migration, ok := item.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("reading the cache: got a %T", item)
		}
		name, ok := migrantOf(migration)
		mine := ok && name.Namespace == vmi.GetNamespace() && name.Name == vmi.GetName()
		if mine && migration.GetDeletionTimestamp() == nil && !handedOver(migration) {
			errs = append(errs, c.moveTo(ctx, vmi, migration, source))
		}
	}
	return errors.Join(errs...)
}

// handedOver reports whether a migration is beyond what this stand-in does.
func handedOver(migration *unstructured.Unstructured) bool {
	phase := phaseOf(migration)
	return phase != "" && phase != Scheduling && phase != preparingTarget
}

// moveTo brings one migration's target pod and status to where they should be.
func (c *controller) moveTo(ctx context.Context, vmi, migration *unstructured.Unstructured, source *corev1.Pod) error {
	target, err := c.targetOf(ctx, migration)
	if err != nil {
		return err
	}
	if target == nil {
		target, err = c.createTarget(ctx, vmi, migration, source)
	}
	if err != nil {
		return err
	}
	if err := c.openReadinessGate(ctx, target); err != nil {
		return err
	}
	phase := Scheduling
	switch {
	case final(string(target.Status.Phase)):
		phase = Failed
	case containersReady(target):
		phase = preparingTarget
	}
	changed := migration.DeepCopy()
	changed.Object["status"] = map[string]any{"phase": phase}
	if reflect.DeepEqual(changed.Object["status"], migration.Object["status"]) {
		return nil
	}
	_, err = c.object.Resource(Migrations).Namespace(migration.GetNamespace()).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("updating the status of migration %s: %w", migration.GetName(), err)
	}
	return nil
}

// targetOf is the pod that a migration has made, nil for none. The API server is asked: the cache may not have it yet.
func (c *controller) targetOf(ctx context.Context, migration *unstructured.Unstructured) (*corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(migration.GetNamespace()).List(ctx, metav1.ListOptions{
		LabelSelector: launcherpod.MigrationLabel + "=" + string(migration.GetUID()),
	})
	if err != nil {
		return nil, fmt.Errorf("listing the target of migration %s: %w", migration.GetName(), err)
	}
	for i := range list.Items {
		if launcher.RoleOf(&list.Items[i]) == launcher.MigrationTarget {
			return &list.Items[i], nil
		}
	}
	return nil, nil
}

func (c *controller) createTarget(ctx context.Context, vmi, migration *unstructured.Unstructured, source *corev1.Pod) (*corev1.Pod, error) {
	node, err := c.client.CoreV1().Nodes().Get(ctx, source.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the node that VMI %s runs on: %w", vmi.GetName(), err)
	}
	selector, _, err := unstructured.NestedStringMap(migration.Object, "spec", "addedNodeSelector")
	if err != nil {
		return nil, fmt.Errorf("reading migration %s: %w", migration.GetName(), err)
	}
	of := launcherpod.Migration{Name: migration.GetName(), UID: migration.GetUID(), AddedNodeSelector: selector}
	pod, err := launcherpod.RenderTarget(vmi, of, node.Labels, source)
	if err != nil {
		return nil, err
	}
	made, err := c.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("creating the target pod of migration %s: %w", migration.GetName(), err)
	}
	return made, nil
}
