// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/await"
)

// limit is how long anything in the story may take, on a machine with two cores that does all of it at
// once. It is a net, not a promise: what is promised is measured elsewhere.
const limit = 60 * time.Second

// Names of VMs. The first three are in manifests/examples/v1alpha2.
const (
	VMCores  = "vmi-cores"
	VMLimits = "vmi-limits"
	VMLocal  = "vmi-local"
	VMMedium = "vmi-medium"
	VMLarge  = "vmi-large"
)

func (s *Story) reported(ctx context.Context) ([]string, error) {
	facts := make([]string, 0, len(s.bed.Nodes))
	for _, name := range s.nodeNames() {
		report, err := s.bed.Report(ctx, name)
		if err != nil {
			return facts, err
		}
		want := report.Status.CPUManager.Policy == "static"
		if err := s.awaitLabel(ctx, name, want); err != nil {
			return facts, err
		}
		facts = append(facts, fmt.Sprintf("%-7s CPU manager %-6s topology manager %-16s %3d CPUs, %d reserved: label cpumanager %s",
			name, report.Status.CPUManager.Policy, report.Status.TopologyManager.Policy, report.Status.Summary.CPUs,
			report.Status.Summary.Reserved, map[bool]string{true: "set", false: "not set"}[want]))
	}
	return facts, nil
}

func (s *Story) create(ctx context.Context) ([]string, error) {
	var facts []string
	for _, name := range []string{VMCores, VMLimits, VMLocal} {
		example, err := fs.ReadFile(manifests.FS, "examples/v1alpha2/"+name+".yaml")
		if err != nil {
			return facts, fmt.Errorf("reading the example: %w", err)
		}
		fact := "applied manifests/examples/v1alpha2/" + name + ".yaml"
		if name != VMLocal {
			if example, err = bindTo(example, Small); err != nil {
				return facts, fmt.Errorf("reading the example %s: %w", name, err)
			}
			fact += ", with a node selector: guests live on node " + Small
		}
		if err := s.bed.Apply(ctx, example); err != nil {
			return facts, err
		}
		facts = append(facts, fact)
	}
	return facts, nil
}

// bindTo gives a VMI a node selector: of the simulated nodes only one has guests, whose pins are to be seen.
func bindTo(vmi []byte, node string) ([]byte, error) {
	var object map[string]any
	if err := yaml.Unmarshal(vmi, &object); err != nil {
		return nil, err
	}
	if err := unstructured.SetNestedField(object, node, "spec", "nodeSelector", corev1.LabelHostname); err != nil {
		return nil, err
	}
	return yaml.Marshal(object)
}

func (s *Story) placed(ctx context.Context) ([]string, error) {
	return s.awaitRunning(ctx, VMCores, VMLimits, VMLocal)
}

func (s *Story) more(ctx context.Context) ([]string, error) {
	for name, cpu := range map[string]string{VMMedium: "{sockets: 1, cores: 4, threads: 2, dedicatedCpuPlacement: true}", VMLarge: "{sockets: 1, cores: 8, threads: 2, dedicatedCpuPlacement: true}"} {
		if err := s.bed.Apply(ctx, vmiYAML(name, cpu, "")); err != nil {
			return nil, err
		}
	}
	facts, err := s.awaitRunning(ctx, VMMedium, VMLarge)
	if err != nil {
		return facts, err
	}
	for _, name := range []string{VMMedium, VMLarge} {
		pod, granted, err := s.granted(ctx, name)
		if err != nil {
			return facts, err
		}
		if nodes := s.numaNodes(pod.Spec.NodeName, granted); len(nodes) != 1 {
			return facts, fmt.Errorf("VM %s was granted %s on %s, in NUMA nodes %v", name, granted, pod.Spec.NodeName, nodes)
		}
	}
	return facts, nil
}

// vmiYAML is a dedicated VMI for the corepin scheduler with 1Gi of memory.
func vmiYAML(name, cpu, resources string) []byte {
	if resources == "" {
		resources = "{limits: {memory: 1Gi}}"
	}
	return fmt.Appendf(nil, "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: %s, namespace: vms}\n"+
		"spec:\n  schedulerName: corepin\n  domain:\n    cpu: %s\n    resources: %s\n    devices: {}\n", name, cpu, resources)
}

// awaitRunning waits until the VMs' pods run, and tells where and on which CPUs.
func (s *Story) awaitRunning(ctx context.Context, names ...string) ([]string, error) {
	var facts []string
	for _, name := range names {
		err := await.For(ctx, "VM "+name+" to run", limit, func(ctx context.Context) error {
			if err := s.bed.Err(); err != nil {
				return await.Stop(err)
			}
			pod, err := s.bed.PodOf(ctx, name)
			if err != nil {
				return err
			}
			switch pod.Status.Phase {
			case corev1.PodRunning:
				return nil
			case corev1.PodFailed:
				return await.Stop(fmt.Errorf("pod %s failed on %s: %s %s; containers: %+v", pod.Name, pod.Spec.NodeName, pod.Status.Reason, pod.Status.Message, pod.Status.ContainerStatuses))
			}
			return fmt.Errorf("pod %s is %s: %s", pod.Name, pod.Status.Phase, schedulingMessage(pod))
		})
		if err != nil {
			return facts, err
		}
		pod, granted, err := s.granted(ctx, name)
		if err != nil {
			return facts, err
		}
		facts = append(facts, fmt.Sprintf("%-10s on %-6s CPUs %s (cpu_manager_state), QoS %s", name, pod.Spec.NodeName, granted, pod.Status.QOSClass))
	}
	return facts, nil
}

// granted reads from the kubelet's checkpoint what a VM's compute container holds.
func (s *Story) granted(ctx context.Context, name string) (*corev1.Pod, cpuset.Set, error) {
	pod, err := s.bed.PodOf(ctx, name)
	if err != nil {
		return nil, cpuset.Set{}, err
	}
	node := s.bed.Nodes[pod.Spec.NodeName]
	if node == nil {
		return nil, cpuset.Set{}, fmt.Errorf("pod %s is on no node of the story: %q", pod.Name, pod.Spec.NodeName)
	}
	state, err := readCheckpoint(node.Sim.KubeletRootDir())
	if err != nil {
		return nil, cpuset.Set{}, err
	}
	granted, err := cpuset.Parse(state.Entries[string(pod.UID)]["compute"])
	if err == nil && granted.IsEmpty() {
		err = fmt.Errorf("cpu_manager_state of %s grants nothing to pod %s (%s): %v", node.Name, pod.Name, pod.UID, state.Entries)
	}
	return pod, granted, err
}

// numaNodes are the NUMA nodes that a set of a node's CPUs touches.
func (s *Story) numaNodes(node string, cpus cpuset.Set) []int {
	var ids []int
	for _, numa := range s.topology(node).NUMANodes() {
		if numa.CPUs.Overlaps(cpus) {
			ids = append(ids, numa.ID)
		}
	}
	return ids
}

func schedulingMessage(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status != corev1.ConditionTrue {
			return condition.Message
		}
	}
	return ""
}

func (s *Story) awaitLabel(ctx context.Context, node string, want bool) error {
	return await.For(ctx, fmt.Sprintf("label cpumanager of node %s to be set: %v", node, want), limit, func(ctx context.Context) error {
		object, err := s.bed.Client().CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, key := range []string{"cpumanager", "kubevirt.io/cpumanager"} {
			value, set := object.Labels[key]
			if set != want || (set && value != "true") {
				return fmt.Errorf("label %s is %q (set: %v)", key, value, set)
			}
		}
		return nil
	})
}
