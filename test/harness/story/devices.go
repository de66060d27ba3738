// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/simnode"
)

// Names of the VMs that ask for devices: the first gets them, the second finds too few on each NUMA node.
const (
	VMDevices     = "vmi-vf"
	VMTooManyVFs  = "vmi-too-many-vfs"
	deviceName    = "intel.com/vf"
	hugePages     = "hugepages-1Gi"
	pagesPerNode  = 4
	askedVFs      = 3
	eventOfMisfit = "CPUsMissing"
)

// virtualFunctions are those of two network cards: two on NUMA node 0, four on NUMA node 1.
func virtualFunctions() map[string][]simnode.Device {
	var devices []simnode.Device
	for i, numaNode := range []int64{0, 0, 1, 1, 1, 1} {
		devices = append(devices, simnode.Device{ID: fmt.Sprintf("0000:3b:02.%d", i), NUMANodes: []int64{numaNode}})
	}
	return map[string][]simnode.Device{deviceName: devices}
}

// devices shows a VM that gets all that it asks for on one NUMA node, and one for which there is enough by count only.
func (s *Story) devices(ctx context.Context) ([]string, error) {
	if err := s.bed.Apply(ctx, vmiWithVFs(VMDevices, "memory: {guest: 2Gi, hugepages: {pageSize: 1Gi}}")); err != nil {
		return nil, err
	}
	facts, err := s.awaitRunning(ctx, VMDevices)
	if err != nil {
		return facts, err
	}
	pod, cpus, err := s.granted(ctx, VMDevices)
	if err != nil {
		return facts, err
	}
	numaNodes := s.numaNodes(pod.Spec.NodeName, cpus)
	root := s.bed.Nodes[pod.Spec.NodeName].Sim.KubeletRootDir()
	memory, err := memoryOf(root, pod)
	if err != nil {
		return facts, err
	}
	held, err := devicesOf(root, pod)
	if err != nil {
		return facts, err
	}
	if len(numaNodes) != 1 || fmt.Sprint(memory[hugePages]) != fmt.Sprint(numaNodes) || held[numaNodes[0]] != askedVFs {
		return facts, fmt.Errorf("VM %s has CPUs of NUMA nodes %v, memory of %v, and %s of %v", VMDevices, numaNodes, memory, deviceName, held)
	}
	facts = append(facts, fmt.Sprintf("           its CPUs, its 2 pages of 1Gi (memory_manager_state) and its %d %s (device checkpoint): of NUMA node %d",
		askedVFs, deviceName, numaNodes[0]))
	if err := s.bed.Apply(ctx, vmiWithVFs(VMTooManyVFs, "memory: {guest: 1Gi}")); err != nil {
		return facts, err
	}
	message, err := s.awaitUnschedulable(ctx, VMTooManyVFs)
	if err != nil {
		return facts, err
	}
	numbers, err := s.awaitNumbers(ctx, VMTooManyVFs)
	if err != nil {
		return facts, err
	}
	s.result.Rejections = append(s.result.Rejections, Rejection{Name: VMTooManyVFs, By: "corepin-scheduler", Message: message + "\n" + numbers})
	return append(facts, VMTooManyVFs+": pod stays Pending, its event says what each NUMA node has"), nil
}

// vmiWithVFs is a VMI of four cores.
func vmiWithVFs(name, memory string) []byte {
	var devices []string
	for i := range askedVFs {
		devices = append(devices, fmt.Sprintf("{name: vf%d, deviceName: %s}", i, deviceName))
	}
	return fmt.Appendf(nil, "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: %s, namespace: vms}\n"+
		"spec:\n  schedulerName: corepin\n  domain:\n    cpu: {cores: 4, dedicatedCpuPlacement: true}\n    %s\n    devices: {hostDevices: [%s]}\n",
		name, memory, strings.Join(devices, ", "))
}

// awaitNumbers is the event in which the scheduler says what the nodes lack for a VM.
func (s *Story) awaitNumbers(ctx context.Context, name string) (note string, err error) {
	err = await.For(ctx, "the scheduler to say what nodes lack for "+name, limit, func(ctx context.Context) error {
		events, err := s.bed.Client().EventsV1().Events("vms").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range events.Items {
			event := &events.Items[i]
			if event.Reason == eventOfMisfit && strings.HasPrefix(event.Regarding.Name, "virt-launcher-"+name) {
				note = event.Note
				return nil
			}
		}
		return fmt.Errorf("none of %d events is about it", len(events.Items))
	})
	return note, err
}

// memoryOf are the NUMA nodes of a pod's compute container by type of memory, in memory_manager_state.
func memoryOf(kubeletRoot string, pod *corev1.Pod) (map[string][]int, error) {
	var state struct {
		Entries map[string]map[string][]struct {
			NUMAAffinity []int
			Type         string
		}
	}
	if err := readJSON(filepath.Join(kubeletRoot, "memory_manager_state"), &state); err != nil {
		return nil, err
	}
	places := map[string][]int{}
	for _, block := range state.Entries[string(pod.UID)]["compute"] {
		places[block.Type] = block.NUMAAffinity
	}
	return places, nil
}

// devicesOf is how many devices a pod's compute container has of each NUMA node, in the device manager's checkpoint.
func devicesOf(kubeletRoot string, pod *corev1.Pod) (map[int]int, error) {
	var state struct {
		Data struct {
			PodDeviceEntries []struct {
				PodUID, ContainerName, ResourceName string
				DeviceIDs                           map[string][]string
			}
		}
	}
	if err := readJSON(filepath.Join(kubeletRoot, "device-plugins", "kubelet_internal_checkpoint"), &state); err != nil {
		return nil, err
	}
	held := map[int]int{}
	for _, entry := range state.Data.PodDeviceEntries {
		if entry.PodUID != string(pod.UID) || entry.ContainerName != "compute" || entry.ResourceName != deviceName {
			continue
		}
		for numaNode, ids := range entry.DeviceIDs {
			id, err := strconv.Atoi(numaNode)
			if err != nil {
				return nil, fmt.Errorf("reading the device checkpoint: %w", err)
			}
			held[id] += len(ids)
		}
	}
	return held, nil
}

func readJSON(path string, to any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the kubelet's state: %w", err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("reading the kubelet's state %s: %w", path, err)
	}
	return nil
}
