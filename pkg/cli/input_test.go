// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// one is a Pod that asks for a CPU, in YAML, with this metadata.
func one(metadata string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {" + metadata + "}\nspec: {containers: [{name: c0, resources: {limits: {cpu: 1, memory: 1Gi}}}]}\n---\n"
}

// told gives of each line of fit -o json its pod and CPUs, or its reason and error.
func told(t *testing.T, out string) string {
	t.Helper()
	var parts []string
	for _, l := range linesOf(t, out) {
		parts = append(parts, strings.TrimSpace(fmt.Sprint(l.Pod, l.CPUs["c0"]+l.Reason+" "+l.Error)))
	}
	return strings.Join(parts, "\n")
}

// What cannot be used is reported in its place, and the rest is answered.
func TestFitLeavesOut(t *testing.T) {
	const odd = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: c}\n---\n"
	for name, test := range map[string]struct{ pods, want string }{
		"a quantity that is none": {one("name: a") + strings.Replace(one("name: b"), "cpu: 1", "cpu: x", 1) + one("name: c"),
			"a1\nbBadInput standard input:25: Pod b: spec.containers[0].resources.limits.cpu is x; want a quantity, such as 2, 500m or 1Gi\nc5"},
		"not YAML":          {one("name: a") + "kind: [\n---\n" + one("name: c"), "a1\nBadInput standard input:22: reading YAML or JSON: did not find expected node content\nc5"},
		"another kind":      {odd + one("name: c"), "BadInput standard input:17: this is apps/v1 \"Deployment\", and only NodeCPU (corepin.dev/v1alpha1), Node and Pod (v1) and virtual machines (kubevirt.io) can be used here\nc1"},
		"of no kind":        {"a: b\n---\n" + one("name: c"), "BadInput standard input:17: apiVersion or kind is missing, so it is not known what this is\nc1"},
		"a virtual machine": {"apiVersion: kubevirt.io/v1\nkind: VirtualMachine\n---\n" + one("name: c"), "BadInput standard input:17: VirtualMachine without a name: reading VirtualMachine : spec.template.spec: is missing; spec.template.spec.domain: is missing\nc1"},
		"no name":           {one("") + one("name: c"), "BadInput standard input:19: Pod without a name: metadata.name is missing\nc1"},
		"a name twice":      {one("name: a") + one("name: a, namespace: default") + one("name: a, namespace: b"), "a1\naBadInput standard input:22: Pod a: a second Pod of this name; rename it, or leave one out\nb/a5"},
		"fields for a list": {one("name: a") + strings.Replace(one("name: b"), "[{name: c0", "{c: [name", 1), "a1\nBadInput standard input:"},
		"at the end":        {one("name: a") + "3\n", "a1\nBadInput standard input:22: want an object with apiVersion, kind and metadata, there is something else"},
		"a second NodeCPU":  {one("name: a") + minimalReport + "---\n" + one("name: c"), "a1\nBadInput standard input:22: a second NodeCPU of node n1; leave one out\nc5"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := run(t, minimalReport+"---\n"+test.pods, "fit", "-f", "-", "-o", "json")
			if got := told(t, out); code != exitError || !strings.Contains(got, test.want) {
				t.Errorf("exit code %d, got\n%s\nwant\n%s", code, got, test.want)
			}
			if !strings.HasPrefix(errs, "error: reading input: standard input:") || strings.Count(errs, "\n") != 1 {
				t.Errorf("error %q", errs)
			}
		})
	}
}

// Many faults in one list take no more than a look each.
func TestManyFaults(t *testing.T) {
	_, out, errs := run(t, minimalReport+"---\n"+one("name: a")+"["+strings.Repeat("3,", 20_000)+"3]", "fit", "-f", "-", "-o", "json")
	if strings.Count(out, "BadInput") != 20_001 || !strings.HasSuffix(errs, "and 20000 more objects that cannot be used\n") {
		t.Errorf("%d faults told, error %q", strings.Count(out, "BadInput"), errs)
	}
}

func TestGeneratedNames(t *testing.T) {
	pods := one("generateName: web-") + one("name: web-2") + one("generateName: web-")
	code, out, errs := run(t, minimalReport+"---\n"+pods, "fit", "-f", "-", "-o", "json", "--bind", "web-3=n1")
	if got := told(t, out); code != exitOK || got != "web-11\nweb-25\nweb-32" {
		t.Errorf("exit code %d, error %q, got %q", code, errs, got)
	}
	vm := "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {generateName: vm-, namespace: a}\n" +
		"spec: {domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 1Gi}, devices: {}}}\n"
	_, out, _ = run(t, vm+vm, "check", "-f", "-")
	if !strings.Contains(out, "VirtualMachineInstance a/vm-1: allowed") || !strings.Contains(out, "VirtualMachineInstance a/vm-2: allowed") {
		t.Error(out)
	}
	_, out, errs = run(t, minimalReport+vm, "pins", "-f", "-", "--cpus", "1,5", "-o", "json")
	if want := `{"vmi":"a/vm-1","vcpus":[{"vcpu":0,"cpus":"1"},{"vcpu":1,"cpus":"5"}],"emulator":"","ioThreads":[],"error":""}` + "\n"; out != want {
		t.Errorf("error %q, got %s", errs, out)
	}
}

// The forms in which people have their objects.
func TestForms(t *testing.T) {
	a, b := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c0","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}]}}`, one("name: b")
	bare := strings.Replace(a, `"apiVersion":"v1","kind":"Pod",`, "", 1)
	const alias = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - &c\n    name: c0\n    resources: &r {limits: {cpu: 1, memory: 1Gi}}\n" +
		"  - <<: *c\n    name: c1\n  - {name: c2, resources: *r}\n"
	for name, test := range map[string]struct{ pods, want string }{
		"a JSON list":         {"[" + a + ",\n" + strings.Replace(a, `"a"`, `"b"`, 1) + "]", "a1\nb5"},
		"a YAML list":         {"- " + a + "\n- " + strings.Replace(a, `"a"`, `"b"`, 1), "a1\nb5"},
		"a List":              {`{"apiVersion":"v1","kind":"List","items":[` + a + "]}\n" + b, "a1\nb5"},
		"a PodList":           {`{"apiVersion":"v1","kind":"PodList","items":[` + bare + "]}", "a1"},
		"an empty List":       {"apiVersion: v1\nkind: List\nitems: []\n---\n" + b, "b1"},
		"of Windows":          {strings.ReplaceAll(b, "\n", "\r\n"), "b1"},
		"anchors and merges":  {alias, "a1"},
		"empty and commented": {"---\n# nothing\n---\n\n---\n" + b + "...\n# end\n", "b1"},
	} {
		code, out, errs := run(t, "\ufeff"+minimalReport+"---\n"+test.pods, "fit", "-f", "-", "-o", "json")
		if got := told(t, out); code != exitOK || got != test.want {
			t.Errorf("%s: exit code %d, error %q, got %q, want %q", name, code, errs, got, test.want)
		}
	}
	for name, test := range map[string]struct{ input, want string }{
		"a tab":                     {"apiVersion: v1\nmetadata:\n\tname: x\n", "standard input:3: reading YAML or JSON: found character that cannot start any token; there is a tab before the text"},
		"keys twice":                {"a: 1\nb: 2\na: 1\nb: 2\n", `standard input:3: reading YAML or JSON: key "a" already set in map; line 4: key "b" already set in map`},
		"a key twice beside merges": {"a: &a {b: 1}\nc: {<<: *a}\nc: 3\n", `standard input:3: reading YAML or JSON: key "c" already set in map`},
		"a List without items":      {"apiVersion: v1\nkind: List\n", "standard input:1: reading List: want a list in items"},
	} {
		if code, _, errs := run(t, test.input, "fit", "-f", "-"); code != exitError || !strings.Contains(errs, test.want) {
			t.Errorf("%s: exit code %d, error %q, want %q", name, code, errs, test.want)
		}
	}
}

// The example in the help of fit is one.
func TestMinimalReport(t *testing.T) {
	_, help, _ := run(t, "", "fit", "--help")
	_, example, found := strings.Cut(help, "\n    apiVersion:")
	example, _, ended := strings.Cut("\n    apiVersion:"+example, "\n\n")
	if !found || !ended {
		t.Fatalf("no example in\n%s", help)
	}
	report := strings.ReplaceAll(example, "\n    ", "\n")
	code, out, errs := run(t, report+"\n---\n"+strings.Replace(one("name: a"), "cpu: 1", "cpu: 4", 1), "fit", "-f", "-", "-o", "json")
	if got := told(t, out); code != exitOK || got != "a1-2,5-6" {
		t.Errorf("exit code %d, error %q, got %s", code, errs, out)
	}
	for name, test := range map[string]struct{ old, new, want string }{
		"no shared CPUs":     {"  sharedCPUs: \"0-7\"\n", "", ":4: NodeCPU n1: status.sharedCPUs is missing: the CPUs that no container has for its own, those reserved included; if they are all, \"0-7\""},
		"no cores":           {report[strings.Index(report, "  numaNodes"):], "", ":4: NodeCPU n1: status.cores is missing; kubectl corepin fit --help shows"},
		"no quotes":          {`reservedCPUs: "0,4"`, "reservedCPUs: 0", ":8: NodeCPU n1: status.reservedCPUs is a number; want a string, in quotes"},
		"a strange core":     {"{id: 2,", "{id: 9,", ":14: NodeCPU n1: core 9: its lowest CPU is 2, and a core is named by it"},
		"no such NUMA node":  {`"1,5", numaNode: 0`, `"1,5", numaNode: 1`, ":13: NodeCPU n1: core 1: NUMA node 1 is not in numaNodes"},
		"a policy unheard":   {"policy: restricted", "policy: strict", ":7: NodeCPU n1: topologyManager: "},
		"a field unheard":    {"  reservedCPUs", "  reserved", `:8: NodeCPU n1: unknown field "status.reserved"`},
		"a version unheard":  {"v1.36.3", "latest", ":5: NodeCPU n1: kubeletVersion: "},
		"a CPU out of range": {`"0-7"`, `"0-8"`, ":9: NodeCPU n1: sharedCPUs: CPUs 8 are in no core of the report"},
	} {
		bad := strings.Replace(strings.TrimPrefix(report, "\n"), strings.TrimPrefix(test.old, "\n"), test.new, 1)
		code, out, errs := run(t, bad+"\n---\n"+one("name: a"), "fit", "-f", "-", "-o", "json")
		if code != exitError || !strings.HasPrefix(errs, "error: reading input: standard input"+test.want) || !strings.Contains(out, "ReportUnreadable") {
			t.Errorf("%s: exit code %d, error %q, want %q, got %s", name, code, errs, test.want, out)
		}
	}
}

func TestPinsLeavesOut(t *testing.T) {
	const vm = "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm}\n" +
		"spec: {domain: {cpu: {cores: 1, dedicatedCpuPlacement: true}, memory: {guest: 1Gi}, devices: {}}}\n"
	input := minimalReport + strings.Replace(vm, "cores: 1", "cores: one", 1) + vm + "---\nkind: [\n---\n" + one("name: a")
	code, out, errs := run(t, input, "pins", "-f", "-", "--cpus", "1", "-o", "json")
	lines := strings.Split(out, "\n")
	wants := []string{`"error":"standard input:20: reading VirtualMachineInstance vm: spec.domain.cpu.cores`, `"vcpus":[{"vcpu":0,"cpus":"1"}]`,
		`"error":"standard input:27: reading YAML`, `"error":"standard input:29: this is v1 \"Pod\"`, ""}
	if code != exitError || !strings.Contains(errs, "standard input:20") || len(lines) != len(wants) {
		t.Fatalf("exit code %d, error %q, got\n%s", code, errs, out)
	}
	for i, want := range wants {
		if !strings.Contains(lines[i], want) {
			t.Errorf("want %s in %s", want, lines[i])
		}
	}
}

// A fault in a Pod leaves the nodes to the cluster; one in anything else may be that of a node, and the cluster's
// would be others.
func TestFaultsAndTheCluster(t *testing.T) {
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "restricted", nil)}}
	bad := strings.Replace(one("name: b"), "cpu: 1", "cpu: x", 1)
	code, out, errs := runIn(t, nil, cluster, bad+one("name: a"), "fit", "-f", "-", "-o", "json")
	if got := told(t, out); code != exitError || !strings.HasPrefix(got, "bBadInput standard input:4: ") || !strings.HasSuffix(got, "\na1") {
		t.Errorf("exit code %d, error %q, got %s", code, errs, got)
	}
	code, out, errs = runIn(t, nil, cluster, strings.Replace(minimalReport, "metadata", "\tmetadata", 1)+"---\n"+one("name: a"), "fit", "-f", "-", "-o", "json")
	if code != exitError || out != "" || !strings.Contains(errs, "standard input:3: reading YAML") {
		t.Errorf("exit code %d, error %q, got %s", code, errs, out)
	}
	code, out, errs = run(t, minimalReport+"---\n"+strings.Replace(minimalReport, "name: n1}\nstatus", "name: n2}\nstate", 1), "nodes", "-f", "-")
	if code != exitError || !strings.Contains(out, "s0 n0  RR .. .. ..") || !strings.HasSuffix(out, "n2\nunknown field \"state\"\n") || !strings.Contains(errs, "standard input:20: NodeCPU n2") {
		t.Errorf("exit code %d, error %q, got %s", code, errs, out)
	}
}
