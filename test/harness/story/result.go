// SPDX-License-Identifier: Apache-2.0

package story

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Result is what the story leaves behind, read from outside corepin: the API server, the kubelets'
// checkpoint files, libvirt and /proc.
type Result struct {
	VMs        []VM        `json:"vms"`
	Nodes      []Node      `json:"nodes"`
	Rejections []Rejection `json:"rejections"`
	// Kubectl is what a user sees: commands and what they print.
	Kubectl []Output `json:"kubectl"`
}

// Output is a kubectl command and what it printed.
type Output struct {
	Command string `json:"command"`
	Printed string `json:"printed"`
}

// VM is one dedicated VM that runs.
type VM struct {
	Name string `json:"name"`
	Pod  string `json:"pod"`
	Node string `json:"node"`
	// Granted is the CPU list of the compute container in the kubelet's checkpoint.
	Granted string `json:"granted"`
	// Pins are the vCPU pins as virsh prints them; empty where the node has no hypervisor.
	Pins []Pin `json:"pins,omitempty"`
	// Threads are the vCPU threads of a real guest, from /proc; empty for a simulated one.
	Threads []Thread `json:"threads,omitempty"`
	// Guest says what runs the guest: "QEMU", "libvirt test driver" or "none".
	Guest string `json:"guest"`
}

// Pin is one vCPU's pin in libvirt.
type Pin struct {
	VCPU int    `json:"vcpu"`
	CPUs string `json:"cpus"`
}

// Thread is one vCPU thread of QEMU.
type Thread struct {
	TID  int    `json:"tid"`
	Name string `json:"name"`
	// CPUs is Cpus_allowed_list in /proc/TID/status.
	CPUs string `json:"cpus"`
}

// Node is one node at the end of the story.
type Node struct {
	Name    string `json:"name"`
	Machine string `json:"machine"`
	Policy  string `json:"policy"`
	Label   string `json:"label"`
	Map     string `json:"map"`
}

// Rejection is something that was rightly refused.
type Rejection struct {
	Name string `json:"name"`
	// By is who refused it: "API server" or "corepin-scheduler".
	By      string `json:"by"`
	Message string `json:"message"`
}

// WriteText prints the result for a person.
func (r Result) WriteText(w io.Writer) {
	table := tabwriter.NewWriter(w, 2, 0, 3, ' ', 0)
	fmt.Fprintln(table, "VM\tNODE\tGRANTED CPUS\tVCPU PINS\tGUEST")
	for _, vm := range r.VMs {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", vm.Name, vm.Node, vm.Granted, vm.pinText(), vm.Guest)
	}
	_ = table.Flush() // to the same writer as everything else here
	fmt.Fprintln(w, "\nWho holds which core (a cell is a core, a letter a CPU):")
	for _, node := range r.Nodes {
		fmt.Fprintf(w, "\n%s: %s, CPU manager %s, label cpumanager=%s\n", node.Name, node.Machine, node.Policy, orNone(node.Label))
		fmt.Fprint(w, indent(node.Map))
	}
	for _, output := range r.Kubectl {
		fmt.Fprintf(w, "\n$ %s\n%s", output.Command, output.Printed)
	}
	fmt.Fprintln(w, "\nRefused, as it should be:")
	for _, rejection := range r.Rejections {
		fmt.Fprintf(w, "  %s, by the %s:\n%s", rejection.Name, rejection.By, indent(indent(rejection.Message+"\n")))
	}
}

func (vm VM) pinText() string {
	if len(vm.Pins) == 0 {
		return "-"
	}
	parts := make([]string, len(vm.Pins))
	for i, pin := range vm.Pins {
		parts[i] = fmt.Sprintf("%d→%s", pin.VCPU, pin.CPUs)
	}
	for _, thread := range vm.Threads {
		parts = append(parts, fmt.Sprintf("(/proc: thread %d %q on %s)", thread.TID, thread.Name, thread.CPUs))
	}
	return strings.Join(parts, " ")
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}
