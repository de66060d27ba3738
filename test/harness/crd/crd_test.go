package crd

import (
	"bytes"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestDefinitions holds the manifest against what is known of KubeVirt's own: the versions clients
// use, v1 as the stored one, and status as a subresource of each.
func TestDefinitions(t *testing.T) {
	documents := bytes.Split(KubeVirt, []byte("\n---\n"))
	want := []string{"virtualmachineinstances.kubevirt.io", "virtualmachines.kubevirt.io"}
	if len(documents) != len(want) {
		t.Fatalf("got %d documents, want %d", len(documents), len(want))
	}
	for i, document := range documents {
		var definition apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(document, &definition); err != nil {
			t.Fatal(err)
		}
		if definition.Name != want[i] || definition.Name != definition.Spec.Names.Plural+"."+definition.Spec.Group {
			t.Errorf("got definition %s, want %s", definition.Name, want[i])
		}
		served := map[string]bool{}
		for _, version := range definition.Spec.Versions {
			served[version.Name] = version.Served
			if version.Storage != (version.Name == "v1") {
				t.Errorf("%s %s: stored is %v", definition.Name, version.Name, version.Storage)
			}
			if version.Subresources == nil || version.Subresources.Status == nil {
				t.Errorf("%s %s: status is no subresource", definition.Name, version.Name)
			}
			for _, field := range []string{"spec", "status"} {
				if keep := version.Schema.OpenAPIV3Schema.Properties[field].XPreserveUnknownFields; keep == nil || !*keep {
					t.Errorf("%s %s: unknown fields in %s would be dropped", definition.Name, version.Name, field)
				}
			}
		}
		if len(served) != 3 || !served["v1"] || !served["v1alpha3"] || !served["v1alpha2"] {
			t.Errorf("%s serves %v", definition.Name, served)
		}
	}
}
