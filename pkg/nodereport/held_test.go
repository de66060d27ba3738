// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/test/harness/bounds"
)

const gib = 1 << 30

// reportWithMemory is a report of policy Static. On each of two NUMA nodes 8 GiB of memory and 4 GiB of huge pages, of which
// pod uid has 2 GiB and 1 GiB on NUMA node 1.
func reportWithMemory() *v1alpha1.NodeCPU {
	nc := report()
	node := func(id, assignments int32, taken int64) v1alpha1.NUMAMemory {
		return v1alpha1.NUMAMemory{ID: id, Assignments: assignments, Group: []int32{id}, Resources: []v1alpha1.MemoryResource{
			{Type: "hugepages-1Gi", Total: 4 * gib, Allocatable: 4 * gib, Reserved: taken * gib, Free: (4 - taken) * gib},
			{Type: "memory", Total: 9 * gib, SystemReserved: gib, Allocatable: 8 * gib, Reserved: 2 * taken * gib, Free: (8 - 2*taken) * gib},
		}}
	}
	nc.Status.MemoryManager = v1alpha1.MemoryManager{
		Policy: "Static", NUMANodes: []v1alpha1.NUMAMemory{node(1, 2, 1), node(0, 0, 0)},
		Granted: []v1alpha1.PodMemory{{PodUID: "uid", Containers: []v1alpha1.ContainerMemory{{Name: "compute", Blocks: []v1alpha1.MemoryBlock{
			{Type: "memory", NUMANodes: []int32{1}, Size: 2 * gib}, {Type: "hugepages-1Gi", NUMANodes: []int32{1}, Size: gib},
		}}}}},
	}
	exact(nc)
	return nc
}

// reportWithDevices has 4 VFs on NUMA node 1, of which pod uid has two, and says that it knows all devices.
func reportWithDevices() *v1alpha1.NodeCPU {
	nc := reportWithMemory()
	nc.Status.Generation = 7
	nc.Status.Conditions = append(nc.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionDevicesKnown, Status: metav1.ConditionTrue, ObservedGeneration: 7,
	})
	nc.Status.Devices = []v1alpha1.DeviceResource{{
		Name:   "intel.com/vf",
		Groups: []v1alpha1.DeviceGroup{{NUMANodes: "1", Devices: 4, Healthy: 3, Free: 1}, {NUMANodes: "0-1", Devices: 1, Healthy: 1, Free: 1}},
		Held: []v1alpha1.HeldDevices{
			{Container: "setup", NUMANodes: "1", Devices: 1, PodUIDs: []types.UID{"other", "uid"}},
			{Container: "compute", NUMANodes: "1", Devices: 1, Again: 1, PodUIDs: []types.UID{"uid"}},
		},
	}}
	nc.Status.Format = Format(&nc.Status)
	return nc
}

func TestReadsMemory(t *testing.T) {
	r := Read(reportWithMemory())
	if r.State != Exact {
		t.Fatalf("%s: %s", r.State, r.Why)
	}
	memory := r.Node.Memory
	want := "{[hugepages-1Gi memory] [" +
		"{0 1 [{4294967296 0 4294967296 0 4294967296} {9663676416 1073741824 8589934592 0 8589934592}]} " +
		"{2 2 [{4294967296 0 4294967296 1073741824 3221225472} {9663676416 1073741824 8589934592 2147483648 6442450944}]}] false}"
	if got := fmt.Sprint(*memory); got != want {
		t.Errorf("memory\n%s, want\n%s", got, want)
	}
	if got := fmt.Sprint(r.Held["uid"].Memory); got != "[{compute false {2 {hugepages-1Gi 1073741824}}} {compute false {2 {memory 2147483648}}}]" {
		t.Errorf("held %s", got)
	}
	free := r.Without([]types.UID{"uid"}).Memory
	if free.NUMANodes[1].Assignments != 0 || free.NUMANodes[1].Memory[1].Free != 8*gib || memory.NUMANodes[1].Assignments != 2 {
		t.Errorf("without the pod: %v, and with it %v", free, memory)
	}
}

func TestReadsDevices(t *testing.T) {
	r := Read(reportWithDevices())
	if r.State != Exact {
		t.Fatalf("%s: %s", r.State, r.Why)
	}
	if got := fmt.Sprint(r.Node.Devices.Resources); got != "[{intel.com/vf  [{2 4 3 1} {3 1 1 1}]}]" && !strings.HasPrefix(got, "[{intel.com/vf  [{2 4 3 1} {3 1 1 1}]") {
		t.Errorf("devices %s", got)
	}
	if got := fmt.Sprint(r.Held["uid"].Devices); got != "[{compute intel.com/vf 2 1 1 0 false} {setup intel.com/vf 2 1 0 0 false}]" {
		t.Errorf("held %s", got)
	}
	free := r.Without([]types.UID{"uid", "other"}).Devices.Resource("intel.com/vf")
	if free.Groups[0].Free != 3 {
		t.Errorf("without its pods %d VFs are free, want 3", free.Groups[0].Free)
	}
	if r.Same(Read(reportWithMemory())) || !r.Same(Read(reportWithDevices())) {
		t.Error("reports with and without devices are the same")
	}
}

// TestWhatIsNotKnown: what a report does not have for sure, the node does not have, and the rest is exact. The first rows are
// reports of agents that know only format 1.
func TestWhatIsNotKnown(t *testing.T) {
	condition := func(nc *v1alpha1.NodeCPU) *metav1.Condition {
		return &nc.Status.Conditions[len(nc.Status.Conditions)-1]
	}
	for name, tc := range map[string]struct {
		change          func(*v1alpha1.NodeCPU)
		memory, devices bool
		resource        string
	}{
		"all": {func(*v1alpha1.NodeCPU) {}, true, true, ""},
		"format 1": {func(nc *v1alpha1.NodeCPU) {
			nc.Status.Format = 1
			nc.Status.Devices = nil
			nc.Status.Conditions = nc.Status.Conditions[:1]
		}, true, false, ""},
		"format 1, memory unreadable": {func(nc *v1alpha1.NodeCPU) {
			nc.Status.Devices = nil
			nc.Status.Conditions[1] = metav1.Condition{Type: v1alpha1.ConditionSourcesComplete, Status: metav1.ConditionFalse,
				Message: "memory_manager_state cannot be read since 2026-11-23T12:00:00Z"}
		}, false, false, ""},
		"format 1 over a newer one": {func(nc *v1alpha1.NodeCPU) { nc.Status.Generation = 8 }, true, false, ""},
		"devices unreadable":        {func(nc *v1alpha1.NodeCPU) { condition(nc).Status = metav1.ConditionFalse }, true, false, ""},
		"memory unreadable":         {func(nc *v1alpha1.NodeCPU) { nc.Status.MemoryManager.Unknown = "no such file" }, false, true, ""},
		"no memory state":           {func(nc *v1alpha1.NodeCPU) { nc.Status.MemoryManager = v1alpha1.MemoryManager{Policy: "Static"} }, false, true, ""},
		"policy None":               {func(nc *v1alpha1.NodeCPU) { nc.Status.MemoryManager.Policy = "None" }, false, true, ""},
		"no devices at all": {func(nc *v1alpha1.NodeCPU) {
			nc.Status.Format = 1
			nc.Status.Devices = nil
		}, true, true, ""},
		"one resource is not known":   {func(nc *v1alpha1.NodeCPU) { nc.Status.Devices[0].Unknown = "its plugin has gone" }, true, true, "its plugin has gone"},
		"more is held than there are": {func(nc *v1alpha1.NodeCPU) { nc.Status.Devices[0].Held[0].Devices = 9 }, true, true, "containers hold more of its devices"},
		"a definition of format 1 dropped fields": {func(nc *v1alpha1.NodeCPU) {
			nc.Status.Format = 2
			nc.Status.Devices = nil
		}, false, false, ""},
		"format 1, whose agent does not know the memory manager's rules": {func(nc *v1alpha1.NodeCPU) {
			nc.Status.Format = 1
			nc.Status.Devices = nil
			nc.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotModelled}}
		}, true, false, ""},
	} {
		nc := reportWithDevices()
		tc.change(nc)
		r := Read(nc)
		if r.State != Exact || (r.Node.Memory != nil) != tc.memory || (r.Node.Devices != nil) != tc.devices {
			t.Errorf("%s: %s (%s), memory %v, devices %v", name, r.State, r.Why, r.Node.Memory, r.Node.Devices)
			continue
		}
		if tc.resource != "" && !strings.Contains(r.Node.Devices.Resources[0].Unknown, tc.resource) {
			t.Errorf("%s: %+v, want %q", name, r.Node.Devices.Resources[0], tc.resource)
		}
		if cpus := asking("2", "", ""); r.Node.MemoryManager == "None" && r.Node.Inexact(cpus) != "" {
			t.Errorf("%s: a pod that asks for CPUs is not exact: %s", name, r.Node.Inexact(cpus))
		}
	}
}

// TestTornMemory: between two writes of the kubelet the assignments are not those of its containers.
func TestTornMemory(t *testing.T) {
	nc := reportWithMemory()
	nc.Status.MemoryManager.NUMANodes[0].Assignments = 3
	if r := Read(nc); r.State != Exact || !r.Node.Memory.Torn {
		t.Errorf("%s (%s): %v", r.State, r.Why, r.Node.Memory)
	}
}

func TestRefusesMemoryAndDevices(t *testing.T) {
	type status = v1alpha1.NodeCPUStatus
	for name, tc := range map[string]struct {
		spoil func(*status)
		want  string
	}{
		"a NUMA node too few":     {func(s *status) { s.MemoryManager.NUMANodes = s.MemoryManager.NUMANodes[:1] }, "there are 1, and the machine has 2"},
		"a NUMA node twice":       {func(s *status) { s.MemoryManager.NUMANodes[1].ID = 1 }, "NUMA node 1 is listed twice"},
		"a NUMA node of another":  {func(s *status) { s.MemoryManager.NUMANodes[1].ID = 4 }, "NUMA node 4 is not in numaNodes"},
		"not in its group":        {func(s *status) { s.MemoryManager.NUMANodes[1].Group = []int32{1} }, "not in its own group"},
		"no group":                {func(s *status) { s.MemoryManager.NUMANodes[1].Group = nil }, "there is no NUMA node"},
		"negative assignments":    {func(s *status) { s.MemoryManager.NUMANodes[1].Assignments = -1 }, "has -1 assignments"},
		"a type too few":          {func(s *status) { s.MemoryManager.NUMANodes[1].Resources = nil }, "it has 0 types of memory"},
		"a type twice":            {func(s *status) { s.MemoryManager.NUMANodes[0].Resources[0].Type = "memory" }, "a type of memory is listed twice"},
		"another type":            {func(s *status) { s.MemoryManager.NUMANodes[1].Resources[0].Type = "memory" }, "listed twice, or another"},
		"a negative amount":       {func(s *status) { s.MemoryManager.NUMANodes[1].Resources[0].Free = -1 }, "is negative"},
		"a block of no NUMA node": {func(s *status) { s.MemoryManager.Granted[0].Containers[0].Blocks[0].NUMANodes = nil }, "there is no NUMA node"},
		"a block of another type": {func(s *status) { s.MemoryManager.Granted[0].Containers[0].Blocks[0].Type = "hugepages-2Mi" }, `of "hugepages-2Mi"`},
		"a negative block":        {func(s *status) { s.MemoryManager.Granted[0].Containers[0].Blocks[0].Size = -1 }, "a block of -1 bytes"},
		"a pod with memory twice": {func(s *status) { s.MemoryManager.Granted = append(s.MemoryManager.Granted, s.MemoryManager.Granted[0]) }, "is listed twice"},
		"too much memory":         {func(s *status) { s.MemoryManager.Granted = make([]v1alpha1.PodMemory, maxHeld+1) }, "pods, containers and blocks with memory"},
		"a resource twice":        {func(s *status) { s.Devices = append(s.Devices, s.Devices[0]) }, "is listed twice"},
		"a group twice":           {func(s *status) { s.Devices[0].Groups[1].NUMANodes = "1" }, "a set of NUMA nodes is listed twice"},
		"a group of another":      {func(s *status) { s.Devices[0].Groups[1].NUMANodes = "4" }, "NUMA node 4 is not in numaNodes"},
		"a group of words":        {func(s *status) { s.Devices[0].Groups[1].NUMANodes = "left" }, `NUMA nodes "left"`},
		"more free than healthy":  {func(s *status) { s.Devices[0].Groups[0].Free = 4 }, "of 4 devices on NUMA nodes"},
		"held by nobody":          {func(s *status) { s.Devices[0].Held[0].PodUIDs[0] = "" }, "a name or a pod's UID is empty"},
		"held of another":         {func(s *status) { s.Devices[0].Held[0].NUMANodes = "4" }, "NUMA node 4 is not in numaNodes"},
		"more again than at all":  {func(s *status) { s.Devices[0].Held[0].Again = 2 }, "of 1 devices 2 are held again"},
		"too many holders":        {func(s *status) { s.Devices[0].Held[0].PodUIDs = make([]types.UID, maxHeld) }, "containers with devices"},
		"too many resources":      {func(s *status) { s.Devices = make([]v1alpha1.DeviceResource, maxResources+1) }, "resources of device plugins"},
	} {
		nc := reportWithDevices()
		tc.spoil(&nc.Status)
		_, err := Node(nc)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}

// asking is a Guaranteed pod that asks for CPUs, and for memory and a device where they are given.
func asking(cpus, memory, device string) admission.Pod {
	amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse("1Gi")}
	if memory != "" {
		amounts[corev1.ResourceName(memory)] = resource.MustParse("1Gi")
	}
	if device != "" {
		amounts[corev1.ResourceName(device)] = resource.MustParse("1")
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts}}}}}
	return admission.PodOf(pod)
}

// FuzzDecision holds every decision over a report that can be read to 50 ms of one thread, and what a report says of a pod to
// what the node has.
func FuzzDecision(f *testing.F) {
	for _, nc := range []*v1alpha1.NodeCPU{report(), reportWithMemory(), reportWithDevices()} {
		seed, err := json.Marshal(nc)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		most := bounds.Instrumented(50 * time.Millisecond)
		var nc v1alpha1.NodeCPU
		if json.Unmarshal(data, &nc) != nil {
			return
		}
		r := Read(&nc)
		if r.Node == nil {
			return
		}
		if !r.Same(Read(nc.DeepCopy())) {
			t.Fatal("read again, the report is another")
		}
		r.Without(slices.Collect(maps.Keys(r.Held)))
		if !reflect.DeepEqual(r.Held, Read(&nc).Held) {
			t.Fatal("what pods hold has changed")
		}
		var memory, device string
		if r.Node.Memory != nil && len(r.Node.Memory.Types) > 0 {
			memory = r.Node.Memory.Types[0]
		}
		if r.Node.Devices != nil && len(r.Node.Devices.Resources) > 0 {
			device = r.Node.Devices.Resources[0].Name
		}
		pod := asking("2", memory, device)
		if r.Node.Inexact(pod) != "" {
			return
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before := bounds.CPUTime(t)
		d := admission.Admit(r.Node, &pod)
		if took := bounds.CPUTime(t) - before; took > most {
			t.Errorf("%s\n%v took %s", r.Node, d, took)
		}
	})
}

// TestOnlyTheMemoryManager: a report that is not exact for another reason than the memory manager is not exact.
func TestOnlyTheMemoryManager(t *testing.T) {
	for name, tc := range map[string]struct {
		reason, kubelet string
		want            State
	}{
		"the memory manager":  {v1alpha1.ReasonNotModelled, "v1.36.3", Exact},
		"an unknown kubelet":  {v1alpha1.ReasonNotModelled, "v1.99.0", Inexact},
		"an unreadable state": {"StateUnreadable", "v1.36.3", Inexact},
	} {
		nc := reportWithMemory()
		nc.Status.MemoryManager.Unknown = "no such file"
		nc.Status.KubeletVersion = tc.kubelet
		nc.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionFalse, Reason: tc.reason}}
		r := Read(nc)
		if r.State != tc.want {
			t.Errorf("%s: %s (%s), want %s", name, r.State, r.Why, tc.want)
			continue
		}
		if r.State == Exact && r.Node.Inexact(asking("2", "", "")) == "" {
			t.Errorf("%s: a pod with memory is exact", name)
		}
	}
}
