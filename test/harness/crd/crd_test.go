// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"bytes"
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestDefinitions compares the manifest with what is known of KubeVirt's own: the versions, the stored one, and status as a
// subresource of all kinds but VirtualMachineInstance.
func TestDefinitions(t *testing.T) {
	documents := bytes.Split(KubeVirt, []byte("\n---\n"))
	versions := []string{"v1", "v1alpha3", "v1alpha2"}
	want := []struct {
		name     string
		versions []string // the first is stored
		status   bool
		scale    bool
	}{
		{"virtualmachineinstances.kubevirt.io", versions, false, false},
		{"virtualmachines.kubevirt.io", versions, true, false},
		{"virtualmachineinstancereplicasets.kubevirt.io", versions, true, true},
		{"virtualmachinepools.pool.kubevirt.io", []string{"v1beta1", "v1alpha1"}, true, true},
		{"virtualmachineinstancemigrations.kubevirt.io", versions, true, false},
	}
	if len(documents) != len(want) {
		t.Fatalf("got %d documents, want %d", len(documents), len(want))
	}
	for i, document := range documents {
		var definition apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(document, &definition); err != nil {
			t.Fatal(err)
		}
		if definition.Name != want[i].name || definition.Name != definition.Spec.Names.Plural+"."+definition.Spec.Group {
			t.Errorf("got definition %s, want %s", definition.Name, want[i].name)
		}
		var served []string
		for _, version := range definition.Spec.Versions {
			if version.Served {
				served = append(served, version.Name)
			}
			if version.Storage != (version.Name == want[i].versions[0]) {
				t.Errorf("%s %s: stored is %v", definition.Name, version.Name, version.Storage)
			}
			subresources := version.Subresources
			if subresources == nil {
				subresources = &apiextensionsv1.CustomResourceSubresources{}
			}
			if (subresources.Status != nil) != want[i].status || (subresources.Scale != nil) != want[i].scale {
				t.Errorf("%s %s: subresources %+v", definition.Name, version.Name, subresources)
			}
			for _, field := range []string{"spec", "status"} {
				if keep := version.Schema.OpenAPIV3Schema.Properties[field].XPreserveUnknownFields; keep == nil || !*keep {
					t.Errorf("%s %s: unknown fields in %s would be dropped", definition.Name, version.Name, field)
				}
			}
		}
		if !slices.Equal(served, want[i].versions) {
			t.Errorf("%s serves %v", definition.Name, served)
		}
	}
}
