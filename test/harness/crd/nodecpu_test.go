// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// The largest machine that there is: 1,792 CPUs, and 64 NUMA nodes of which 34 have no CPUs.
const (
	mostCPUs      = 1792
	mostNUMANodes = 64
	withCPUs      = 30
)

// largest is the report of that machine, with every CPU a core of its own and granted to a pod of its own: no machine has a
// longer one. Its shared pool is the list of every second CPU, the longest list there is.
func largest() *v1alpha1.NodeCPU {
	nc := &v1alpha1.NodeCPU{ObjectMeta: metav1.ObjectMeta{Name: "largest"}}
	s := &nc.Status
	s.Agent = &v1alpha1.AgentPod{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("a", 253), UID: types.UID(uid(0))}
	s.KubeletVersion = "v1.36.3-a.distribution.1234567"
	s.CPUManager = v1alpha1.CPUManager{Policy: "static", Options: map[string]string{"full-pcpus-only": "true"}}
	s.TopologyManager = v1alpha1.TopologyManager{Policy: "single-numa-node", Scope: "container", Options: map[string]string{"max-allowable-numa-nodes": "64"}}
	s.MemoryManager.Policy = "Static"
	distances := make([]int32, mostNUMANodes)
	sizes := []string{"memory", "hugepages-64Ki", "hugepages-2Mi", "hugepages-32Mi", "hugepages-512Mi", "hugepages-1Gi", "hugepages-16Gi"}
	for id := range int32(mostNUMANodes) {
		s.NUMANodes = append(s.NUMANodes, v1alpha1.NUMANode{ID: id, Distances: distances})
		memory := v1alpha1.NUMAMemory{ID: id, Group: distances}
		for _, size := range sizes {
			memory.Resources = append(memory.Resources, v1alpha1.MemoryResource{Type: size})
		}
		s.MemoryManager.NUMANodes = append(s.MemoryManager.NUMANodes, memory)
	}
	var half []string
	for cpu := range int32(mostCPUs) {
		list := fmt.Sprint(cpu)
		if cpu%2 == 1 {
			half = append(half, list)
		}
		s.Cores = append(s.Cores, v1alpha1.Core{ID: cpu, CPUs: list, NUMANode: cpu % withCPUs, UncoreCache: cpu})
		s.Granted = append(s.Granted, v1alpha1.PodGrant{
			PodUID: types.UID(uid(cpu)), Pins: "0=" + list, Waits: "0=100", SharedWith: "1 container", Containers: []v1alpha1.ContainerGrant{{Name: strings.Repeat("c", 63), CPUs: list}},
		})
		s.MemoryManager.Granted = append(s.MemoryManager.Granted, v1alpha1.PodMemory{PodUID: types.UID(uid(cpu)), Containers: []v1alpha1.ContainerMemory{{
			Name: "compute", Blocks: []v1alpha1.MemoryBlock{{Type: "hugepages-1Gi", NUMANodes: distances}},
		}}})
	}
	s.SharedCPUs = strings.Join(half, ",")
	s.ReservedCPUs = s.SharedCPUs
	for _, kind := range []string{"CPUManagerRunning", "Exact", "SourcesComplete", "RestartSafe", "Labelled", "Drifted", "Seen"} {
		s.Conditions = append(s.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Reason", LastTransitionTime: metav1.Unix(1, 0)})
	}
	return nc
}

func uid(n int32) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", n) }

func TestTheLargestReportFitsAndNothingLarger(t *testing.T) {
	text, err := os.ReadFile("../../../manifests/base/crd/corepin.dev_nodecpus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &definition); err != nil {
		t.Fatal(err)
	}
	var schema apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(definition.Spec.Versions[0].Schema.OpenAPIV3Schema, &schema, nil); err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(&schema)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("9", 8193)
	for name, test := range map[string]struct {
		change func(s *v1alpha1.NodeCPUStatus)
		want   string // "" fits
	}{
		"the largest machine": {func(*v1alpha1.NodeCPUStatus) {}, ""},
		"another core":        {func(s *v1alpha1.NodeCPUStatus) { s.Cores = append(s.Cores, v1alpha1.Core{ID: mostCPUs}) }, "status.cores: Too many"},
		"another NUMA node": {func(s *v1alpha1.NodeCPUStatus) {
			s.NUMANodes = append(s.NUMANodes, v1alpha1.NUMANode{ID: mostNUMANodes})
		}, "status.numaNodes: Too many"},
		"another pod": {func(s *v1alpha1.NodeCPUStatus) {
			s.Granted = append(s.Granted, v1alpha1.PodGrant{PodUID: "more", Containers: []v1alpha1.ContainerGrant{}})
		}, "status.granted: Too many"},
		"a long shared pool":  {func(s *v1alpha1.NodeCPUStatus) { s.SharedCPUs = long }, "status.sharedCPUs: Too long"},
		"long reserved CPUs":  {func(s *v1alpha1.NodeCPUStatus) { s.ReservedCPUs = long }, "status.reservedCPUs: Too long"},
		"a long core":         {func(s *v1alpha1.NodeCPUStatus) { s.Cores[7].CPUs = long }, "status.cores[7].cpus: Too long"},
		"a long grant":        {func(s *v1alpha1.NodeCPUStatus) { s.Granted[7].Containers[0].CPUs = long }, "status.granted[7].containers[0].cpus: Too long"},
		"a long name":         {func(s *v1alpha1.NodeCPUStatus) { s.Granted[7].Containers[0].Name = long }, "status.granted[7].containers[0].name: Too long"},
		"long sharedWith":     {func(s *v1alpha1.NodeCPUStatus) { s.Granted[7].SharedWith = long[:257] }, "status.granted[7].sharedWith: Too long"},
		"long waits":          {func(s *v1alpha1.NodeCPUStatus) { s.Granted[7].Waits = long[:257] }, "status.granted[7].waits: Too long"},
		"long pins":           {func(s *v1alpha1.NodeCPUStatus) { s.Granted[7].Pins = long }, "status.granted[7].pins: Too long"},
		"a long UID":          {func(s *v1alpha1.NodeCPUStatus) { s.Granted[7].PodUID = types.UID(long) }, "status.granted[7].podUID: Too long"},
		"a long policy":       {func(s *v1alpha1.NodeCPUStatus) { s.CPUManager.Policy = long }, "status.cpuManager.policy: Too long"},
		"a long version":      {func(s *v1alpha1.NodeCPUStatus) { s.KubeletVersion = long }, "status.kubeletVersion: Too long"},
		"a long agent's name": {func(s *v1alpha1.NodeCPUStatus) { s.Agent.Name = long }, "status.agent.name: Too long"},
		"many distances":      {func(s *v1alpha1.NodeCPUStatus) { s.NUMANodes[7].Distances = make([]int32, 65) }, "status.numaNodes[7].distances: Too many"},
		"many conditions": {func(s *v1alpha1.NodeCPUStatus) {
			for range 17 {
				s.Conditions = append(s.Conditions, s.Conditions[0])
			}
		}, "status.conditions: Too many"},
		"many options": {func(s *v1alpha1.NodeCPUStatus) {
			for i := range 33 {
				s.CPUManager.Options[fmt.Sprint(i)] = "x"
			}
		}, "status.cpuManager.options: Too many"},
		"many kinds of memory": {func(s *v1alpha1.NodeCPUStatus) {
			s.MemoryManager.NUMANodes[7].Resources = make([]v1alpha1.MemoryResource, 17)
		}, "status.memoryManager.numaNodes[7].resources: Too many"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := largest()
			test.change(&nc.Status)
			object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(nc)
			if err != nil {
				t.Fatal(err)
			}
			errs := validation.ValidateCustomResource(nil, object, validator).ToAggregate()
			if test.want == "" && errs != nil || test.want != "" && (errs == nil || !strings.Contains(errs.Error(), test.want)) {
				t.Errorf("got %.300v, want %q", errs, test.want)
			}
		})
	}
}
