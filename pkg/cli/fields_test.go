// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
)

// A field that KubeVirt does not know is named with its line and what may be meant.
func TestUnknownFields(t *testing.T) {
	const header = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a, labels: {any: thing}}\n"
	const sound = "spec:\n  domain:\n    memory: {guest: 1Gi}\n    devices: {any: thing}\n    cpu:\n      cores: 2\n      dedicatedCpuPlacement: true\n"
	for name, test := range map[string]struct{ input, want string }{
		"none": {header + sound, "standard input:1: VirtualMachineInstance a: allowed\n1 checked"},
		"further down": {header + sound + "      guestMappingPassthrough: {}\n",
			"  warning  spec.domain.cpu.guestMappingPassthrough: standard input:11: is no known field of KubeVirt; is numa.guestMappingPassthrough meant? (unknown-field)\n"},
		"misspelled": {header + strings.Replace(sound, "cores", "core", 1), "  warning  spec.domain.cpu.core: standard input:9: is no known field of KubeVirt; is cores meant? (unknown-field)\n"},
		"of a VM": {strings.Replace(header, "VirtualMachineInstance", "VirtualMachine", 1) + "spec:\n  runStratgy: Always\n  template:\n    spec: {domain: {cpu: {cores: 1}, memory: {guest: 1Gi}}}\n",
			"  warning  spec.runStratgy: standard input:5: is no known field of KubeVirt; is runStrategy meant? (unknown-field)\n"},
		"of an instancetype": {"apiVersion: instancetype.kubevirt.io/v1beta1\nkind: VirtualMachineClusterInstancetype\nmetadata: {name: a}\nspec:\n  cpu: {guest: 2, cores: 2}\n  memory: {guest: 1Gi}\n",
			"  warning  spec.cpu.cores: standard input:5: is no known field of KubeVirt (unknown-field)\n"},
		"of a replica set": {"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceReplicaSet\nmetadata: {name: a}\nspec:\n  selector: {}\n  template:\n    spec: {domain: {cpu: {cores: 1, socket: 1}, memory: {guest: 1Gi}}}\n",
			"  warning  spec.template.spec.domain.cpu.socket: standard input:7: is no known field of KubeVirt; is sockets meant? (unknown-field)\n"},
		"of a pool": {"apiVersion: pool.kubevirt.io/v1alpha1\nkind: VirtualMachinePool\nmetadata: {name: a}\nspec:\n  selector: {}\n  replica: 2\n  virtualMachineTemplate:\n    spec: {template: {spec: {domain: {cpu: {cores: 1}, memory: {guest: 1Gi}}}}}\n",
			"  warning  spec.replica: standard input:6: is no known field of KubeVirt; is replicas meant? (unknown-field)\n"},
		"of the object": {header + sound + "sepc: {}\n", "  warning  sepc: standard input:11: is no known field of KubeVirt (unknown-field)\n"},
	} {
		_, out, _ := run(t, test.input, "check", "-f", "-")
		if !strings.Contains(out, test.want) {
			t.Errorf("%s: want %q in\n%s", name, test.want, out)
		}
	}
}
