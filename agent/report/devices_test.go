// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
)

const vf = "intel.com/vf"

// devicesAt are n devices named by their NUMA nodes: 0-0, 0-1 and so on.
func devicesAt(numaNodes string, ids ...int) []kubelet.Device {
	var devices []kubelet.Device
	for _, id := range ids {
		devices = append(devices, kubelet.Device{ID: fmt.Sprintf("%s/%d", numaNodes, id), NUMANodes: numaNodes})
	}
	return devices
}

func heldBy(pod, container string, devices ...kubelet.Device) kubelet.HeldDevices {
	return kubelet.HeldDevices{Pod: types.UID(pod), Container: container, Resource: vf, Devices: devices}
}

// withDevices are facts of a node of two NUMA nodes whose kubelet, checkpoint and Node agree: the devices are healthy, and so
// many others are not.
func withDevices(healthy []kubelet.Device, unhealthy int, held ...kubelet.HeldDevices) Facts {
	f := facts()
	f.Host = known(cputopology.MustParse("1 sockets x 2 numa x 2 cores x 2 threads"))
	f.Kubelet.Served = known(map[string][]kubelet.Device{vf: healthy, "devices.kubevirt.io/kvm": nil})
	f.Kubelet.Devices = known(kubelet.Devices{Registered: map[string]int{vf: len(healthy), "devices.kubevirt.io/kvm": 1000}, Held: held})
	amounts := func(n int) corev1.ResourceList {
		return corev1.ResourceList{vf: *resource.NewQuantity(int64(n), resource.DecimalSI), "devices.kubevirt.io/kvm": resource.MustParse("1k")}
	}
	f.Node = &corev1.Node{Status: corev1.NodeStatus{Capacity: amounts(len(healthy) + unhealthy), Allocatable: amounts(len(healthy))}}
	return f
}

// saidOf is what a report says of devices, in one line.
func saidOf(s v1alpha1.NodeCPUStatus) string {
	var parts []string
	for _, d := range s.Devices {
		text := d.Name
		for _, group := range d.Groups {
			text += fmt.Sprintf(" [%s] %d, %d healthy, %d free;", group.NUMANodes, group.Devices, group.Healthy, group.Free)
		}
		for _, held := range d.Held {
			text += fmt.Sprintf(" %s/%s [%s] %d-%d-%d;", held.PodUIDs, held.Container, held.NUMANodes, held.Devices, held.Again, held.Unhealthy)
		}
		if d.Unknown != "" {
			text += " unknown: " + d.Unknown
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func TestDevices(t *testing.T) {
	both := devicesAt("0-1", 0)
	four := append(devicesAt("0", 0, 1), devicesAt("1", 0, 1)...)
	before := v1alpha1.NodeCPUStatus{Devices: []v1alpha1.DeviceResource{{Name: vf, Groups: []v1alpha1.DeviceGroup{
		{NUMANodes: "0", Devices: 2, Healthy: 2}, {NUMANodes: "1", Devices: 2, Healthy: 2},
	}}}}
	for name, tc := range map[string]struct {
		facts Facts
		last  v1alpha1.NodeCPUStatus
		want  string
	}{
		"nobody has any": {withDevices(four, 0), v1alpha1.NodeCPUStatus{}, "intel.com/vf [0] 2, 2 healthy, 2 free; [1] 2, 2 healthy, 2 free;"},
		"held ones are not free": {withDevices(four, 0, heldBy("a", "compute", four[0]), heldBy("b", "compute", four[1:3]...)), v1alpha1.NodeCPUStatus{},
			"intel.com/vf [0] 2, 2 healthy, 0 free; [1] 2, 2 healthy, 1 free; [a b]/compute [0] 1-0-0; [b]/compute [1] 1-0-0;"},
		"an init container's are taken over": {withDevices(four, 0, heldBy("a", "compute", four[:2]...), heldBy("a", "setup", four[0]), heldBy("b", "setup", four[2])), v1alpha1.NodeCPUStatus{},
			"intel.com/vf [0] 2, 2 healthy, 0 free; [1] 2, 2 healthy, 1 free; [a]/compute [0] 2-0-0; [a]/setup [0] 1-1-0; [b]/setup [1] 1-0-0;"},
		"a device of two NUMA nodes": {withDevices(append(both, devicesAt("", 0)...), 0), v1alpha1.NodeCPUStatus{},
			"intel.com/vf [] 1, 1 healthy, 1 free; [0-1] 1, 1 healthy, 1 free;"},
		"an unhealthy one where only one NUMA node has any": {withDevices(four[:2], 1), v1alpha1.NodeCPUStatus{}, "intel.com/vf [0] 3, 2 healthy, 2 free;"},
		"an unhealthy one that was healthy": {withDevices(four[:3], 1, heldBy("a", "compute", four[3])), before,
			"intel.com/vf [0] 2, 2 healthy, 2 free; [1] 2, 1 healthy, 1 free; [a]/compute [1] 1-0-1;"},
		"an unhealthy one that nobody knows": {withDevices(four, 1), v1alpha1.NodeCPUStatus{},
			"intel.com/vf [0] 2, 2 healthy, 2 free; [1] 2, 2 healthy, 2 free; unknown: 1 of its devices are not healthy, and on which NUMA nodes they are is not known"},
		"one was taken out of the machine": {withDevices(four[:3], 0), before, "intel.com/vf [0] 2, 2 healthy, 2 free; [1] 1, 1 healthy, 1 free;"},
		"on a NUMA node that is not there": {withDevices(devicesAt("4", 0), 0), v1alpha1.NodeCPUStatus{},
			"intel.com/vf [4] 1, 1 healthy, 1 free; unknown: one of its devices is on NUMA node 4, which the machine does not have"},
		"no NUMA nodes any more": {withDevices(nil, 0), before, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := Build(tc.facts, tc.last, noon)
			if got := saidOf(s); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			c := find(s.Conditions, v1alpha1.ConditionDevicesKnown)
			if c.Status != metav1.ConditionTrue {
				t.Errorf("devices are not known: %s", c.Message)
			}
			again := Build(tc.facts, s, noon)
			if !sameMeaning(s, again) {
				t.Errorf("built over itself it says %s", saidOf(again))
			}
		})
	}
}

// TestDevicesInTransit: the kubelet tells its socket, its checkpoint and the Node of a change one after the other. Meanwhile
// only pods that ask for the resource are not exact.
func TestDevicesInTransit(t *testing.T) {
	four := append(devicesAt("0", 0, 1), devicesAt("1", 0, 1)...)
	before := Build(withDevices(four, 0), v1alpha1.NodeCPUStatus{}, noon)
	const disagree = "unknown: the kubelet, its checkpoint and the Node's status do not agree yet"
	for name, tc := range map[string]struct {
		change func(*Facts)
		want   string
	}{
		"the socket is ahead, as if others had no NUMA nodes": {func(f *Facts) { f.Kubelet.Served.Value[vf] = four[:3] }, "[1] 2, 1 healthy, 1 free; unknown: 1 of its devices have a topology without NUMA nodes"},
		"the checkpoint is": {func(f *Facts) { f.Kubelet.Devices.Value.Registered[vf] = 3 }, "[1] 2, 2 healthy, 2 free; " + disagree},
		"the Node is":       {func(f *Facts) { f.Node.Status.Allocatable[vf] = resource.MustParse("3") }, "[1] 2, 2 healthy, 2 free; " + disagree},
		"a plugin has gone": {func(f *Facts) {
			delete(f.Kubelet.Served.Value, vf)
			f.Node.Status.Allocatable[vf] = resource.MustParse("0")
		}, "intel.com/vf [0] 2, 0 healthy, 0 free; [1] 2, 0 healthy, 0 free;"},
		"the kubelet has started again": {func(f *Facts) {
			delete(f.Kubelet.Served.Value, vf)
			f.Node = &corev1.Node{Status: corev1.NodeStatus{}}
		}, "[1] 2, 0 healthy, 0 free; unknown: its device plugin has not registered with the kubelet yet, or has gone"},
		"a plugin has gone for good": {func(f *Facts) {
			delete(f.Kubelet.Served.Value, vf)
			delete(f.Kubelet.Devices.Value.Registered, vf)
		}, ""},
		"some have a topology without NUMA nodes": {func(f *Facts) {
			f.Kubelet.Devices.Value.Registered[vf] = 6
			f.Node.Status.Allocatable[vf] = resource.MustParse("6")
			f.Node.Status.Capacity[vf] = resource.MustParse("6")
		}, "unknown: 2 of its devices have a topology without NUMA nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := withDevices(four, 0)
			tc.change(&f)
			s := Build(f, before, noon)
			if got := saidOf(s); !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if c := find(s.Conditions, typeExact); c.Status != metav1.ConditionTrue {
				t.Errorf("not exact: %s", c.Message)
			}
			if after := Build(withDevices(four, 0), s, noon); tc.want != "" && !sameMeaning(after, before) {
				t.Errorf("put right again it says %s", saidOf(after))
			}
		})
	}
}

// TestDevicesThatCannotBeRead: what was read stays, and the condition says that it may not be all.
func TestDevicesThatCannotBeRead(t *testing.T) {
	last := Build(withDevices(devicesAt("0", 0, 1), 0), v1alpha1.NodeCPUStatus{}, noon)
	for name, change := range map[string]func(*Facts){
		"the socket":            func(f *Facts) { fail(&f.Kubelet.Served, "refused") },
		"the checkpoint":        func(f *Facts) { fail(&f.Kubelet.Devices, "refused") },
		"the socket, ever":      func(f *Facts) { never(&f.Kubelet.Served); fail(&f.Kubelet.Served, "refused") },
		"the checkpoint so far": func(f *Facts) { never(&f.Kubelet.Devices) },
	} {
		f := withDevices(devicesAt("0", 0), 0)
		change(&f)
		s := Build(f, last, noon)
		c := find(s.Conditions, v1alpha1.ConditionDevicesKnown)
		if saidOf(s) != saidOf(last) || c.Status != metav1.ConditionFalse || c.Reason != ReasonDevicesUnreadable || find(s.Conditions, typeExact).Status != metav1.ConditionTrue {
			t.Errorf("%s: %s; %+v", name, saidOf(s), c)
		}
	}
}

// TestNoDevicesUnderPolicyNone: there no device decides about NUMA nodes.
func TestNoDevicesUnderPolicyNone(t *testing.T) {
	f := withDevices(devicesAt("0", 0, 1), 0)
	last := Build(f, v1alpha1.NodeCPUStatus{}, noon)
	f.Kubelet.File.Value.TopologyManagerPolicy = "none"
	s := Build(f, last, noon)
	if len(s.Devices) != 0 || find(s.Conditions, v1alpha1.ConditionDevicesKnown).Type != "" || s.Format != 1 {
		t.Errorf("devices %s, conditions %+v, format %d", saidOf(s), s.Conditions, s.Format)
	}
}

// TestTooManyDevices: an object beyond the limits of its definition would not be written at all.
func TestTooManyDevices(t *testing.T) {
	f := withDevices(devicesAt("0", 0), 0)
	var held []kubelet.HeldDevices
	for i := range maxHolders + 2 { // one of them has the device that is healthy
		held = append(held, heldBy(fmt.Sprintf("%06d", i), "compute", devicesAt("0", i)...))
	}
	f.Kubelet.Devices.Value.Held = held
	s := Build(f, v1alpha1.NodeCPUStatus{}, noon)
	if d := s.Devices[0]; len(d.Held) != 0 || !strings.Contains(d.Unknown, "held by 4098 containers, which is more than a report can have") {
		t.Errorf("got %d held, unknown %s", len(d.Held), d.Unknown)
	}
	f = withDevices(devicesAt("0", 0), 0)
	for i := range maxDeviceResources {
		f.Kubelet.Served.Value[fmt.Sprintf("intel.com/vf%d", i)] = devicesAt("0", i)
	}
	s = Build(f, v1alpha1.NodeCPUStatus{}, noon)
	if c := find(s.Conditions, v1alpha1.ConditionDevicesKnown); len(s.Devices) != maxDeviceResources || c.Reason != ReasonTooManyDevices || !strings.Contains(c.Message, "65 resources") {
		t.Errorf("got %d resources, %+v", len(s.Devices), c)
	}
	f = withDevices(devicesAt("0", 0), 0)
	fail(&f.Kubelet.Devices, strings.Repeat("long ", 1000))
	f.Kubelet.Config()
	f.Kubelet.Memory = known(kubelet.Memory{Policy: "None"})
	fail(&f.Kubelet.Memory, strings.Repeat("long ", 1000))
	f.Kubelet.File.Value.MemoryManagerPolicy = "Static"
	s = Build(f, v1alpha1.NodeCPUStatus{}, noon)
	if got := len(s.MemoryManager.Unknown); got == 0 || got > maxUnknown {
		t.Errorf("memoryManager.unknown has %d bytes", got)
	}
}

func TestMemoryThatIsNotKnown(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		change func(*Facts)
		want   string
	}{
		"policy None": {"None", func(*Facts) {}, ""},
		"read":        {"Static", func(f *Facts) { f.Kubelet.Memory = known(kubelet.Memory{Policy: "Static"}) }, ""},
		"unreadable":  {"Static", func(f *Facts) { fail(&f.Kubelet.Memory, "no such file") }, "memory_manager_state cannot be read since 2026-11-23T12:01:00Z"},
		"of another policy": {"Static", func(f *Facts) { f.Kubelet.Memory = known(kubelet.Memory{Policy: "None"}) },
			"says memory manager policy Static, but memory_manager_state says None"},
		"of whole pods": {"Static", func(f *Facts) { f.Kubelet.Memory = known(kubelet.Memory{Policy: "Static", PodLevel: true}) }, "memory of whole pods"},
		"no configuration": {"Static", func(f *Facts) {
			never(&f.Kubelet.File)
			never(&f.Kubelet.Configz)
			f.Kubelet.File.Err = errors.New("gone")
		}, "last"},
	} {
		f := facts()
		f.Kubelet.File.Value.MemoryManagerPolicy = tc.policy
		tc.change(&f)
		last := v1alpha1.NodeCPUStatus{MemoryManager: v1alpha1.MemoryManager{Unknown: "last"}}
		s := Build(f, last, noon)
		if got := s.MemoryManager.Unknown; !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
			t.Errorf("%s: unknown %q, want %q", name, got, tc.want)
		}
	}
}
