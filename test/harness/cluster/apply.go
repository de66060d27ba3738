// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/test/harness/await"
)

const (
	// setupManager is the field manager of what a test sets up.
	setupManager = "corepin-setup"
	// applyDeadline is for one object: a new CRD takes a second or two to be served.
	applyDeadline = 30 * time.Second
)

// ApplyKustomization builds the kustomization in dir and applies what it gives.
func (c *Cluster) ApplyKustomization(ctx context.Context, dir string) error {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return fmt.Errorf("building the kustomization %s: %w", dir, err)
	}
	data, err := resources.AsYaml()
	if err != nil {
		return fmt.Errorf("building the kustomization %s: %w", dir, err)
	}
	return c.Apply(ctx, data)
}

// Apply applies the objects of a YAML or JSON stream, on the server, as the admin. Namespaces and
// CRDs go first, whatever the order in the stream. An object whose kind or namespace is not served
// yet is tried again until a deadline; any other refusal is an error at once, and the objects after
// it are not applied.
func (c *Cluster) Apply(ctx context.Context, data []byte) error {
	objects, err := Decode(data)
	if err != nil {
		return err
	}
	return c.ApplyObjects(ctx, objects)
}

// ApplyObjects is Apply for objects that were decoded, in the order in which they are to be applied.
func (c *Cluster) ApplyObjects(ctx context.Context, objects []*unstructured.Unstructured) error {
	objects = slices.Clone(objects)
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return applyRank(a) - applyRank(b) })
	for _, object := range objects {
		var refused error
		err := await.For(ctx, "its kind and namespace", applyDeadline, func(ctx context.Context) error {
			err := c.applyOne(ctx, object)
			if err == nil || retriable(err) {
				return err
			}
			refused = err

			return nil
		})
		if err = cmp.Or(refused, err); err != nil {
			return fmt.Errorf("applying %s: %w", describe(object), err)
		}
	}
	return nil
}

func applyRank(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case "Namespace", "CustomResourceDefinition":
		return 0
	default:
		return 1
	}
}

func (c *Cluster) applyOne(ctx context.Context, object *unstructured.Unstructured) error {
	client, err := c.resource(object)
	if err != nil {
		return err
	}
	_, err = client.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: setupManager, Force: true})
	return err
}

// resource is the client for the object's kind and namespace. A kind that is unknown may be one
// that was just defined, so discovery is asked again.
func (c *Cluster) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.object.Resource(mapping.Resource), nil
	}
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return c.object.Resource(mapping.Resource).Namespace(namespace), nil
}

// retriable reports whether the error may go away while definitions and namespaces settle. NotFound
// from an apply, which creates, means that its kind or its namespace is not there.
func retriable(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err)
}

// Decode splits a stream into objects; lists become their items.
func Decode(data []byte) ([]*unstructured.Unstructured, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	var objects []*unstructured.Unstructured
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading document %d of the manifest: %w", number, err)
		}
		var content map[string]any
		if err := yaml.Unmarshal(document, &content); err != nil {
			return nil, fmt.Errorf("reading document %d of the manifest: %w", number, err)
		}
		if len(content) == 0 {
			continue // comments only
		}
		object := &unstructured.Unstructured{Object: content}
		if !object.IsList() {
			objects = append(objects, object)
			continue
		}
		list, err := object.ToList()
		if err != nil {
			return nil, fmt.Errorf("reading the list in document %d of the manifest: %w", number, err)
		}
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	}
}

// describe names an object for people: "DaemonSet corepin-system/corepin-agent".
func describe(object *unstructured.Unstructured) string {
	if namespace := object.GetNamespace(); namespace != "" {
		return fmt.Sprintf("%s %s/%s", object.GetKind(), namespace, object.GetName())
	}
	return fmt.Sprintf("%s %s", object.GetKind(), object.GetName())
}
