// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/machine"
	"corepin.dev/corepin/test/harness/testbed"
)

// What a furnished machine has for VMs besides CPUs and ordinary memory.
const (
	vf        = corev1.ResourceName("intel.com/vf") // virtual functions of a network card, as the device plugin of SR-IOV names them
	smallPage = corev1.ResourceName("hugepages-2Mi")
	smallKiB  = 2048
	// giBPages is the number of pages of 1 GiB on each NUMA node. They are there from the boot on.
	giBPages = 1
)

// furniture is what is in a machine of the pages and devices that come after its boot.
type furniture struct {
	pages []int // of 2 MiB, on each NUMA node
	vfs   []int // on each NUMA node
	// reservedMiB is the memory that its kubelet keeps on each NUMA node.
	reservedMiB []int
}

// furnitures are uneven, so that it matters on which NUMA node a VM is.
var furnitures = map[string]furniture{
	numaMachine: {pages: []int{128, 256}, vfs: []int{2, 1}, reservedMiB: []int{512, 512}},
	flatMachine: {pages: []int{256}, vfs: []int{3}, reservedMiB: []int{512}},
}

// furnish gives a machine, on which there is no VM, a kubelet with memory manager Static, huge pages and VFs. It returns when
// kubelet and report have all of them.
func (w *world) furnish(ctx context.Context, node string, settings machine.Settings) error {
	m := w.machines[node]
	has := furnitures[node]
	settings.Version = kubelets[node].Version
	settings.ReservedMiB = has.reservedMiB
	if err := errors.Join(m.StopKubelet(ctx), m.Forget(ctx), m.SetHugePages(ctx, smallKiB, has.pages...)); err != nil {
		return err
	}
	var devices []string
	for id, count := range has.vfs {
		devices = append(devices, fmt.Sprintf("%d:%d", id, count))
	}
	if err := m.StartDevicePlugin(ctx, string(vf), strings.Join(devices, ",")); err != nil {
		return err
	}
	if err := w.startKubelet(ctx, m, settings); err != nil {
		return err
	}
	if err := w.awaitFurniture(ctx, node); err != nil {
		return err
	}
	if err := w.awaitTrueReport(ctx, node); err != nil {
		return err
	}
	_, err := w.knownNode(ctx, node)
	return err
}

// awaitFurniture waits until the kubelet tells of the huge pages and the devices.
func (w *world) awaitFurniture(ctx context.Context, name string) error {
	pages, vfs := int64(0), int64(0)
	for id := range furnitures[name].pages {
		pages += int64(furnitures[name].pages[id]) * smallKiB << 10
		vfs += int64(furnitures[name].vfs[id])
	}
	return await.Every(ctx, glance, "node "+name+" to have huge pages and VFs", limit, func(ctx context.Context) error {
		node, err := w.Client().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		hasPages, hasVFs := node.Status.Allocatable[smallPage], node.Status.Allocatable[vf]
		if hasPages.Value() != pages || hasVFs.Value() != vfs {
			return fmt.Errorf("allocatable are %v", node.Status.Allocatable)
		}
		return nil
	})
}

// memoryState is the kubelet's memory_manager_state.
type memoryState struct {
	MachineState map[string]struct {
		MemoryMap map[string]struct{ Total, Free int64 }
	}
	Entries map[string]map[string][]memoryBlock
}

type memoryBlock struct {
	NUMAAffinity []int
	Type         string
	Size         int64
}

// deviceState is the checkpoint of the kubelet's device manager.
type deviceState struct {
	Data struct {
		PodDeviceEntries []struct {
			PodUID, ContainerName, ResourceName string
			DeviceIDs                           map[string][]string // by NUMA node
		}
		RegisteredDevices map[string][]string
	}
}

func readState(ctx context.Context, m *machine.Machine, file string, state any) error {
	data, err := m.ReadFile(ctx, file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, state); err != nil {
		return fmt.Errorf("reading %s of %s: %w: %q", file, m.Name(), err, data)
	}
	return nil
}

// holding is what one container holds of one thing, in words: "2 intel.com/vf of NUMA node 0".
type holding struct {
	pod       types.UID
	container string
	what      string
}

func memoryText(kind string, bytes int64, numaNodes string) string {
	return fmt.Sprintf("%d MiB %s of NUMA node %s", bytes>>20, kind, numaNodes)
}

func deviceText(count int, resource, numaNodes string) string {
	return fmt.Sprintf("%d %s of NUMA node %s", count, resource, numaNodes)
}

// list writes ids as "0+1".
func list[T int | int32](ids []T) string {
	var all []string
	for _, id := range ids {
		all = append(all, fmt.Sprint(id))
	}
	return strings.Join(all, "+")
}

// anyNode is the NUMA node of devices under topology manager policy none: the kubelet takes them as they come, and a report has none.
const anyNode = "any"

// besides is what containers on a machine hold besides CPUs, as the kubelet's state files say, and the memory that is free.
func besides(ctx context.Context, m *machine.Machine, aligned bool) (held []holding, free []string, err error) {
	var memory memoryState
	var devices deviceState
	if err := errors.Join(readState(ctx, m, machine.MemoryStateFile, &memory), readState(ctx, m, machine.DeviceStateFile, &devices)); err != nil {
		return nil, nil, err
	}
	for id, node := range memory.MachineState {
		for kind, amount := range node.MemoryMap {
			free = append(free, fmt.Sprintf("%s on NUMA node %s: %d of %d free", kind, id, amount.Free, amount.Total))
		}
	}
	for pod, containers := range memory.Entries {
		for container, blocks := range containers {
			for _, block := range blocks {
				held = append(held, holding{types.UID(pod), container, memoryText(block.Type, block.Size, list(block.NUMAAffinity))})
			}
		}
	}
	for _, entry := range devices.Data.PodDeviceEntries {
		counts := map[string]int{}
		for id, ids := range entry.DeviceIDs {
			if !aligned {
				id = anyNode
			}
			counts[id] += len(ids)
		}
		for id, count := range counts {
			held = append(held, holding{types.UID(entry.PodUID), entry.ContainerName, deviceText(count, entry.ResourceName, id)})
		}
	}
	return held, free, nil
}

// reported is the same as besides in a report.
func reported(status *v1alpha1.NodeCPUStatus) (held []holding, free []string) {
	for _, node := range status.MemoryManager.NUMANodes {
		for _, amount := range node.Resources {
			free = append(free, fmt.Sprintf("%s on NUMA node %d: %d of %d free", amount.Type, node.ID, amount.Free, amount.Total))
		}
	}
	for _, pod := range status.MemoryManager.Granted {
		for _, container := range pod.Containers {
			for _, block := range container.Blocks {
				held = append(held, holding{pod.PodUID, container.Name, memoryText(block.Type, block.Size, list(block.NUMANodes))})
			}
		}
	}
	for _, resource := range status.Devices {
		for _, entry := range resource.Held {
			for _, pod := range entry.PodUIDs {
				held = append(held, holding{pod, entry.Container, deviceText(int(entry.Devices), resource.Name, entry.NUMANodes)})
			}
		}
	}
	return held, free
}

// agreesOnFurniture compares a report with the kubelet's state files.
func agreesOnFurniture(ctx context.Context, m *machine.Machine, status *v1alpha1.NodeCPUStatus) error {
	aligned := status.TopologyManager.Policy != topologymanager.PolicyNone
	held, free, err := besides(ctx, m, aligned)
	if err != nil {
		return err
	}
	says, saysFree := reported(status)
	if !aligned {
		held = slices.DeleteFunc(held, func(h holding) bool { return strings.HasSuffix(h.what, anyNode) })
	}
	vfs := 0
	for _, resource := range status.Devices {
		for _, group := range resource.Groups {
			vfs += int(group.Healthy)
		}
	}
	want := 0
	for _, count := range furnitures[m.Name()].vfs {
		want += count
	}
	if !aligned {
		want = 0
	}
	return errors.Join(equal("what containers hold besides CPUs", sorted(says), sorted(held)), equal("memory", sorted(saysFree), sorted(free)),
		equal("healthy devices", vfs, want))
}

func sorted[T any](list []T) string {
	var all []string
	for _, one := range list {
		all = append(all, fmt.Sprint(one))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// knownNode is what a node's report says, once it says what the kubelet's state files say. What pods hold that have gone is free:
// the kubelet takes it back when it admits the next one.
func (w *world) knownNode(ctx context.Context, name string) (node *admission.Node, err error) {
	err = await.Every(ctx, glance, "the report of "+name+" to have memory and devices", limit, func(ctx context.Context) error {
		report, err := w.Report(ctx, name)
		if err != nil {
			return err
		}
		if err := errors.Join(agreesWithCheckpoint(ctx, w.machines[name], report), agreesOnFurniture(ctx, w.machines[name], &report.Status)); err != nil {
			return err
		}
		read := nodereport.Read(report)
		if read.State != nodereport.Exact {
			return fmt.Errorf("the report is not exact: %s", read.Why)
		}
		pods, err := w.Client().CoreV1().Pods(testbed.VMNamespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
		if err != nil {
			return err
		}
		var gone []types.UID
		held, _ := reported(&report.Status)
		for _, h := range held {
			if !slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return pod.UID == h.pod }) && !slices.Contains(gone, h.pod) {
				gone = append(gone, h.pod)
			}
		}
		node = read.Without(gone)
		return nil
	})
	return node, err
}
