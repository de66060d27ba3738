// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/simnode"
)

// Machine is a node to be.
type Machine struct {
	Name string
	// Topology is the machine; nil means this machine's own CPUs.
	Topology *cputopology.Topology
	Kubelet  simnode.KubeletSettings
	// Memory, HugePages and Devices are those of simnode.Options.
	Memory    string
	HugePages map[string]int64
	Devices   map[string][]simnode.Device
	Guests    guest.Runner
	// Hook changes what virt-launcher has described before libvirt starts it, as a hook sidecar of KubeVirt can; nil changes
	// nothing. With NobodyPins a guest comes unpinned.
	Hook func(*guest.Spec)
	// GuestURI is the libvirt driver that the agent is configured to open; "" is QEMU's.
	GuestURI string
	// Heartbeat makes the stand-in for virt-handler write that it lives, and with that the labels that the agent writes
	// elsewhere.
	Heartbeat bool
	// PinningMode is the agent's pinning.mode; "" is the shipped one.
	PinningMode string
	// CgroupDir is the agent's pinning.cgroupDir; "" is the shipped one, which no simulated node has.
	CgroupDir string
}

// Node is a simulated node and the agent on it.
type Node struct {
	Machine
	Sim *simnode.Node
	// Agent is the agent's process; nil on a bare testbed.
	Agent *process.Process
}

func (t *Testbed) addNode(ctx, inner context.Context, machine Machine) error {
	path, err := t.NodeKubeconfig(machine.Name)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig of node %s: %w", machine.Name, err)
	}
	var sim *simnode.Node
	var program func(ctx context.Context, pod *corev1.Pod) (guest.Guest, error)
	if t.options.Bare {
		program = func(ctx context.Context, pod *corev1.Pod) (guest.Guest, error) {
			return t.runContainer(ctx, machine, sim, pod)
		}
	}
	sim, err = simnode.New(simnode.Options{
		Name:        machine.Name,
		Dir:         filepath.Join(t.options.Dir, "nodes", machine.Name),
		Topology:    machine.Topology,
		UseHostCPUs: machine.Topology == nil,
		Kubelet:     machine.Kubelet,
		Memory:      machine.Memory,
		HugePages:   machine.HugePages,
		Devices:     machine.Devices,
		Labels:      kubeVirtLabels(),
		Guests:      machine.Guests,
		SpecOf:      func(pod *corev1.Pod) (guest.Spec, bool, error) { return t.launch(machine, sim, pod) },
		Program:     program,
		Ready:       t.probes.ready,
		Config:      config,
	})
	if err != nil {
		return fmt.Errorf("making node %s: %w", machine.Name, err)
	}
	t.goRun(inner, "node "+machine.Name, sim.Run)
	if t.options.Bare {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.Nodes[machine.Name] = &Node{Machine: machine, Sim: sim}
		return nil
	}
	_, err = t.AddAgent(ctx, machine, sim)
	return err
}

// AddAgent starts the agent of a node, whose kubelet need not run.
func (t *Testbed) AddAgent(ctx context.Context, machine Machine, sim *simnode.Node) (*Node, error) {
	agent, err := t.startAgent(ctx, machine, sim)
	if err != nil {
		return nil, err
	}
	node := &Node{Machine: machine, Sim: sim, Agent: agent}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Nodes[machine.Name] = node
	return node, nil
}

// Report reads a node's NodeCPU from the API server.
func (t *Testbed) Report(ctx context.Context, node string) (*v1alpha1.NodeCPU, error) {
	object, err := t.Dynamic().Resource(v1alpha1.Resource).Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return DecodeReport(object)
}

// DecodeReport gives a NodeCPU that came from the API server its Go type.
func DecodeReport(object runtime.Object) (*v1alpha1.NodeCPU, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("decoding a NodeCPU: %w", err)
	}
	report := &v1alpha1.NodeCPU{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, report); err != nil {
		return nil, fmt.Errorf("decoding a NodeCPU: %w", err)
	}
	return report, nil
}

// kubeVirtLabels are what virt-handler and its node labeller write on nodes that can take a VM, as far as launcher pods and the targets
// of migrations select them. KubeVirt's node labeller adds some hundred more, one for each CPU model, feature and machine type.
func kubeVirtLabels() map[string]string {
	labels := map[string]string{
		"kubevirt.io/schedulable":                "true",
		"machine-type.node.kubevirt.io/virt":     "true",
		"host-model-cpu.node.kubevirt.io/" + cpu: "true",
		"cpu-vendor.node.kubevirt.io/Intel":      "true",
	}
	for _, machine := range []string{"q35", "pc-q35-10.0", "pc-q35-9.2", "pc-q35-rhel9.6.0"} {
		labels["machine-type.node.kubevirt.io/"+machine] = "true"
	}
	for _, model := range []string{"Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", cpu} {
		labels["cpu-model.node.kubevirt.io/"+model] = "true"
		labels["cpu-model-migration.node.kubevirt.io/"+model] = "true"
	}
	return labels
}

// cpu is the CPU model of all nodes, as libvirt names it.
const cpu = "Broadwell"
