// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Every command knows --namespace, and gives it to what names none.
func TestNamespace(t *testing.T) {
	other := launcherOf("other", "2")
	other.Namespace = "b"
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "small", eightCores, "none", nil)}}
	cluster.Pods = append(cluster.Pods, launcherOf("db", "2"), other)
	const vm = "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: vm}\nspec: {instancetype: {name: i, kind: VirtualMachineInstancetype}, template: {spec: {domain: {cpu: {dedicatedCpuPlacement: true}}}}}\n"
	for _, test := range []struct {
		args  string
		input string
		want  string
	}{
		{"check -f - -n a", vm, "VirtualMachine a/vm: "},
		{"check -f - -n a", vm, "VirtualMachineInstancetype a/i;"},
		{"fit -f - --namespace=a", minimalReport + "---\n" + one("name: p") + one("name: q, namespace: b"), "a/p: admitted by n1: c0 1\nb/q: admitted by n1: c0 5"},
		{"nodes -f - -n a", minimalReport, "n1\n"},
		{"explain pod p -f - -n a", minimalReport + "---\n" + one("name: p"), "pod a/p asks for "},
		{"pins -n vms", "", "vms/db on small"},
		{"pins -n b", "", "b/other on small"},
		{"pins -n c", "", "no dedicated VM runs in namespace c of the cluster\n"},
		{"pins", "", "b/other on small"},
	} {
		_, out, errs := runIn(t, nil, cluster, test.input, strings.Fields(test.args)...)
		if !strings.Contains(out, test.want) || strings.Contains(out, "vms/") && strings.Contains(test.args, "-n b") {
			t.Errorf("%s: want %q, got\n%s%s", test.args, test.want, out, errs)
		}
	}
}
