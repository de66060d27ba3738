// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
)

// Object is a node's NodeCPU, decoded. Of the metadata it keeps the name and the resource version, which the informer's store
// needs.
type Object struct {
	metav1.ObjectMeta
	Report *nodereport.Report
}

// Decode reads a NodeCPU as the API server sent it. There is no error: a report that cannot be used says so. Nodes that are the
// same machine share its topology.
func Decode(object *unstructured.Unstructured) *Object {
	decoded := &Object{ObjectMeta: metav1.ObjectMeta{Name: object.GetName(), ResourceVersion: object.GetResourceVersion()}}
	decoded.Report = read(object)
	node := decoded.Report.Node
	if node != nil {
		node.Topology = shared.machine(node.Topology)
	}
	return decoded
}

func read(object *unstructured.Unstructured) *nodereport.Report {
	version := object.GetAPIVersion()
	if version != v1alpha1.GroupVersion.String() {
		return nodereport.Unusable(nodereport.Newer, fmt.Errorf("its version is %s, and this scheduler knows %s", version, v1alpha1.GroupVersion))
	}
	// Unknown fields of the metadata are those of a newer API server, and say nothing about CPUs.
	content := maps.Clone(object.Object)
	delete(content, "metadata")
	var nc v1alpha1.NodeCPU
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, &nc, true); err != nil {
		if runtime.IsStrictDecodingError(err) {
			return nodereport.Unusable(nodereport.Newer, err)
		}
		return nodereport.Unusable(nodereport.Unreadable, err)
	}
	nc.Name = object.GetName()
	nc.OwnerReferences = object.GetOwnerReferences()
	return nodereport.Read(&nc)
}
