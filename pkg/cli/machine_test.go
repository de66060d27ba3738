// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/explain"
)

const (
	plannedVMI = "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: new, namespace: vms}\n" +
		"spec: {domain: {cpu: {cores: 2, threads: 2, dedicatedCpuPlacement: true, isolateEmulatorThread: true}, memory: {guest: 1Gi}, devices: {}}}\n"
	plannedVM = "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: sized}\nspec:\n  instancetype: {name: four, kind: virtualmachineinstancetype}\n" +
		"  template: {spec: {domain: {devices: {}}}}\n"
	fourCPUs = "---\napiVersion: instancetype.kubevirt.io/v1beta1\nkind: VirtualMachineInstancetype\nmetadata: {name: four}\nspec: {cpu: {guest: 4, dedicatedCPUPlacement: true}, memory: {guest: 2Gi}}\n"
)

// nodesOf are nodes of eight cores, of which the first is reserved, with their Node objects.
func nodesOf(t testing.TB, names ...string) string {
	t.Helper()
	var all []any
	for _, name := range names {
		node := nodeOffering("14", "64Gi", "110")
		node.Name = name
		node.Status.Allocatable[corev1.ResourceEphemeralStorage] = resource.MustParse("100Gi")
		node.Labels = map[string]string{"kubevirt.io/cpumanager": "true", "kubevirt.io/schedulable": "true"}
		all = append(all, reportOf(t, name, eightCores, "restricted", nil), node)
	}
	return stream(t, all...)
}

// A virtual machine that does not exist yet is tried by the launcher pod that KubeVirt would make of it.
func TestPlannedMachines(t *testing.T) {
	for name, test := range map[string]struct {
		input, args, want string
	}{
		"fit, a VMI":                     {nodesOf(t, "n1") + plannedVMI, "fit -f -", "vms/virt-launcher-new: admitted by n1: compute 1-3,9-10\n"},
		"fit, a VM with an instancetype": {nodesOf(t, "n1") + plannedVM + fourCPUs, "fit -f -", "virt-launcher-sized: admitted by n1: compute 1-2,9-10\n"},
		"fit, a VM with a preference": {nodesOf(t, "n1") + strings.Replace(plannedVM, "spec:\n", "spec:\n  preference: {name: wide, kind: virtualmachinepreference}\n", 1) + fourCPUs +
			"---\napiVersion: instancetype.kubevirt.io/v1beta1\nkind: VirtualMachinePreference\nmetadata: {name: wide}\nspec: {cpu: {preferredCPUTopology: cores}}\n",
			"fit -f -", "virt-launcher-sized: admitted by n1: compute 1-2,9-10\n"},
		"fit, its instancetype lacks": {nodesOf(t, "n1") + plannedVM, "fit -f -", "VirtualMachine sized: its sizes are in VirtualMachineInstancetype four; give that too"},
		"fit, on a node that is full": {nodesOf(t, "n1") + stream(t, podAsking("a", "n1", "12")) + plannedVMI, "fit -f -",
			"vms/virt-launcher-new: refused by n1: TopologyAffinityError"},
		"fit, two of one name":           {nodesOf(t, "n1") + plannedVMI + plannedVMI, "fit -f -", "a second virtual machine of this name"},
		"explain, without its name":      {nodesOf(t, "n1") + plannedVMI, "explain -f -", "pod vms/virt-launcher-new (VM vms/new) asks for 5 CPUs of its own + 15m in the shared pool.\n1 of 1 nodes have room for it.\n\nn1: fits: compute 1-3,9-10\n"},
		"explain, with its name":         {nodesOf(t, "n1") + plannedVMI + plannedVM + fourCPUs, "explain vm sized -f -", "\nn1: fits: compute 1-2,9-10\n"},
		"explain, several":               {nodesOf(t, "n1") + plannedVMI + plannedVM + fourCPUs, "explain -f -", "the input has several, vm vms/new and vm sized first"},
		"explain, none":                  {nodesOf(t, "n1"), "explain -f -", "the input has no new virtual machine and no pod without a node"},
		"explain, the VM's own wishes":   {nodesOf(t, "n1") + strings.Replace(plannedVMI, "cores: 2, threads: 2", "cores: 7, threads: 2", 1), "explain -f -", "0 of 1 nodes have room for it.\n\nn1: "},
		"explain, a rule that is broken": {nodesOf(t, "n1") + strings.Replace(plannedVMI, "cores: 2", "realtime: {mask: x}, cores: 2", 1), "explain vmi new -n vms -f -", "corepin-scheduler refuses it: the VM is inconsistent"},
		"explain, a pod without a node":  {nodesOf(t, "n1") + stream(t, podAsking("a", "", "4")), "explain -f -", "pod a asks for 4 CPUs of its own"},
	} {
		_, out, errs := run(t, test.input, strings.Fields(test.args)...)
		if !strings.Contains(out+errs, test.want) {
			t.Errorf("%s: want %q in\n%s%s", name, test.want, out, errs)
		}
	}
}

// The VMI of the input is asked for the VM's own wishes, and a machine of the cluster is not placed a second time.
func TestMachinesOfTheCluster(t *testing.T) {
	pod := launcherAsking("db", "", "4")
	created := `{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance","metadata":{"name":"db","namespace":"default","uid":"1"},"spec":{"domain":` +
		`{"cpu":{"sockets":4,"dedicatedCpuPlacement":true,"realtime":{"mask":"x"}},"memory":{"guest":"1Gi"}}}}`
	input := nodesOf(t, "n1") + stream(t, pod) + created
	_, out, errs := run(t, input, "explain", "vm", "db", "-f", "-")
	if !strings.Contains(out, "corepin-scheduler refuses it: the VM is inconsistent") || strings.Contains(out, "Note") {
		t.Errorf("got\n%s%s", out, errs)
	}
	_, out, errs = run(t, input, "fit", "-f", "-")
	if strings.Count(out, "virt-launcher-db:") != 1 {
		t.Errorf("got\n%s%s", out, errs)
	}
}

// A thousand equal nodes take as many lines as one.
func TestEqualNodesAreGrouped(t *testing.T) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("n%03d", i))
	}
	cluster := Cluster{Pods: []corev1.Pod{podAsking("big", "", "16"), podAsking("small", "", "2")}}
	for _, name := range names {
		cluster.Reports = append(cluster.Reports, reportOf(t, name, eightCores, "restricted", nil))
	}
	_, out, _ := runIn(t, nil, cluster, "", "explain", "pod", "big")
	if lines := strings.Count(out, "\n"); lines > 8 || !strings.Contains(out, "\nn000, n001, n002 and 997 more nodes: 14 free CPUs") {
		t.Errorf("%d lines:\n%s", lines, out)
	}
	_, out, _ = runIn(t, nil, cluster, "", "explain", "pod", "small")
	if want := "1000 of 1000 nodes have room for it.\n\nn000, n001, n002 and 997 more nodes: fits: c0 1,9\n"; !strings.HasSuffix(out, want) {
		t.Errorf("want %q, got\n%s", want, out)
	}
	var all []explain.Explanation
	for i, name := range names {
		all = append(all, explain.Explanation{Node: name, Facts: fmt.Sprintf("%d free CPUs", i/2)})
	}
	var text strings.Builder
	printGroups(&printer{out: &text}, all)
	if want := "\nn038, n039: 19 free CPUs\n\nand 960 more nodes, for other reasons; -o json lists all\n"; !strings.HasSuffix(text.String(), want) {
		t.Errorf("want %q, got\n%s", want, text.String())
	}
}
