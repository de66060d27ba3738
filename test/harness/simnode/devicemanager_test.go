// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/cputopology"
)

const vf = "intel.com/vf"

// vfHost is a machine with four VFs on NUMA node 1, one of them not healthy, and with memory manager policy Static.
func vfHost(t *testing.T) *host {
	t.Helper()
	settings := pinned
	settings.MemoryManagerPolicy = "Static"
	h := newHost(t, twoSockets, settings)
	tree := filepath.Join(h.options.RootDir, "sys")
	if err := writeSysfs(tree, cputopology.MustParse(twoSockets), 8<<30, map[string]int64{"hugepages-1Gi": 2}); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.options.Machine, err = machineInfo(tree); err != nil {
		t.Fatal(err)
	}
	h.options.Devices = true
	node, err := h.options.Node(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Allocatable[vf] = resource.MustParse("3")
	return h
}

var vfs = []Device{
	{ID: "a", NUMANodes: []int64{1}}, {ID: "b", NUMANodes: []int64{1}}, {ID: "c", NUMANodes: []int64{1}}, {ID: "d", NUMANodes: []int64{1}, Unhealthy: true},
}

// withVF is a pod that asks for VFs too.
func withVF(name string, age time.Duration, cpus, number string) *corev1.Pod {
	p := pod(name, age, cpus)
	for _, list := range []corev1.ResourceList{p.Spec.Containers[0].Resources.Requests, p.Spec.Containers[0].Resources.Limits} {
		list[vf] = resource.MustParse(number)
	}
	return p
}

// seen is what the agent reads of the kubelet, in one line.
func (h *host) seen(t *testing.T) string {
	t.Helper()
	w := kubelet.NewWatcher(kubelet.Options{RootDir: h.options.RootDir, ConfigFile: filepath.Join(h.options.RootDir, "none"), Clock: clock.RealClock{}})
	w.Refresh(t.Context())
	if err := w.RefreshDevices(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := w.State()
	if s.Devices.Err != nil || s.Memory.Err != nil {
		t.Fatalf("devices: %v; memory: %v", s.Devices.Err, s.Memory.Err)
	}
	var parts []string
	for _, device := range s.Served.Value[vf] {
		parts = append(parts, device.ID+"@"+device.NUMANodes)
	}
	parts = append(parts, fmt.Sprintf("%d registered", s.Devices.Value.Registered[vf]))
	for _, held := range s.Devices.Value.Held {
		on := map[string]int{}
		for _, device := range held.Devices {
			on[device.NUMANodes]++
		}
		parts = append(parts, fmt.Sprintf("%s/%s %v", held.Pod, held.Container, on))
	}
	for uid, containers := range s.Memory.Value.Granted {
		for name, blocks := range containers {
			for _, block := range blocks {
				parts = append(parts, fmt.Sprintf("%s/%s %s%v", uid, name, block.Type, block.NUMANodes))
			}
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// TestKubeletWithDevicesAndMemory: what the kubelet's own managers grant is what the agent reads, and a kubelet that starts
// again finds it.
func TestKubeletWithDevicesAndMemory(t *testing.T) {
	h := vfHost(t)
	k := h.kubelet(t)
	if err := k.SetDevices(vf, vfs); err != nil {
		t.Fatal(err)
	}
	mustAdmit(t, k)
	first := withVF("first", time.Minute, "2", "2")
	mustAdmit(t, k, first)
	h.mustHold(t, "static 0-3,5-11,13-15 map[first:map[c0:4,12]]")
	rejected := k.Admit(withVF("second", 0, "2", "2"))
	if len(rejected) != 1 || rejected[0].Reason != "TopologyAffinityError" {
		t.Errorf("two more VFs, of which one is left: %+v", rejected)
	}
	const want = "3 registered, a@1, b@1, c@1, first/c0 map[1:2], first/c0 memory[1]"
	if got := h.seen(t); got != want {
		t.Errorf("the agent reads %s, want %s", got, want)
	}
	capacity, allocatable := k.DeviceAmounts()
	all := capacity[vf]
	healthy := allocatable[vf]
	if all.Value() != 4 || healthy.Value() != 3 {
		t.Errorf("the Node has %s, %s allocatable", all.String(), healthy.String())
	}
	k.Stop()
	h.options.Running = []*corev1.Pod{first}
	k = h.kubelet(t)
	mustAdmit(t, k, first)
	if got := h.seen(t); got != "0 registered, first/c0 map[1:2], first/c0 memory[1]" && got != "3 registered, first/c0 map[1:2], first/c0 memory[1]" {
		t.Errorf("before its plugin has come again the agent reads %s", got)
	}
	if err := k.SetDevices(vf, vfs); err != nil {
		t.Fatal(err)
	}
	if got := h.seen(t); got != want {
		t.Errorf("after its plugin has come again the agent reads %s, want %s", got, want)
	}
	if _, err := os.Stat(filepath.Join(h.options.RootDir, devicesDir, "kubelet_internal_checkpoint")); err != nil {
		t.Error(err)
	}
}
