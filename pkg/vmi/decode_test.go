// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"math"
	"strings"
	"testing"

	"corepin.dev/corepin/test/harness/bounds"
)

// vmiYAML is a dedicated VMI of that domain; the domain's lines are given without indentation.
func vmiYAML(domain string) string {
	return "apiVersion: kubevirt.io/v1alpha2\nkind: VirtualMachineInstance\nmetadata: {name: demo, namespace: vms}\nspec:\n  domain:\n    " +
		strings.ReplaceAll(strings.TrimSpace(domain), "\n", "\n    ") + "\n"
}

func TestDecode(t *testing.T) {
	v, err := Decode([]byte(`
apiVersion: kubevirt.io/v1alpha2
kind: VirtualMachineInstance
metadata:
  name: demo
  namespace: vms
  uid: 6f2c1a50
  annotations: {hooks.kubevirt.io/hookSidecars: '[]'}
spec:
  schedulerName: corepin
  nodeSelector: {kubernetes.io/hostname: local}
  domain:
    ioThreadsPolicy: supplementalPool
    ioThreads: {supplementalPoolThreadCount: 2}
    cpu: {cores: 2, sockets: 2.0, dedicatedCpuPlacement: true, isolateEmulatorThread: true, model: host-model,
      numa: {guestMappingPassthrough: {}}, realtime: {mask: 0-1}}
    memory: {guest: 1Gi, hugepages: {pageSize: 2Mi}}
    resources:
      overcommitGuestOverhead: true
      requests: {cpu: 4, memory: 2e9}
      limits: {cpu: " 4000m "}
`))
	if err != nil {
		t.Fatal(err)
	}
	if v.Kind != KindVMI || v.Name != "demo" || v.Namespace != "vms" || v.UID != "6f2c1a50" || v.Annotations[HookSidecarsAnnotation] != "[]" {
		t.Errorf("metadata read as %+v", v)
	}
	if v.Spec.SchedulerName != "corepin" || v.Spec.NodeSelector["kubernetes.io/hostname"] != "local" {
		t.Errorf("spec read as %+v", v.Spec)
	}
	domain := v.Spec.Domain
	if !v.Dedicated() || v.VCPUs() != 4 || !domain.CPU.IsolateEmulatorThread || domain.CPU.NUMA.GuestMappingPassthrough == nil || domain.CPU.Realtime.Mask != "0-1" {
		t.Errorf("cpu read as %+v", domain.CPU)
	}
	if *domain.IOThreadsPolicy != SupplementalPool || *domain.IOThreads.SupplementalPoolThreadCount != 2 {
		t.Errorf("IO threads read as %v %v", domain.IOThreadsPolicy, domain.IOThreads)
	}
	if r := domain.Resources; r.Requests.CPU.Value() != 4 || r.Limits.CPU.Text != "4000m" || r.Requests.Memory.Value() != 2e9 || r.Limits.Memory != nil || !r.OvercommitGuestOverhead {
		t.Errorf("resources read as %+v", r)
	}
	if domain.Memory.Guest.Text != "1Gi" || domain.Memory.Hugepages.PageSize != "2Mi" || domain.Memory.MaxGuest != nil {
		t.Errorf("memory read as %+v", domain.Memory)
	}
}

func TestDecodeVirtualMachine(t *testing.T) {
	text := `{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "demo"},
		"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"domain": {"cpu": {"dedicatedCpuPlacement": true, "cores": 2}}}}}}`
	v, err := Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if !v.Dedicated() || v.VCPUs() != 2 || v.Name != "demo" || v.Labels["a"] != "b" || v.Instancetype != nil {
		t.Errorf("read as %+v", v)
	}
	v, err = Decode([]byte(strings.Replace(text, `"template"`, `"instancetype": {"name": "cx1.large"}, "template"`, 1)))
	if err != nil || v.Instancetype == nil || v.Instancetype.String() != "VirtualMachineClusterInstancetype cx1.large" {
		t.Errorf("with an instancetype read as %+v, %v", v, err)
	}
	expectFindings(t, "sizes beside an instancetype", Check(v, Strict), []string{"instancetype-sizes"})
}

func TestDecodeRefuses(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", "", "want one object"},
		{"a list", "- a", "want one object"},
		{"not YAML", "a: [", "reading the virtual machine"},
		{"twice the same key", "kind: a\nkind: b", "already set"},
		{"two objects", vmiYAML("cpu: {}") + "---\n" + vmiYAML("cpu: {}"), "more than one object"},
		{"another version", strings.Replace(vmiYAML("cpu: {}"), "v1alpha2", "v2", 1), `apiVersion: "kubevirt.io/v2" is not one of`},
		{"another kind", strings.Replace(vmiYAML("cpu: {}"), "Instance", "InstancePreset", 1), `kind: "VirtualMachineInstancePreset" is not one of`},
		{"no spec", "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance", "spec: is missing"},
		{"no template", "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nspec: {}", "spec.template.spec: is missing"},
		{"no domain", "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {}", "spec.domain: is missing"},
		{"half a core", vmiYAML("cpu: {cores: 2.5}"), "spec.domain.cpu.cores: must be a whole number"},
		{"negative", vmiYAML("cpu: {sockets: -1}"), "spec.domain.cpu.sockets: must be a whole number"},
		{"beyond int32", vmiYAML("cpu: {threads: 2147483648}"), "spec.domain.cpu.threads: must be a whole number"},
		{"beyond everything", vmiYAML("cpu: {threads: 1e999999999}"), "spec.domain.cpu.threads: must be a whole number"},
		{"cores in quotes", vmiYAML(`cpu: {cores: "2"}`), "spec.domain.cpu.cores: must be a whole number"},
		{"boolean in quotes", vmiYAML(`cpu: {dedicatedCpuPlacement: "true"}`), "dedicatedCpuPlacement: must be true or false"},
		{"instancetype spelling", vmiYAML("cpu: {dedicatedCPUPlacement: true}"), "is not a field; write dedicatedCpuPlacement"},
		{"no amount", vmiYAML("resources: {limits: {cpu: two}}"), `spec.domain.resources.limits.cpu: "two" is not an amount`},
		{"two points", vmiYAML(`memory: {guest: "1.2.3"}`), `"1.2.3" is not an amount`},
		{"huge exponent", vmiYAML(`memory: {guest: "1e2147483647"}`), `"1e2147483647" is not an amount`},
		{"amount as a list", vmiYAML("resources: {limits: {cpu: [2]}}"), "spec.domain.resources.limits.cpu: must be an amount"},
		{"limits as a list", vmiYAML("resources: {limits: [cpu]}"), "spec.domain.resources.limits: must be an object"},
		{"annotations as numbers", "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {annotations: {a: 1}}\nspec: {domain: {}}", "metadata.annotations.a: must be a string"},
		{"two at once", vmiYAML("cpu: {cores: -1}\nmemory: 2Gi"), "spec.domain.cpu.cores: must be a whole number from 0 to 2147483647; spec.domain.memory: must be an object"},
	} {
		if _, err := Decode([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Decode: %v; want an error with %q", tc.name, err, tc.want)
		}
	}
}

// countable leaves out amounts of CPU with which KubeVirt's arithmetic wraps around.
func countable(v *VMI) bool {
	for _, amount := range []*Quantity{v.Spec.Domain.Resources.Requests.CPU, v.Spec.Domain.Resources.Limits.CPU} {
		if amount != nil && amount.Count() == math.MaxInt64 {
			return false
		}
	}
	return true
}

// FuzzDecode: whatever comes, there is a VMI that can be defaulted and judged, or an error.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		vmiYAML("cpu: {cores: 2, dedicatedCpuPlacement: true}\nresources: {limits: {memory: 2Gi, cpu: 1500m}}"),
		vmiYAML("cpu: {sockets: 65536, cores: 65536, threads: 2}\nmemory: {hugepages: {pageSize: \"0\"}}"),
		vmiYAML("ioThreadsPolicy: supplementalPool\nioThreads: {supplementalPoolThreadCount: 3}\nresources: {requests: {cpu: 9223372036854775808}}"),
		vmiYAML("memory: {guest: -9.9e-18, hugepages: {pageSize: 9e18}}"),
		`{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachine","spec":{"template":{"spec":{"domain":{"resources":{"limits":{"cpu":1e3}}}}}}}`,
		"a: &a [*a]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v *VMI
		var err error
		bounds.Within(t, bounds.Parser, string(data), func() { v, err = Decode(data) })
		if err != nil {
			return
		}
		for range 2 {
			if v.VCPUs() < 0 {
				t.Fatalf("%d vCPUs", v.VCPUs())
			}
			kubevirt, strict := Errors(Check(v, KubeVirt)), Errors(Check(v, Strict))
			if len(kubevirt) > 0 && len(strict) == 0 && countable(v) {
				t.Fatalf("Strict accepts what KubeVirt refuses: %v", kubevirt)
			}
			v.Default()
		}
		if v.VCPUs() == 0 {
			t.Fatal("no vCPU after Default")
		}
	})
}

// The counts are KubeVirt's (iothreads.go, GetIOThreadsCountType).
func TestCountIOThreads(t *testing.T) {
	const shared, own = "{name: a}", "{name: a, dedicatedIOThread: true}"
	disks := func(kinds ...string) string { return "devices: {disks: [" + strings.Join(kinds, ", ") + "]}" }
	for _, tc := range []struct {
		domain string
		want   int64
	}{
		{"cpu: {cores: 2}", 0},
		{disks(shared, shared), 0},
		{disks(own), 1},
		{disks(own, shared), 2},
		{disks(own, own), 3},
		{"ioThreadsPolicy: shared", 0},
		{"ioThreadsPolicy: shared\n" + disks(shared, own, shared), 2},
		{"ioThreadsPolicy: auto\n" + disks(shared, shared, shared), 2},
		{"ioThreadsPolicy: auto\nresources: {requests: {cpu: 2}}\n" + disks(shared, shared, shared, shared, own, own), 4},
		{"ioThreadsPolicy: auto\nresources: {limits: {cpu: 4}}\n" + disks(shared, shared, shared), 3},
		{"ioThreadsPolicy: auto\ncpu: {cores: 1, dedicatedCpuPlacement: true, isolateEmulatorThread: true}\n" + disks(shared, shared, own), 2},
		{"ioThreadsPolicy: supplementalPool\nioThreads: {supplementalPoolThreadCount: 3}\n" + disks(shared, own), 3},
		{"ioThreadsPolicy: supplementalPool\n" + disks(own), 2},
		{"ioThreads: {supplementalPoolThreadCount: 3}\n" + disks(shared), 0},
	} {
		v, err := Decode([]byte(vmiYAML(tc.domain)))
		if err != nil {
			t.Fatal(err)
		}
		v.Default()
		if got := v.CountIOThreads(); got != tc.want {
			t.Errorf("%q: %d IO threads, want %d", tc.domain, got, tc.want)
		}
	}
}
