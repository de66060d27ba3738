// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const dedicated = "dedicatedCpuPlacement: true"

// ruleCase is a VMI by its domain, and the rules that it breaks as it is written: under Standard, and under Strict where that differs.
type ruleCase struct {
	Name, Kind, Architecture, Instancetype string
	Annotations                            map[string]string
	Domain                                 map[string]any
	Want, Strict                           []string
}

// under are the rules that the case breaks.
func (tc ruleCase) under(strictness Strictness) []string {
	if strictness == Strict && tc.Strict != nil {
		return tc.Strict
	}
	return tc.Want
}

// ruleCases are those of testdata/cases.yaml, which the test of manifests/admission reads too.
func ruleCases(t *testing.T) []ruleCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "cases.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []ruleCase
	if err := yaml.UnmarshalStrict(data, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("reading %d cases: %v", len(cases), err)
	}
	return cases
}

func (tc ruleCase) object() map[string]any {
	annotations := map[string]any{}
	for key, value := range tc.Annotations {
		annotations[key] = value
	}
	metadata, spec := map[string]any{"name": "demo", "annotations": annotations}, map[string]any{"domain": tc.Domain}
	if tc.Architecture != "" {
		spec["architecture"] = tc.Architecture
	}
	object := map[string]any{"apiVersion": "kubevirt.io/v1", "kind": KindVMI, "metadata": metadata, "spec": spec}
	if tc.Kind == "" {
		return object
	}
	outer := map[string]any{"template": map[string]any{"metadata": metadata, "spec": spec}}
	object["kind"] = tc.Kind
	object["spec"] = outer
	if tc.Instancetype != "" {
		outer["instancetype"] = map[string]any{"name": tc.Instancetype}
	}
	if tc.Kind == KindPool {
		object["apiVersion"] = "pool.kubevirt.io/v1beta1"
		object["spec"] = map[string]any{"virtualMachineTemplate": map[string]any{"spec": outer}}
	}
	return object
}

func TestCheck(t *testing.T) {
	for _, tc := range ruleCases(t) {
		v, err := FromUnstructured(tc.object())
		if err != nil {
			t.Errorf("%s: %v", tc.Name, err)
			continue
		}
		for _, strictness := range []Strictness{Standard, Strict} {
			expectFindings(t, tc.Name+" under "+strictness.String(), Check(v, strictness), tc.under(strictness))
		}
	}
}

// A VM is judged as written, its VMI as KubeVirt filled it in: both have to be refused, or neither.
func TestFillingInChangesNoVerdict(t *testing.T) {
	for _, tc := range ruleCases(t) {
		v, err := FromUnstructured(tc.object())
		if err != nil {
			t.Fatal(err)
		}
		if !v.defaulted() {
			continue
		}
		filled := *v
		filled.Default()
		for _, strictness := range []Strictness{Standard, Strict} {
			written, made := Errors(Check(v, strictness)), Errors(Check(&filled, strictness))
			if (written == nil) != (made == nil) {
				t.Errorf("%s under %s: as written %v, as filled in %v", tc.Name, strictness, written, made)
			}
		}
	}
}

// What Strict refuses beside Standard works, so that a VM that exists is not kept from starting by it.
func TestHopeless(t *testing.T) {
	for _, tc := range ruleCases(t) {
		v, err := FromUnstructured(tc.object())
		if err != nil {
			t.Fatal(err)
		}
		for _, finding := range Hopeless(Check(v, Strict)) {
			if finding.Rule == "cpu-given-twice-alike" || finding.Rule == "memory-guest-above-requests" || finding.Severity != Error {
				t.Errorf("%s: %s does not keep the VM from running", tc.Name, finding)
			}
		}
	}
}

func expectFindings(t *testing.T, name string, findings []Finding, want []string) {
	t.Helper()
	var got []string
	for _, finding := range findings {
		rule := finding.Rule
		if finding.Severity == Warning {
			rule += "?"
		}
		got = append(got, rule)
		if !strings.HasPrefix(finding.Field, "spec.") || finding.Message == "" || finding.String() != finding.Field+": "+finding.Message {
			t.Errorf("%s: finding %+v", name, finding)
		}
	}
	if len(got)+len(want) > 0 && !slices.Equal(got, want) {
		t.Errorf("%s: broke %q; want %q", name, got, want)
	}
}

// Under the strictness KubeVirt its own answers hold: it accepts what Standard refuses as hopeless.
func TestStrictness(t *testing.T) {
	for _, tc := range strictnessCases {
		v, err := Decode([]byte(vmiYAML(tc.domain)))
		if err != nil {
			t.Fatal(err)
		}
		v.Default()
		expectFindings(t, tc.domain, Check(v, KubeVirt), tc.want)
	}
}

// strictnessCases are VMIs by their domain and the rules they break under KubeVirt.
var strictnessCases = []struct {
	domain string
	want   []string
}{
	{"cpu: {cores: 2, " + dedicated + "}\nresources: {limits: {cpu: 2, memory: 2Gi}}", []string{"cpu-given-twice-alike?"}},
	{"cpu: {cores: 2, " + dedicated + "}\nresources: {limits: {cpu: 4, memory: 2Gi}}", []string{"cpu-given-twice"}},
	{"cpu: {" + dedicated + "}\nresources: {limits: {cpu: 1999999999n, memory: 2Gi}}", nil},
	{"cpu: {cores: 1, " + dedicated + "}\nresources: {overcommitGuestOverhead: true, limits: {memory: 1Gi}}", []string{"memory-overhead-overcommitted?"}},
	{"cpu: {sockets: 65536, cores: 65536, threads: 2, " + dedicated + "}\nmemory: {guest: 1Gi}", []string{"vcpus-too-many?", "threads-need-smt?"}},
	{"cpu: {" + dedicated + "}\nresources: {limits: {memory: 1Gi}}", nil},
	{"cpu: {" + dedicated + "}\nresources: {limits: {cpu: 9223372036854775808, memory: 1Gi}}", []string{"vcpus-too-many?"}},
	{"cpu: {" + dedicated + "}\nresources: {limits: {cpu: 4294967296, memory: 1Gi}}", []string{"cpu-given-twice", "vcpus-too-many?"}},
	{"cpu: {" + dedicated + "}\nresources: {limits: {cpu: 2147483648, memory: 1Gi}}", []string{"vcpus-too-many?", "sockets-too-many"}},
	{"cpu: {sockets: 65536, cores: 65536, " + dedicated + "}\nmemory: {guest: 1Gi}", []string{"cpu-missing", "vcpus-too-many?"}},
	{"cpu: {sockets: 65536, cores: 65536, threads: 2, " + dedicated + "}\nresources: {limits: {cpu: 2, memory: 1Gi}}", []string{"vcpus-too-many?", "cpu-given-twice-alike?", "threads-need-smt?"}},
	{"resources: {requests: {cpu: 1000500u, memory: 1Gi}, limits: {cpu: 1000100u}}", nil},
	{"resources: {requests: {cpu: 1002m, memory: 1Gi}, limits: {cpu: 1001m}}", []string{"cpu-requests-above-limits"}},
	{"memory: {guest: 0}", nil},
	{"cpu: {cores: 1, " + dedicated + "}\nmemory: {guest: 0}", []string{"memory-missing"}},
	{"memory: {guest: 4Mi, hugepages: {pageSize: -2Mi}}", nil},
	{"memory: {guest: 4Mi, hugepages: {pageSize: ' 2Mi'}}", []string{"hugepages-page-size"}},
}

// Every rule has an id of its own and is broken by some case above, so that none can be dead.
func TestEveryRuleIsTested(t *testing.T) {
	tested := map[string]bool{}
	for _, tc := range ruleCases(t) {
		for _, rule := range tc.Want {
			tested[strings.TrimSuffix(rule, "?")] = true
		}
	}
	for _, tc := range strictnessCases {
		for _, rule := range tc.want {
			tested[strings.TrimSuffix(rule, "?")] = true
		}
	}
	for _, id := range []string{"memory-guest-above-limits-staged", "hook-sidecars-off"} { // in TestJudgeInACluster
		tested[id] = true
	}
	seen := map[string]bool{}
	for _, rule := range rules {
		if seen[rule.id] {
			t.Errorf("two rules have the id %s", rule.id)
		}
		seen[rule.id] = true
		if !tested[rule.id] {
			t.Errorf("no case breaks rule %s", rule.id)
		}
		if rule.from == "" {
			t.Errorf("rule %s does not say where it comes from", rule.id)
		}
	}
}

func TestVCPUs(t *testing.T) {
	for _, tc := range []struct {
		cpu  CPU
		want int64
	}{
		{CPU{}, 0},
		{CPU{Cores: 4}, 4},
		{CPU{Sockets: 2, Threads: 2}, 4},
		{CPU{Sockets: 2, Cores: 3, Threads: 2}, 12},
		{CPU{Sockets: 65536, Cores: 65536, Threads: 2}, 1 << 33},
		{CPU{Sockets: 1 << 31, Cores: 1 << 31, Threads: 1 << 31}, 1<<63 - 1},
	} {
		v := &VMI{Spec: Spec{Domain: Domain{CPU: tc.cpu}}}
		if got := v.VCPUs(); got != tc.want {
			t.Errorf("%+v has %d vCPUs; want %d", tc.cpu, got, tc.want)
		}
	}
}
