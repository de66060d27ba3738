// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// largeFacts are facts of a machine of 16 NUMA nodes with 2,000 devices of four resources, and of 500 pods. As many as there
// are CPUs for have two CPUs each, all have memory and huge pages under policy Static and four devices.
func largeFacts(machine string) Facts {
	const (
		pods      = 500
		resources = 4
		perPod    = 4
		numaNodes = 16
	)
	f := facts()
	f.Host = known(cputopology.MustParse(machine))
	f.Kubelet.File.Value.MemoryManagerPolicy = "Static"
	served := map[string][]kubelet.Device{}
	registered := map[string]int{}
	amounts := corev1.ResourceList{}
	for k := range resources {
		name := fmt.Sprintf("intel.com/sriov_netdevice_%d", k)
		for i := range pods {
			served[name] = append(served[name], kubelet.Device{ID: fmt.Sprintf("0000:%02x:%02x.%d", k, i/8, i%8), NUMANodes: fmt.Sprint(i % numaNodes)})
		}
		registered[name] = pods
		amounts[corev1.ResourceName(name)] = *resource.NewQuantity(pods, resource.DecimalSI)
	}
	checkpoint := kubelet.Checkpoint{Policy: "static", Shared: f.Host.Value.CPUs(), Granted: map[types.UID]map[string]cpuset.Set{}}
	memory := kubelet.Memory{Policy: "Static", NUMANodes: map[int32]kubelet.NUMAMemory{}, Granted: map[types.UID]map[string][]kubelet.MemoryBlock{}}
	sizes := map[string]hostcpu.HugePages{"hugepages-1Gi": {Size: 1 << 30, Pages: 64, Free: 32}, "hugepages-2Mi": {Size: 2 << 20, Pages: 1024, Free: 1000}}
	host := map[int32]hostcpu.NodeMemory{}
	for id := range int32(numaNodes) {
		amount := kubelet.MemoryResource{Total: 123456789012, SystemReserved: 1073741824, Allocatable: 122383047188, Reserved: 61191523594, Free: 61191523594}
		memory.NUMANodes[id] = kubelet.NUMAMemory{Assignments: 100, Group: []int32{id}, Resources: map[string]kubelet.MemoryResource{
			"memory": amount, "hugepages-1Gi": amount, "hugepages-2Mi": amount,
		}}
		host[id] = hostcpu.NodeMemory{Total: 123456789012, HugePages: sizes}
	}
	var held []kubelet.HeldDevices
	for i := range pods {
		uid := types.UID(fmt.Sprintf("8a3f2c1e-0000-4000-8000-%012d", i))
		core := f.Host.Value.Cores()[(i+1)%len(f.Host.Value.Cores())].CPUs
		if i < len(f.Host.Value.Cores())-1 {
			checkpoint.Granted[uid] = map[string]cpuset.Set{"compute": core}
			checkpoint.Shared = checkpoint.Shared.Minus(core)
		}
		blocks := func(bytes int64) []kubelet.MemoryBlock {
			node := []int32{int32(i % numaNodes)}
			return []kubelet.MemoryBlock{{NUMANodes: node, Type: "hugepages-1Gi", Size: bytes}, {NUMANodes: node, Type: "memory", Size: bytes}}
		}
		memory.Granted[uid] = map[string][]kubelet.MemoryBlock{"compute": blocks(17179869184), "guest-console-log": blocks(62914560)[1:]}
		for k := range perPod {
			name := fmt.Sprintf("intel.com/sriov_netdevice_%d", k)
			held = append(held, kubelet.HeldDevices{Pod: uid, Container: "compute", Resource: name, Devices: served[name][i : i+1]})
		}
	}
	f.Kubelet.Checkpoint = known(checkpoint)
	f.Kubelet.Memory = known(memory)
	f.Kubelet.Served = known(served)
	f.Kubelet.Devices = known(kubelet.Devices{Registered: registered, Held: held})
	f.Memory = known(host)
	f.Node = &corev1.Node{Status: corev1.NodeStatus{Capacity: amounts, Allocatable: amounts}}
	return f
}

// TestSizeOfReports bounds reports of large machines. Devices are numbers, so their part grows with the containers that hold
// some, and not with the devices.
func TestSizeOfReports(t *testing.T) {
	for name, tc := range map[string]struct {
		machine               string
		whole, memory, device int // bytes of JSON at most
	}{
		"128 CPUs": {"2 sockets x 8 numa x 4 cores x 2 threads", 280_000, 170_000, 95_000},
		"512 CPUs": {"2 sockets x 8 numa x 16 cores x 2 threads", 310_000, 170_000, 95_000},
	} {
		s := Build(largeFacts(tc.machine), v1alpha1.NodeCPUStatus{}, noon)
		whole := jsonSize(t, s)
		memory := jsonSize(t, s.MemoryManager)
		devices := jsonSize(t, s.Devices)
		t.Logf("%s, 16 NUMA nodes, 500 pods, 2,000 devices held: %d bytes; memory manager %d, devices %d, CPUs and the rest %d",
			name, whole, memory, devices, whole-memory-devices)
		if whole > tc.whole || memory > tc.memory || devices > tc.device {
			t.Errorf("%s: %d bytes, of which the memory manager's %d and the devices' %d; at most %d, %d and %d", name, whole, memory, devices, tc.whole, tc.memory, tc.device)
		}
		for _, d := range s.Devices {
			if d.Unknown != "" {
				t.Errorf("%s: %s is not known: %s", name, d.Name, d.Unknown)
			}
		}
		f := largeFacts(tc.machine)
		f.Kubelet.Devices.Value.Held = nil
		s = Build(f, v1alpha1.NodeCPUStatus{}, noon)
		free := jsonSize(t, s.Devices)
		t.Logf("%s, nobody holds a device: devices %d bytes", name, free)
		if free > 6_000 {
			t.Errorf("%s: 2,000 devices that nobody holds take %d bytes", name, free)
		}
	}
}

func jsonSize(t *testing.T, value any) int {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}
