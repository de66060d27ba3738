package vmi

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func instancetype(t *testing.T, cpu string) *Instancetype {
	t.Helper()
	var object map[string]any
	text := "{apiVersion: instancetype.kubevirt.io/v1beta1, kind: VirtualMachineClusterInstancetype, metadata: {name: it}, " +
		"spec: {cpu: " + cpu + ", memory: {guest: 1Gi, hugepages: {pageSize: 2Mi}}, ioThreadsPolicy: auto}}"
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	it, err := InstancetypeOf(object)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func TestApply(t *testing.T) {
	const full = "{guest: 4, maxSockets: 8, dedicatedCPUPlacement: true, isolateEmulatorThread: true, numa: {guestMappingPassthrough: {}}, realtime: {mask: 0-3}}"
	for _, tc := range []struct {
		name, cpu, domain string
		conflicts, broken []string
	}{
		{name: "all from the instancetype", cpu: full, domain: "devices: {}"},
		{name: "all twice", cpu: full, domain: "cpu: {dedicatedCpuPlacement: true, isolateEmulatorThread: true, numa: {}, realtime: {}}",
			conflicts: []string{"instancetype-conflict", "instancetype-conflict", "instancetype-conflict", "instancetype-conflict"}, broken: []string{"realtime-without-numa"}},
		{name: "sizes in both", cpu: "{guest: 4}", domain: "cpu: {sockets: 2}\nresources: {requests: {cpu: 2}}", conflicts: []string{"instancetype-sizes"}},
		{name: "the VM says what is missing", cpu: "{guest: 4, isolateEmulatorThread: true}", domain: "cpu: {dedicatedCpuPlacement: true}"},
		{name: "nobody does", cpu: "{guest: 4, isolateEmulatorThread: true}", domain: "devices: {}", broken: []string{"isolate-without-dedicated"}},
		{name: "the VM's own memory", cpu: "{guest: 4, dedicatedCPUPlacement: true}", domain: "memory: {guest: 3Mi}", broken: []string{"hugepages-do-not-fit"}},
		{name: "more than a node has", cpu: "{guest: 2000, dedicatedCPUPlacement: true}", domain: "devices: {}", broken: []string{"vcpus-too-many"}},
	} {
		v, err := Decode([]byte(vmiYAML(tc.domain)))
		if err != nil {
			t.Fatal(err)
		}
		v.Kind, v.Instancetype = KindVM, &InstancetypeName{Kind: KindClusterInstancetype, Name: "it"}
		it := instancetype(t, tc.cpu)
		whole, conflicts := it.Apply(v)
		expectFindings(t, tc.name+", conflicts", conflicts, tc.conflicts)
		expectFindings(t, tc.name, Errors(Check(whole, Strict)), tc.broken)
		if whole.VCPUs() != int64(it.Guest) || v.Instancetype == nil || v.Spec.Domain.IOThreadsPolicy != nil || *whole.Spec.Domain.IOThreadsPolicy != "auto" {
			t.Errorf("%s: made %+v of %+v", tc.name, whole, v)
		}
	}
}

func TestInstancetypeOfRefuses(t *testing.T) {
	_, err := InstancetypeOf(map[string]any{"kind": KindInstancetype, "metadata": map[string]any{"name": "it", "namespace": "vms"},
		"spec": map[string]any{"cpu": map[string]any{"dedicatedCpuPlacement": true, "maxSockets": "8"}, "memory": "1Gi", "ioThreadsPolicy": 1}})
	for _, want := range []string{"reading VirtualMachineInstancetype vms/it", "spec.cpu.guest: is missing", "spec.cpu.maxSockets: must be a whole number",
		"spec.cpu.dedicatedCpuPlacement: is not a field; write dedicatedCPUPlacement", "spec.memory: must be an object", "spec.ioThreadsPolicy: must be a string"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
}

// FuzzObjects: what stands beside VMs in a stream can be read, or there is an error, and a VM can be judged by it.
func FuzzObjects(f *testing.F) {
	f.Add("{kind: VirtualMachineClusterInstancetype, metadata: {name: it}, spec: {cpu: {guest: 4, realtime: {mask: '0-3,^1'}}, memory: {guest: 1Gi}}}")
	f.Add("{kind: KubeVirt, spec: {configuration: {vmRolloutStrategy: Stage, developerConfiguration: {featureGates: [AlignCPUs]}}}}")
	f.Add("{apiVersion: kubevirt.io/v1, kind: VirtualMachine, spec: {instancetype: {kind: virtualmachineinstancetypes, name: it}, template: {spec: {domain: {}}}}}")
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]any
		if yaml.Unmarshal([]byte(text), &object) != nil {
			return
		}
		cluster, _ := ClusterOf(object)
		v, err := FromUnstructured(object)
		if err != nil {
			v = &VMI{Kind: KindVM, Instancetype: &InstancetypeName{}}
		}
		if it, err := InstancetypeOf(object); err == nil {
			v, _ = it.Apply(v)
		}
		for _, strictness := range []Strictness{Strict, KubeVirt} {
			for _, finding := range cluster.Judge(v, strictness) {
				if finding.Message == "" {
					t.Fatalf("a finding without words: %+v", finding)
				}
			}
		}
	})
}
