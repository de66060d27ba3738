// SPDX-License-Identifier: Apache-2.0

package story

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/nodemap"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/guest"
)

func (s *Story) pinned(ctx context.Context) ([]string, error) {
	var facts []string
	for _, name := range []string{VMCores, VMLimits, VMLocal} {
		var vm VM
		err := await.For(ctx, "the vCPUs of "+name+" to be pinned", limit, func(ctx context.Context) error {
			var err error
			if vm, err = s.readVM(ctx, name); err != nil || len(vm.Pins) == 0 {
				return err
			}
			return s.inReport(ctx, vm)
		})
		if err != nil {
			return facts, err
		}
		if len(vm.Pins) == 0 {
			return facts, fmt.Errorf("%s is on node %s, which has no guests: nothing was pinned", name, vm.Node)
		}
		by := "came pinned"
		if s.bed.Nodes[vm.Node].Hook != nil {
			by = "came unpinned"
		}
		facts = append(facts, fmt.Sprintf("%-10s %s (%s), %s", name, vm.pinText(), vm.Guest, by))
	}
	return facts, nil
}

// inReport is nil once the report of the VM's agent shows its vCPUs where libvirt has them.
func (s *Story) inReport(ctx context.Context, vm VM) error {
	report, err := s.bed.Report(ctx, vm.Node)
	if err != nil {
		return err
	}
	var pins []string
	for _, pin := range vm.Pins {
		pins = append(pins, fmt.Sprintf("%d=%s", pin.VCPU, pin.CPUs))
	}
	var reported []string
	for _, grant := range report.Status.Granted {
		reported = append(reported, grant.Pins)
	}
	if !slices.Contains(reported, strings.Join(pins, " ")) {
		return fmt.Errorf("the report of %s has the pins %q, not %q", vm.Node, reported, pins)
	}
	return nil
}

// drifted moves a vCPU, as a person or a program beside corepin could, to a CPU that is not the VM's, and waits until it is
// back.
func (s *Story) drifted(ctx context.Context) ([]string, error) {
	pod, granted, err := s.granted(ctx, VMCores)
	if err != nil {
		return nil, err
	}
	node := s.bed.Nodes[pod.Spec.NodeName]
	wrong := s.topology(node.Name).CPUs().Minus(granted).First()
	start := time.Now()
	if _, err := virsh(ctx, node, pod, "vcpupin", "0", strconv.Itoa(wrong)); err != nil {
		return nil, err
	}
	facts := []string{fmt.Sprintf("virsh vcpupin %s 0 %d: a CPU that is not its own", VMCores, wrong)}
	message := ""
	err = await.For(ctx, "vCPU 0 of "+VMCores+" to be back", limit, func(ctx context.Context) error {
		if _, err := s.readVM(ctx, VMCores); err != nil {
			return err
		}
		events, err := s.bed.Client().CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=DriftRepaired,involvedObject.name=" + pod.Name})
		if err != nil || len(events.Items) == 0 {
			return cmp.Or(err, errors.New("pod "+pod.Name+" has no event DriftRepaired"))
		}
		message = events.Items[0].Message
		return nil
	})
	if err != nil {
		return facts, err
	}
	return append(facts, fmt.Sprintf("back %.1fs later; event DriftRepaired: %s", time.Since(start).Seconds(), message)), nil
}

// readVM collects the evidence of one VM; an error says what is not as it should be (yet).
func (s *Story) readVM(ctx context.Context, name string) (VM, error) {
	pod, granted, err := s.granted(ctx, name)
	if err != nil {
		return VM{}, err
	}
	vm := VM{Name: name, Pod: pod.Name, Node: pod.Spec.NodeName, Granted: granted.String(), Guest: "none"}
	node := s.bed.Nodes[vm.Node]
	switch node.Guests.(type) {
	case guest.None:
		return vm, nil
	case guest.TestDriver:
		vm.Guest = "libvirt test driver"
	case guest.QEMU:
		vm.Guest = "QEMU"
		// Not by its name: another demo on this machine has a guest of the same name.
		if vm.Threads, err = vcpuThreads(node.Sim.GuestPID(pod.UID), "vms_"+name); err != nil {
			return vm, err
		}
	}
	if vm.Pins, err = virshPins(ctx, node, pod); err != nil {
		return vm, err
	}
	if err := checkPins(vm.Pins, granted); err != nil {
		return vm, err
	}
	return vm, vm.checkThreads()
}

// checkThreads holds what the kernel does against what libvirt says it was told.
func (vm VM) checkThreads() error {
	if vm.Guest != "QEMU" {
		return nil
	}
	if len(vm.Threads) != len(vm.Pins) {
		return fmt.Errorf("%s has %d vCPU threads and %d pins", vm.Name, len(vm.Threads), len(vm.Pins))
	}
	for i, pin := range vm.Pins {
		thread := vm.Threads[i]
		if !strings.HasPrefix(thread.Name, fmt.Sprintf("CPU %d/", pin.VCPU)) || thread.CPUs != pin.CPUs {
			return fmt.Errorf("vCPU %d is pinned to %s, but thread %d (%q) may run on %s", pin.VCPU, pin.CPUs, thread.TID, thread.Name, thread.CPUs)
		}
	}
	return nil
}

// read fills the result.
func (s *Story) read(ctx context.Context) ([]string, error) {
	s.result.VMs, s.result.Nodes = nil, nil
	for _, name := range []string{VMCores, VMLimits, VMLocal, VMMedium, VMLarge, VMDevices} {
		vm, err := s.readVM(ctx, name)
		if err != nil {
			return nil, err
		}
		s.result.VMs = append(s.result.VMs, vm)
	}
	for _, name := range s.nodeNames() {
		node, err := s.readNode(ctx, name)
		if err != nil {
			return nil, err
		}
		s.result.Nodes = append(s.result.Nodes, node)
	}
	return nil, s.readKubectl(ctx)
}

// readKubectl shows the same as a user of the cluster sees it.
func (s *Story) readKubectl(ctx context.Context) error {
	s.result.Kubectl = nil
	for _, command := range []string{"get nodecpus", "get nodes --label-columns=cpumanager", "get pods --namespace=vms --output=wide"} {
		printed, err := s.bed.Kubectl(ctx, strings.Fields(command)...)
		if err != nil {
			return err
		}
		s.result.Kubectl = append(s.result.Kubectl, Output{Command: "kubectl " + command, Printed: string(printed)})
	}
	return nil
}

func (s *Story) readNode(ctx context.Context, name string) (Node, error) {
	report, err := s.bed.Report(ctx, name)
	if err != nil {
		return Node{}, err
	}
	machine, err := nodereport.Topology(&report.Status)
	if err != nil {
		return Node{}, err
	}
	reserved, err := cpuset.Parse(report.Status.ReservedCPUs)
	if err != nil {
		return Node{}, err
	}
	label, err := s.label(ctx, name)
	if err != nil {
		return Node{}, err
	}
	return Node{
		Name:    name,
		Machine: machine.String(),
		Policy:  report.Status.CPUManager.Policy,
		Label:   label,
		Map:     nodemap.Draw(machine, reserved, s.holders(name)),
	}, nil
}

func (s *Story) holders(node string) []nodemap.Holder {
	var holders []nodemap.Holder
	for _, vm := range s.result.VMs {
		if granted, err := cpuset.Parse(vm.Granted); err == nil && vm.Node == node {
			holders = append(holders, nodemap.Holder{Name: vm.Name, CPUs: granted})
		}
	}
	return holders
}

func (s *Story) nodeNames() []string {
	names := make([]string, 0, len(s.bed.Nodes))
	for name := range s.bed.Nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
