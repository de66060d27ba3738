// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// TestOldestFormat: the fields of format 1 are those of its CustomResourceDefinition. A scheduler of that time takes a report
// with any other field, or with a higher format, for a newer one, and counts on that node. So a node without devices of
// NUMA nodes and without huge pages has a report with the fields of format 1 only.
func TestOldestFormat(t *testing.T) {
	schema := formatOne(t)
	withPages := func(pages int64) func(*Facts) {
		return func(f *Facts) {
			sizes := map[string]hostcpu.HugePages{"hugepages-1Gi": {Size: 1 << 30, Pages: pages, Free: pages}}
			f.Memory = known(map[int32]hostcpu.NodeMemory{0: {Total: 1 << 36, HugePages: sizes}, 1: {Total: 1 << 36}})
		}
	}
	for name, tc := range map[string]struct {
		change func(*Facts)
		format int32
		newer  string // the fields that format 1 does not have
	}{
		"CPUs alone":                       {func(*Facts) {}, 1, "[]"},
		"devices without NUMA nodes":       {func(f *Facts) { f.Kubelet.Served = known(map[string][]kubelet.Device{"devices.kubevirt.io/kvm": nil}) }, 1, "[]"},
		"devices that nobody could read":   {func(f *Facts) { fail(&f.Kubelet.Devices, "no such file") }, 1, "[]"},
		"the memory manager's state":       {withMemoryState, 1, "[]"},
		"no huge pages":                    {withPages(0), 1, "[]"},
		"huge pages":                       {withPages(4), 2, "[status.numaNodes.hugePages]"},
		"a device with a NUMA node":        {withOneDevice, 2, "[status.devices]"},
		"memory that is not known":         {func(f *Facts) { withMemoryState(f); fail(&f.Kubelet.Memory, "no such file") }, 2, "[status.memoryManager.unknown]"},
		"a device, with policy none":       {func(f *Facts) { withOneDevice(f); f.Kubelet.File.Value.TopologyManagerPolicy = "none" }, 1, "[]"},
		"memory unknown under policy None": {func(f *Facts) { fail(&f.Kubelet.Memory, "no such file") }, 1, "[]"},
	} {
		f := withDevices(nil, 0)
		tc.change(&f)
		s := Build(f, v1alpha1.NodeCPUStatus{Generation: 1}, noon)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var content map[string]any
		if err := json.Unmarshal(text, &content); err != nil {
			t.Fatal(err)
		}
		newer := map[string]bool{}
		beyond(content, schema.Properties["status"], "status", newer)
		if got := fmt.Sprint(slices.Sorted(maps.Keys(newer))); s.Format != tc.format || got != tc.newer {
			t.Errorf("%s: format %d with fields %s, want %d with %s", name, s.Format, got, tc.format, tc.newer)
		}
	}
}

func withOneDevice(f *Facts) {
	one := withDevices(devicesAt("1", 0), 0)
	f.Kubelet.Served = one.Kubelet.Served
	f.Kubelet.Devices = one.Kubelet.Devices
	f.Node = &corev1.Node{Status: corev1.NodeStatus{Capacity: one.Node.Status.Capacity, Allocatable: one.Node.Status.Allocatable}}
}

func withMemoryState(f *Facts) {
	f.Kubelet.File.Value.MemoryManagerPolicy = "Static"
	resources := map[string]kubelet.MemoryResource{"memory": {Total: 4096, Allocatable: 4096, Free: 4096}}
	f.Kubelet.Memory = known(kubelet.Memory{Policy: "Static", NUMANodes: map[int32]kubelet.NUMAMemory{
		0: {Resources: resources, Group: []int32{0}}, 1: {Resources: resources, Group: []int32{1}},
	}})
}

// formatOne is the schema of format 1, as its last release had it.
func formatOne(t *testing.T) apiextensionsv1.JSONSchemaProps {
	t.Helper()
	text, err := os.ReadFile("testdata/format1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		t.Fatal(err)
	}
	return *crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// beyond collects the fields of a value that its schema does not have.
func beyond(value any, schema apiextensionsv1.JSONSchemaProps, path string, found map[string]bool) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			beyond(item, *schema.Items.Schema, path, found)
		}
	case map[string]any:
		for name, member := range value {
			property, known := schema.Properties[name]
			if schema.AdditionalProperties != nil {
				property = *schema.AdditionalProperties.Schema
				known = true
			}
			if !known {
				found[path+"."+name] = true
				continue
			}
			beyond(member, property, path+"."+name, found)
		}
	}
}
