// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/test/harness/await"
)

// Ref names one object.
type Ref struct {
	Resource  schema.GroupVersionResource
	Namespace string // "" = cluster-scoped
	Name      string
}

func (r Ref) String() string {
	if r.Namespace == "" {
		return fmt.Sprintf("%s %s", r.Resource.Resource, r.Name)
	}
	return fmt.Sprintf("%s %s/%s", r.Resource.Resource, r.Namespace, r.Name)
}

// WaitForObject waits until the object exists and check returns nil for it, and returns it. The
// error check returns says what is missing; when the limit is reached the error has it together with
// the object as it was seen last.
func (c *Cluster) WaitForObject(ctx context.Context, ref Ref, limit time.Duration, check func(*unstructured.Unstructured) error) (*unstructured.Unstructured, error) {
	var last *unstructured.Unstructured
	err := await.For(ctx, ref.String(), limit, func(ctx context.Context) error {
		object, err := c.object.Resource(ref.Resource).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		last = object
		return check(object)
	})
	if err == nil || last == nil {
		return last, err
	}
	last.SetManagedFields(nil)
	state, yamlErr := yaml.Marshal(last.Object)
	if yamlErr != nil {
		return nil, errors.Join(err, fmt.Errorf("encoding the object seen last: %w", yamlErr))
	}
	return nil, fmt.Errorf("%w; seen last:\n%s", err, state)
}

// WaitForGone waits until the object does not exist.
func (c *Cluster) WaitForGone(ctx context.Context, ref Ref, limit time.Duration) error {
	return await.For(ctx, "the end of "+ref.String(), limit, func(ctx context.Context) error {
		object, err := c.object.Resource(ref.Resource).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("still there, uid %s, finalizers %v, being deleted since %v", object.GetUID(), object.GetFinalizers(), object.GetDeletionTimestamp())
	})
}
