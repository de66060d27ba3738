// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/test/harness/bounds"
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

func TestExpand(t *testing.T) {
	const full = "{guest: 4, model: host-passthrough, maxSockets: 8, dedicatedCPUPlacement: true, isolateEmulatorThread: true, " +
		"numa: {guestMappingPassthrough: {}}, realtime: {mask: 0-3}}"
	conflict := func(fields ...string) []string {
		var out []string
		for _, field := range fields {
			out = append(out, "instancetype-conflict spec.template.spec."+field)
		}
		return out
	}
	for _, tc := range []struct {
		name, cpu, domain string
		conflicts, broken []string
	}{
		{name: "all from the instancetype", cpu: full, domain: "devices: {}"},
		{name: "all twice", cpu: full,
			domain: "cpu: {model: host-model, dedicatedCpuPlacement: true, isolateEmulatorThread: true, numa: {}, realtime: {}}\n" +
				"memory: {hugepages: {pageSize: 2Mi}}\nioThreadsPolicy: shared",
			conflicts: conflict("domain.cpu.model", "domain.cpu.dedicatedCpuPlacement", "domain.cpu.isolateEmulatorThread", "domain.cpu.numa",
				"domain.cpu.realtime", "domain.memory.hugepages", "domain.ioThreadsPolicy")},
		{name: "sizes in both", cpu: "{guest: 4}", domain: "cpu: {sockets: 2}\nresources: {requests: {cpu: 2}}",
			conflicts: []string{"instancetype-sizes spec.template.spec.domain.cpu"}},
		{name: "memory in both", cpu: "{guest: 4}", domain: "memory: {guest: 3Mi}\nresources: {requests: {memory: 1Gi}, limits: {memory: 1Gi}}",
			conflicts: []string{"instancetype-memory-guest spec.template.spec.domain.memory.guest",
				"instancetype-memory-requests spec.template.spec.domain.resources.requests.memory",
				"instancetype-memory-limits spec.template.spec.domain.resources.limits.memory"}},
		{name: "false is decided too", cpu: "{guest: 4, dedicatedCPUPlacement: false}", domain: "cpu: {dedicatedCpuPlacement: true}",
			conflicts: conflict("domain.cpu.dedicatedCpuPlacement")},
		{name: "the VM says what is missing", cpu: "{guest: 4, isolateEmulatorThread: true}", domain: "cpu: {dedicatedCpuPlacement: true}"},
		{name: "nobody does", cpu: "{guest: 4, isolateEmulatorThread: true}", domain: "devices: {}", broken: []string{"isolate-without-dedicated"}},
		{name: "more than a node has", cpu: "{guest: 2000, dedicatedCPUPlacement: true}", domain: "devices: {}", broken: []string{"vcpus-too-many"}},
		{name: "fewer sockets than vCPUs", cpu: "{guest: 8, maxSockets: 4, dedicatedCPUPlacement: true}", domain: "devices: {}", broken: []string{"sockets-above-max"}},
	} {
		v, err := Decode([]byte(vmiYAML(tc.domain)))
		if err != nil {
			t.Fatal(err)
		}
		v.Kind = KindVM
		v.Instancetype = &Reference{Kind: KindClusterInstancetype, Name: "it"}
		it := instancetype(t, tc.cpu)
		whole, findings := Expand(v, it, nil)
		var conflicts []string
		for _, finding := range findings {
			conflicts = append(conflicts, finding.Rule+" "+finding.Field)
		}
		if !slices.Equal(conflicts, tc.conflicts) {
			t.Errorf("%s: conflicts %q; want %q", tc.name, conflicts, tc.conflicts)
		}
		expectFindings(t, tc.name, Errors(Check(whole, Standard)), tc.broken)
		if whole.VCPUs() != int64(it.Guest) || v.Instancetype == nil || *whole.Spec.Domain.IOThreadsPolicy != "auto" {
			t.Errorf("%s: made %+v of %+v", tc.name, whole, v)
		}
	}
}

// An instancetype that overcommits memory requests less than the guest may use.
func TestOvercommit(t *testing.T) {
	it := instancetype(t, "{guest: 4, dedicatedCPUPlacement: true}")
	it.OvercommitPercent = 50
	whole, _ := Expand(&VMI{Kind: KindVM, Instancetype: &it.Reference}, it, nil)
	expectFindings(t, "overcommitted", Check(whole, Standard), []string{"memory-guest-above-requests"})
	if request := whole.Spec.Domain.Resources.Requests.Memory; request.Text != "512Mi" {
		t.Errorf("requests %s of 1Gi overcommitted by 50 %%; want 512Mi", request.Text)
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

// FuzzObjects: an object beside VMs is read or refused with an error, and a VM can be judged by it.
func FuzzObjects(f *testing.F) {
	f.Add("{kind: VirtualMachineClusterInstancetype, metadata: {name: it}, spec: {cpu: {guest: 4, realtime: {mask: '0-3,^1'}}, memory: {guest: 1Gi}}}")
	f.Add("{kind: KubeVirt, spec: {configuration: {vmRolloutStrategy: Stage, developerConfiguration: {featureGates: [AlignCPUs]}}}}")
	f.Add("{kind: VirtualMachinePreference, spec: {cpu: {guest: 4, preferredCPUTopology: spread, spreadOptions: {across: CoresThreads, ratio: 2}}, requirements: {memory: {guest: 1Gi}}}}")
	f.Add("{apiVersion: kubevirt.io/v1, kind: VirtualMachine, spec: {instancetype: {kind: virtualmachineinstancetypes, name: it}, template: {spec: {domain: {}}}}}")
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]any
		if yaml.Unmarshal([]byte(text), &object) != nil {
			return
		}
		bounds.Within(t, bounds.Parser, text, func() {
			cluster, _ := ClusterOf(object)
			v, err := FromUnstructured(object)
			if err != nil {
				v = &VMI{Kind: KindVM, Instancetype: &Reference{}}
			}
			it, _ := InstancetypeOf(object)
			p, _ := PreferenceOf(object)
			v, _ = Expand(v, it, p)
			for _, strictness := range strictnesses {
				for _, finding := range cluster.Judge(v, strictness) {
					if finding.Message == "" {
						t.Fatalf("a finding without words: %+v", finding)
					}
				}
			}
		})
	})
}
