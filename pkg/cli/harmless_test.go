// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// forged is a name that would clear the screen, return to the line's begin, reverse it, and write a line of its own.
const forged = "x\x1b[2J\rok\nforged: allowed\u202e\u009b31m\x07"

func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"vms/db µ 日本":       "vms/db µ 日本",
		"a\x1b[31mb":        `a\x1b[31mb`,
		"a\r\n\tb":          `a\r\n\tb`,
		"a\u202eb\u2066c":   `a\u202eb\u2066c`,
		"a\u009b31m":        `a\u009b31m`,
		"a\u2028b\u00a0c":   `a\u2028b\u00a0c`,
		"a\xffb\ufffd":      "a\\xffb\ufffd",
		"a\U000e0041b\x7fc": `a\U000e0041b\x7fc`,
	} {
		if got := harmless(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestJSONIsHarmlessAndTheSame(t *testing.T) {
	var out strings.Builder
	p := printer{out: &out}
	p.encode(map[string]string{"a": forged + "\U000e0041"})
	checkHarmless(t, "json", out.String())
	var back map[string]string
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back["a"] != forged+"\U000e0041" {
		t.Errorf("%s came back as %q: %v", out.String(), back, err)
	}
}

// checkHarmless fails where a terminal would do something else than show the text, or where a line is forged.
func checkHarmless(t *testing.T, what, text string) {
	t.Helper()
	for i, r := range text {
		if r != '\n' && !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			t.Fatalf("%s: character %U at %d of\n%q", what, r, i, text)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "forged") {
			t.Errorf("%s: a line is forged:\n%s", what, text)
		}
	}
}

// Names of every kind, in files and in the cluster, through every command.
func TestNamesAreHarmless(t *testing.T) {
	report := reportOf(t, forged, eightCores, "restricted", map[types.UID]map[string]cpuset.Set{
		types.UID("1" + forged): {"c" + forged: cpuset.Of(1, 9)}, "vm": {"c0": cpuset.Of(2, 10)}})
	report.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionFalse, Message: forged},
		{Type: v1alpha1.ConditionDrifted, Status: metav1.ConditionTrue, Message: "VM " + forged + "/" + forged + ": " + forged}}
	odd := reportOf(t, "odd"+forged, eightCores, "restricted", nil)
	odd.Status.CPUManager.Policy = forged
	node := nodeOffering("16", "64Gi", "110")
	node.Name = forged
	node.Spec.Taints = []corev1.Taint{{Key: forged, Value: forged, Effect: corev1.TaintEffectNoSchedule}}
	pod := podAsking("a"+forged, forged, "2")
	pod.Namespace = forged
	pod.Spec.Containers[0].Name = forged
	vm := launcherOf(forged, "2")
	vm.Namespace = forged
	vm.Name = "vm"
	vm.UID = "vm"
	vm.Spec.NodeName = forged
	waiting := vm
	waiting.Name = "waiting"
	waiting.Spec.NodeName = ""
	waiting.Status.Phase = corev1.PodPending
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{report, odd}, Nodes: []corev1.Node{node}, Pods: []corev1.Pod{pod, vm, waiting}, Namespace: forged}
	input := stream(t, report, odd, node, pod, vm, waiting, map[string]any{"apiVersion": forged, "kind": forged, "metadata": map[string]any{"name": forged, "namespace": forged}}) + "{\"" + forged + "\": [\n"
	machine := fmt.Sprintf(`{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachine","metadata":{"name":%[1]s,"namespace":%[1]s},"spec":{"instancetype":{"name":%[1]s,"kind":%[1]s},`+
		`"template":{"spec":{"domain":{%[1]s:1,"cpu":{"dedicatedCpuPlacement":true,"model":%[1]s,"features":[{"name":%[1]s,"policy":%[1]s}],"numa":{%[1]s:{}}},"ioThreadsPolicy":%[1]s,"resources":{"limits":{"cpu":1}}}}}}}`, quoted(t, forged))
	plainVM := fmt.Sprintf(`{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance","metadata":{"name":%s},"spec":{"domain":{"cpu":{"cores":2,"dedicatedCpuPlacement":true}}}}`, quoted(t, forged))
	for _, test := range []struct {
		input string
		args  []string
	}{
		{input + machine + plainVM, []string{"check", "-f", "-"}},
		{input, []string{"fit", "-f", "-"}},
		{input, []string{"fit", "-f", "-", "--bind", forged + "=" + forged}},
		{input, []string{"nodes", "-f", "-"}},
		{input, []string{"explain", "pod", "waiting", "-n", forged, "-f", "-"}},
		{stream(t, report, node, pod, vm, waiting), []string{"explain", "pod", "waiting", "-n", forged, "-f", "-"}},
		{stream(t, report, node, pod, vm, waiting), []string{"explain", "vmi", forged, "-n", forged, "-f", "-"}},
		{stream(t, report) + plainVM + machine, []string{"pins", "-f", "-", "--cpus", "2-3"}},
		{"", []string{"pins"}},
		{"", []string{"nodes"}},
		{"", []string{"report"}},
		{stream(t, report, node, pod, vm, waiting), []string{"report", "-f", "-"}},
		{"", []string{"explain", "pod", "waiting", "-n", forged}},
		{"", []string{"explain", "pod", forged}},
		{"", []string{forged}},
	} {
		for _, format := range []string{"text", "json", "name"} {
			args := slices.Clone(test.args)
			if format == "json" && !slices.Contains([]string{"nodes", "report", forged}, args[0]) ||
				format == "name" && !slices.Contains([]string{"check", "report", forged}, args[0]) {
				args = append(args, "-o", format)
			}
			_, out, errs := runIn(t, nil, cluster, test.input, args...)
			if out+errs == "" && format != "name" { // nothing may fit
				t.Errorf("%q: no answer", args)
			}
			checkHarmless(t, fmt.Sprintf("%q", args), out)
			checkHarmless(t, fmt.Sprintf("%q", args), errs)
		}
	}
}

func quoted(t *testing.T, text string) string {
	t.Helper()
	data, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
