// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"slices"
	"strings"
	"testing"
)

func TestOthers(t *testing.T) {
	for _, tc := range []struct {
		name, domain, architecture, kind string
		staged                           bool
		want                             []string // for KubeVirt
	}{
		{name: "nothing", domain: "memory: {guest: 64Mi}"},
		{name: "may grow", domain: "memory: {guest: 1Gi, maxGuest: 2Gi}"},
		{name: "as a VMI", kind: KindVMI, domain: "memory: {guest: 64Mi, maxGuest: 32Mi}"},
		{name: "changes wait", staged: true, domain: "memory: {guest: 64Mi, maxGuest: 32Mi}"},
		{name: "from nothing", domain: "memory: {maxGuest: 2Gi}", want: []string{"memory.guest is missing"}},
		{name: "from a request", domain: "memory: {maxGuest: 2Gi}\nresources: {requests: {memory: 1Gi}}"},
		{name: "shrinks", domain: "memory: {guest: 4Gi, maxGuest: 2Gi}", want: []string{"2Gi is less than memory.guest = 4Gi"}},
		{name: "too small", domain: "memory: {guest: 512Mi, maxGuest: 2Gi}", want: []string{"512Mi is less than 1Gi"}},
		{name: "odd start", domain: "memory: {guest: 2049Mi, maxGuest: 4Gi}", want: []string{"2049Mi is not a multiple of 2 MiB"}},
		{name: "odd end", domain: "memory: {guest: 2Gi, maxGuest: 4097Mi}", want: []string{"4097Mi is not a multiple of 2 MiB"}},
		{name: "large pages", domain: "memory: {guest: 2Gi, maxGuest: 4098Mi, hugepages: {pageSize: 1Gi}}", want: []string{"4098Mi is not a multiple of 1024 MiB"}},
		{name: "elsewhere", architecture: "arm64", domain: "memory: {guest: 1Gi, maxGuest: 2Gi}", want: []string{"on amd64 only"}},
		{name: "a model on arm64", architecture: "arm64", kind: KindVMI, domain: "cpu: {model: Nehalem}\nmemory: {guest: 1Gi}", want: []string{"host-passthrough only"}},
		{name: "a VM of that", architecture: "arm64", domain: "cpu: {model: Nehalem}\nmemory: {guest: 1Gi}"},
		{name: "pages of nothing", kind: KindReplicaSet, domain: "memory: {hugepages: {pageSize: 2Mi}}\nresources: {limits: {memory: 64Mi}}", want: []string{"is missing beside huge pages"}},
		{name: "pages of one VM", domain: "memory: {hugepages: {pageSize: 2Mi}}"},
		{name: "no architecture", architecture: "z80", kind: KindVMI, domain: "memory: {guest: 1Gi}", want: []string{`"z80" is not an architecture`}},
	} {
		v, err := Decode([]byte(vmiYAML(tc.domain)))
		if err != nil {
			t.Fatal(err)
		}
		v.Kind = KindVM
		if tc.kind != "" {
			v.Kind = tc.kind
		}
		v.Spec.Architecture = tc.architecture
		var got []string
		for _, finding := range Errors(Cluster{Staged: tc.staged}.Others(v, KubeVirt)) {
			got = append(got, finding.Message)
		}
		if !slices.EqualFunc(got, tc.want, strings.Contains) {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
		}
	}
}

// KubeVirt lets a VirtualMachine without memory pass, and refuses its VMI.
func TestMemoryMissingLater(t *testing.T) {
	v, err := Decode([]byte(vmiYAML("devices: {}")))
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{KindVMI: 1, KindReplicaSet: 1, KindVM: 0, KindPool: 0} {
		v.Kind = kind
		refused := Errors(append(Judge(v, KubeVirt), Cluster{}.Others(v, KubeVirt)...))
		if len(refused) != want {
			t.Errorf("a %s without memory: %q; want %d", kind, refused, want)
		}
		if len(Errors(Judge(v, Standard))) != 1 {
			t.Errorf("a %s without memory, which never starts, is allowed", kind)
		}
	}
}

// The template of a pool is judged without its instancetype too.
func TestUnexpanded(t *testing.T) {
	for template, want := range map[string]int{"{devices: {}}": 0, "{cpu: {dedicatedCpuPlacement: true}}": 2} {
		v, err := Decode([]byte("{apiVersion: pool.kubevirt.io/v1beta1, kind: VirtualMachinePool, metadata: {name: p}, spec: {virtualMachineTemplate: {spec: " +
			"{instancetype: {name: it}, template: {spec: {domain: " + template + "}}}}}}"))
		if err != nil {
			t.Fatal(err)
		}
		if findings := (Cluster{}).Unexpanded(v); len(findings) != want {
			t.Errorf("%s: %q; want %d", template, findings, want)
		}
	}
}

// The VMs of a pool have an architecture before their instancetype gives them memory to grow to.
func TestPoolGrowsByItsInstancetype(t *testing.T) {
	v, err := Decode([]byte("{apiVersion: pool.kubevirt.io/v1beta1, kind: VirtualMachinePool, metadata: {name: p}, spec: {virtualMachineTemplate: {spec: " +
		"{instancetype: {name: it}, template: {spec: {domain: {devices: {}}}}}}}}"))
	if err != nil {
		t.Fatal(err)
	}
	it := instancetype(t, "{guest: 4}")
	it.Memory.MaxGuest = it.Memory.Guest
	whole, _ := Expand(v, it, nil)
	for _, finding := range (Cluster{}).Others(whole, Standard) {
		if strings.Contains(finding.Message, "amd64") {
			t.Errorf("refused: %s", finding.Message)
		}
	}
}

// A reference that KubeVirt refuses is refused, and one to a revision says so.
func TestReferences(t *testing.T) {
	for reference, want := range map[string]string{
		"{}":                                 "spec.instancetype: names nothing",
		"{kind: VirtualMachineInstancetype}": "spec.instancetype: names nothing",
		"{name: a, inferFromVolume: root}":   "spec.instancetype.inferFromVolume: decides name and kind",
		"{kind: b, inferFromVolume: root}":   "spec.instancetype.inferFromVolume: decides name and kind",
		"{inferFromVolume: a, inferFromVolumeFailurePolicy: Never}": "inferFromVolumeFailurePolicy: must be Ignore or Reject",
		"{inferFromVolume: root}":                                   "a VirtualMachineClusterInstancetype inferred from a volume",
		"{name: a, revisionName: a-1}":                              "VirtualMachineClusterInstancetype a as ControllerRevision a-1 has it",
		"{name: a, kind: Something}":                                "Something a",
		"{name: a, kind: virtualmachineinstancetypes}":              "VirtualMachineInstancetype vms/a",
	} {
		v, err := Decode([]byte("{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: vm, namespace: vms}, spec: {instancetype: " + reference +
			", template: {spec: {domain: {devices: {}}}}}}"))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = v.Instancetype.String()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s", reference, got, want)
		}
	}
}
