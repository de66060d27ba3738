// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// errNewerReport says that a report was written by a newer agent.
var errNewerReport = errors.New("the report has fields that this agent does not know, so a newer agent wrote it and this one leaves it alone; update this agent, or delete the NodeCPU to go back for good")

// decode reads a report from the API. It fails with errNewerReport rather than lose a field.
func decode(object *unstructured.Unstructured) (*v1alpha1.NodeCPU, error) {
	// Unknown fields of the metadata come from a newer API server. The agent does not write them.
	content := maps.Clone(object.Object)
	delete(content, "metadata")
	data, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encoding the report: %w", err)
	}
	nc := &v1alpha1.NodeCPU{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(nc); err != nil {
		return nil, fmt.Errorf("%w (%w)", errNewerReport, err)
	}
	if nc.APIVersion != v1alpha1.GroupVersion.String() || nc.Kind != v1alpha1.Kind {
		return nil, fmt.Errorf("%w (it is a %s of %s)", errNewerReport, nc.Kind, nc.APIVersion)
	}
	nc.Name = object.GetName()
	nc.ResourceVersion = object.GetResourceVersion()
	nc.OwnerReferences = object.GetOwnerReferences()
	return nc, nil
}

// objectOf is what the agent applies to the object itself.
func objectOf(node *corev1.Node) *unstructured.Unstructured {
	object := newObject(node.Name)
	object.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Node", Name: node.Name, UID: node.UID,
	}})
	return object
}

// statusOf is what the agent applies to the status, over the given resource version and no other.
func statusOf(name, resourceVersion string, status *v1alpha1.NodeCPUStatus) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return nil, fmt.Errorf("encoding the report: %w", err)
	}
	object := newObject(name)
	object.SetResourceVersion(resourceVersion)
	object.Object["status"] = content
	return object, nil
}

func newObject(name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion(v1alpha1.GroupVersion.String())
	object.SetKind(v1alpha1.Kind)
	object.SetName(name)
	return object
}
