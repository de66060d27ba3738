// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func preference(t *testing.T, spec string) (*Preference, error) {
	t.Helper()
	var object map[string]any
	text := "{apiVersion: instancetype.kubevirt.io/v1beta1, kind: VirtualMachineClusterPreference, metadata: {name: p}, spec: " + spec + "}"
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return PreferenceOf(object)
}

func TestPreferenceTopology(t *testing.T) {
	spread := func(options string) string {
		return "{cpu: {preferredCPUTopology: spread, spreadOptions: " + options + "}}"
	}
	for _, tc := range []struct {
		name, spec              string
		guest                   uint32
		sockets, cores, threads uint32
		refused                 string
	}{
		{name: "nothing preferred", spec: "{}", guest: 4, sockets: 4, cores: 1, threads: 1},
		{name: "any", spec: "{cpu: {preferredCPUTopology: preferAny}}", guest: 4, sockets: 4, cores: 1, threads: 1},
		{name: "cores", spec: "{cpu: {preferredCPUTopology: cores}}", guest: 4, sockets: 1, cores: 4, threads: 1},
		{name: "threads", spec: "{cpu: {preferredCPUTopology: preferThreads}}", guest: 4, sockets: 1, cores: 1, threads: 4},
		{name: "one is one", spec: spread("{}"), guest: 1, sockets: 1, cores: 1, threads: 1, refused: "preference-spread"},
		{name: "spread", spec: spread("{}"), guest: 8, sockets: 4, cores: 2, threads: 1},
		{name: "spread by the old ratio", spec: "{preferSpreadSocketToCoreRatio: 4, cpu: {preferredCPUTopology: preferSpread}}", guest: 8, sockets: 2, cores: 4, threads: 1},
		{name: "spread by the ratio", spec: spread("{ratio: 4}"), guest: 8, sockets: 2, cores: 4, threads: 1},
		{name: "over cores and threads", spec: spread("{across: CoresThreads}"), guest: 8, sockets: 1, cores: 4, threads: 2},
		{name: "over all", spec: spread("{across: SocketsCoresThreads, ratio: 2}"), guest: 8, sockets: 2, cores: 2, threads: 2},
		{name: "over all, not divisible", spec: spread("{across: SocketsCoresThreads, ratio: 2}"), guest: 6, sockets: 1, cores: 2, threads: 2, refused: "preference-spread"},
		{name: "not divisible", spec: spread("{ratio: 3}"), guest: 8, sockets: 2, cores: 3, threads: 1, refused: "preference-spread"},
	} {
		p, err := preference(t, tc.spec)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		it := &Instancetype{Reference: Reference{Kind: KindClusterInstancetype, Name: "it"}, Guest: tc.guest}
		whole, findings := Expand(&VMI{Kind: KindVM, Instancetype: &it.Reference, Preference: &p.Reference}, it, p)
		cpu := whole.Spec.Domain.CPU
		if cpu.Sockets != tc.sockets || cpu.Cores != tc.cores || cpu.Threads != tc.threads {
			t.Errorf("%s: %d sockets, %d cores, %d threads; want %d, %d, %d", tc.name, cpu.Sockets, cpu.Cores, cpu.Threads, tc.sockets, tc.cores, tc.threads)
		}
		var refused string
		for _, finding := range findings {
			refused += finding.Rule
		}
		if refused != tc.refused {
			t.Errorf("%s: refused by %q; want %q", tc.name, refused, tc.refused)
		}
	}
}

// What a preference requires is held against what KubeVirt counts: of the VM's own topology, the preferred part only.
func TestPreferenceRequirements(t *testing.T) {
	const needs4 = "requirements: {cpu: {guest: 4}}"
	for _, tc := range []struct {
		name, spec, domain string
		guest              uint32 // of the instancetype, 0 for none
		want               string
	}{
		{name: "enough vCPUs", spec: "{" + needs4 + "}", domain: "devices: {}", guest: 4},
		{name: "too few vCPUs", spec: "{" + needs4 + "}", domain: "devices: {}", guest: 3, want: "needs 4 vCPUs, and the VM has 3"},
		{name: "enough sockets", spec: "{" + needs4 + "}", domain: "cpu: {sockets: 4}"},
		{name: "cores where sockets count", spec: "{" + needs4 + "}", domain: "cpu: {cores: 4}", want: "needs 4 vCPUs, and the VM has 0"},
		{name: "cores where cores count", spec: "{cpu: {preferredCPUTopology: cores}, " + needs4 + "}", domain: "cpu: {cores: 4}"},
		{name: "threads", spec: "{cpu: {preferredCPUTopology: threads}, " + needs4 + "}", domain: "cpu: {threads: 2}", want: "the VM has 2"},
		{name: "by limits", spec: "{" + needs4 + "}", domain: "resources: {limits: {cpu: 4}}"},
		{name: "any of them", spec: "{cpu: {preferredCPUTopology: any}, " + needs4 + "}", domain: "cpu: {sockets: 2, cores: 2, threads: 1}"},
		{name: "too little memory", spec: "{requirements: {memory: {guest: 2Gi}}}", domain: "memory: {guest: 1Gi}", want: "needs 2Gi of memory, and the VM has 1Gi"},
		{name: "no memory", spec: "{requirements: {memory: {guest: 2Gi}}}", domain: "devices: {}", want: "the VM has none"},
		{name: "the architecture it prefers", spec: "{preferredArchitecture: arm64, requirements: {architecture: arm64}}", domain: "devices: {}"},
		{name: "another architecture", spec: "{requirements: {architecture: arm64}}", domain: "devices: {}", want: "needs arm64, and the VM has amd64"},
	} {
		p, err := preference(t, tc.spec)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Decode([]byte(vmiYAML(tc.domain)))
		if err != nil {
			t.Fatal(err)
		}
		v.Kind = KindVM
		v.Preference = &p.Reference
		var it *Instancetype
		if tc.guest > 0 {
			it = &Instancetype{Guest: tc.guest}
			v.Instancetype = &it.Reference
		}
		_, findings := Expand(v, it, p)
		got := ""
		for _, finding := range findings {
			got += finding.Message
		}
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
		}
	}
}

// Features, architecture and annotations are filled in where the VM leaves them open.
func TestPreferenceFillsIn(t *testing.T) {
	p, err := preference(t, "{cpu: {preferredCPUFeatures: [{name: invtsc}, {name: vmx, policy: perhaps}]}, preferredArchitecture: arm64, annotations: {a: p, b: p}}")
	if err != nil {
		t.Fatal(err)
	}
	v := &VMI{Kind: KindVM, Preference: &p.Reference, Annotations: map[string]string{"a": "own"}}
	v.Spec.Domain.CPU.Features = []CPUFeature{{Name: "vmx", Policy: "require"}}
	whole, _ := Expand(v, nil, p)
	features := whole.Spec.Domain.CPU.Features
	if len(features) != 2 || features[0].Policy != "require" || features[1].Name != "invtsc" {
		t.Errorf("features %+v", features)
	}
	if whole.Spec.Architecture != "arm64" || whole.Annotations["a"] != "own" || whole.Annotations["b"] != "p" || len(v.Annotations) != 1 {
		t.Errorf("made %+v of %+v", whole, v)
	}
}

func TestPreferenceOfRefuses(t *testing.T) {
	for spec, want := range map[string]string{
		"{cpu: {preferredCPUTopology: pyramid}}":                                                 "spec.cpu.preferredCPUTopology: must be",
		"{cpu: {preferredCPUTopology: spread, spreadOptions: {across: Moon}}}":                   "spec.cpu.spreadOptions.across: must be",
		"{cpu: {preferredCPUTopology: spread, spreadOptions: {across: CoresThreads, ratio: 3}}}": "spec.cpu.spreadOptions.ratio: must be 2",
		"{cpu: {preferredCPUTopology: spread, spreadOptions: {ratio: 0}}}":                       "spec.cpu.spreadOptions.ratio: must be 1",
		"{requirements: {cpu: {guest: some}, memory: {guest: much}}}":                            "spec.requirements.cpu.guest: must be a whole number",
	} {
		if _, err := preference(t, spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", spec, err, want)
		}
	}
}
