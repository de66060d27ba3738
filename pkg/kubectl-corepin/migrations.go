// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"corepin.dev/corepin/pkg/cli"
)

// migrations are KubeVirt's objects that ask for a live migration.
var migrations = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: cli.ResourceMigrations}

// createMigration creates one. An API server that does not know a field of it is to refuse it, and not to drop the field.
func (c connection) createMigration(ctx context.Context, object map[string]any) (map[string]any, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	migration := &unstructured.Unstructured{Object: object}
	options := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
	created, err := client.Resource(migrations).Namespace(migration.GetNamespace()).Create(ctx, migration, options)
	if err != nil {
		return nil, fmt.Errorf("creating a VirtualMachineInstanceMigration in namespace %s: %w%s", migration.GetNamespace(), err, remedyWith(err, rebalanceRole))
	}
	return created.Object, nil
}

func (c connection) migration(ctx context.Context, name types.NamespacedName) (map[string]any, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	found, err := client.Resource(migrations).Namespace(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("getting migration %s: %w%s", name, err, remedyWith(err, rebalanceRole))
	}
	return found.Object, nil
}

func (c connection) deleteMigration(ctx context.Context, name types.NamespacedName) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	err = client.Resource(migrations).Namespace(name.Namespace).Delete(ctx, name.Name, metav1.DeleteOptions{})
	if err != nil {
		return fmt.Errorf("deleting migration %s: %w%s", name, err, remedyWith(err, rebalanceRole))
	}
	return nil
}

// poll asks at once and then after each interval.
func poll(ctx context.Context, interval, timeout time.Duration, ask func(context.Context) (bool, error)) error {
	return wait.PollUntilContextTimeout(ctx, interval, timeout, true, ask)
}

// untilInterrupted gives a context that ends at the first interrupt. The second one ends the program.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	inner, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(inner, stop)
	return inner, stop
}
