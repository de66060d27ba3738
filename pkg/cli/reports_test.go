// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reportsEnv names the folder of public reports about virtual machines, one folder each with its input.
const reportsEnv = "COREPIN_REPORTS"

// reported is a file of a public report. The test is skipped where the reports are not.
func reported(t *testing.T, report, file string) string {
	t.Helper()
	folder := os.Getenv(reportsEnv)
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "shared", "testdata", "reports")
	}
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("the public reports are not here; set %s to their folder to run this test", reportsEnv)
	}
	found, err := filepath.Glob(filepath.Join(folder, report+"-*", file))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s has %d files %s-*/%s, want 1 (%v)", folder, len(found), report, file, err)
	}
	return found[0]
}

func reportHost(out, errs *bytes.Buffer) Host {
	return Host{In: strings.NewReader(""), Out: out, Err: errs, Open: func(name string) (fs.File, error) { return os.Open(name) }, Connection: connection()}
}

// checkedRules is the answer of check about each object of a file: the rules, with a question mark for those that warn.
func checkedRules(t *testing.T, file, strictness string) map[string]string {
	t.Helper()
	var out, errs bytes.Buffer
	Run(t.Context(), reportHost(&out, &errs), []string{"check", "-f", file, "-o", "json", "--strictness", strictness})
	got := map[string]string{}
	decoder := json.NewDecoder(&out)
	for decoder.More() {
		var v checked
		if err := decoder.Decode(&v); err != nil {
			t.Fatalf("reading %q: %v", errs.String(), err)
		}
		var rules []string
		for _, f := range v.Findings {
			rule := f.Rule
			if f.Severity != "error" {
				rule += "?"
			}
			if strings.HasPrefix(rule, "instancetype-conflict") {
				rule += " " + f.Field
			}
			rules = append(rules, rule)
		}
		got[v.Name] = strings.Join(rules, ", ")
	}
	return got
}

// What public reports about virtual machines, instancetypes and preferences say is right.
func TestReports(t *testing.T) {
	const template = "instancetype-conflict spec.template.spec."
	for _, tc := range []struct {
		report, strictness string
		want               map[string]string
	}{
		{"10", "kubevirt", map[string]string{
			"guest-memory-too": "instancetype-memory-guest", "requests-memory-too": "instancetype-memory-requests", "limits-memory-too": "instancetype-memory-limits",
			"hugepages-too": template + "domain.memory.hugepages", "iothreadspolicy-too": template + "domain.ioThreadsPolicy",
			"model-too": template + "domain.cpu.model", "scheduler-too": template + "schedulerName", "hugepages-of-the-vm-only": "",
		}},
		{"11", "standard", map[string]string{"pool": ""}},
		{"11", "kubevirt", map[string]string{"pool": ""}},
		{"13", "kubevirt", map[string]string{
			"four-threads": "threads-more-than-two", "two-threads": "threads-need-smt?", "two-threads-arm": "threads-on-arm64",
			"as-threads": "not-judged?", "cores-threads": "not-judged?", "on-arm": "not-judged?",
		}},
		{"15", "standard", map[string]string{"eight-sockets": "sockets-above-max", "eight-cores": ""}},
		{"17", "standard", map[string]string{"half": "memory-guest-above-requests", "overcommitted": "memory-guest-above-requests"}},
		{"17", "strict", map[string]string{"half": "memory-guest-above-requests", "overcommitted": "memory-guest-above-requests"}},
		{"17", "kubevirt", map[string]string{"half": "memory-guest-above-requests?", "overcommitted": "memory-guest-above-requests?"}},
		{"18", "kubevirt", map[string]string{"rs": "cpu-limits-whole", "pool": "cpu-limits-whole"}},
		{"20", "standard", map[string]string{"harvester-pinned": "cpu-given-twice-alike?", "ocp-high-performance": "cpu-given-twice-alike?, cpus-odd?"}},
		{"20", "strict", map[string]string{"harvester-pinned": "cpu-given-twice-alike", "ocp-high-performance": "cpu-given-twice-alike, cpus-odd?"}},
	} {
		t.Run(tc.report+" "+tc.strictness, func(t *testing.T) {
			got := checkedRules(t, reported(t, tc.report, "in.yaml"), tc.strictness)
			for name, want := range tc.want {
				if rules, judged := got[name]; !judged || rules != want {
					t.Errorf("%s: %q; want %q", name, rules, want)
				}
			}
		})
	}
}

// A sidecar of whole CPUs is KubeVirt's to run: its VM is placed, and its CPUs are counted.
func TestReportedSidecars(t *testing.T) {
	for pod, want := range map[string]int{"istio": exitOK, "console1": exitOK, "istio2": exitRefused, "istio3": exitRefused} {
		var out, errs bytes.Buffer
		args := []string{"explain", "pod", pod, "-f", reported(t, "21", "nodes.yaml"), "-f", reported(t, "21", "pods.yaml"), "--strictness", "kubevirt"}
		if code := Run(t.Context(), reportHost(&out, &errs), args); code != want {
			t.Errorf("%s: exit code %d; want %d: %s%s", pod, code, want, out.String(), errs.String())
		}
	}
}

// What public reports about what goes on around a scheduler say is right: pods that are resized, that wait for volumes or for
// the rest of their gang, young nodes, targets of migrations, autoscalers.
func TestReportedNeighbours(t *testing.T) {
	const aligned = "n1: 22 free CPUs in NUMA node 0 as 11 whole cores, 16 in NUMA node 1 as 8 whole cores; needs 12 whole cores in one NUMA node\n"
	const starting = "new: is starting, and its first CPU report is awaited: the Node is new\n"
	for _, tc := range []struct {
		report, pod, nodes, pods string
		code                     int
		says                     string
	}{
		{"31", "c", "nodes.yaml", "pods.yaml", exitRefused, aligned},
		{"31", "c", "nodes.yaml", "pods-not-resized.yaml", exitRefused, aligned},
		{"32", "db", "nodes.yaml", "four.yaml", exitOK, "n1: fits: compute 1,33\n"},
		{"32", "big", "nodes-one.yaml", "one.yaml", exitOK, "n1: fits: compute 1-15,33-47\n"},
		{"34", "odd", "nodes.yaml", "pods.yaml", exitRefused, starting},
		{"34", "wide", "nodes.yaml", "pods.yaml", exitRefused, starting},
		{"34", "fine", "nodes.yaml", "pods.yaml", exitRefused, starting},
		{"35", "next", "nodes.yaml", "pods.yaml", exitOK, "n1: fits\n"},
		{"36", "g4", "nodes.yaml", "pods.yaml", exitOK, "n1: fits\n"},
		{"37", "target", "nodes.yaml", "pods.yaml", exitOK, "n2: fits: compute 1-2,33-34, guest-console-log 3\n"},
		{"37", "target", "nodes.yaml", "pods.yaml", exitOK, `container "guest-console-log" asks for a whole number of CPUs and takes exclusive CPUs of its own (1)`},
		{"38", "vm", "nodes.yaml", "pods.yaml", exitRefused, "By count n1 has room, so an autoscaler adds no node.\n"},
	} {
		t.Run(tc.report+" "+tc.pod+" "+tc.pods, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := []string{"explain", "pod", tc.pod, "-n", "vms", "-f", reported(t, tc.report, tc.nodes), "-f", reported(t, tc.report, tc.pods)}
			code := Run(t.Context(), reportHost(&out, &errs), args)
			if code != tc.code || !strings.Contains(out.String(), tc.says) {
				t.Errorf("exit code %d, want %d and %q in:\n%s%s", code, tc.code, tc.says, out.String(), errs.String())
			}
		})
	}
}

// fit does not refuse the pod that runs, whatever its spec wishes now.
func TestReportedResizeInFit(t *testing.T) {
	var out, errs bytes.Buffer
	Run(t.Context(), reportHost(&out, &errs), []string{"fit", "-f", reported(t, "31", "nodes.yaml"), "-f", reported(t, "31", "pods.yaml")})
	if want := "shop/pg-0: admitted by n1: postgres 16-23,48-55 (it has them already)\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in:\n%s%s", want, out.String(), errs.String())
	}
}
