// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	k8sresource "k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

func TestInexact(t *testing.T) {
	manyNodes := "1 sockets x 9 numa x 1 cores x 1 threads"
	for _, tc := range []struct {
		what   string
		change func(n *Node, p *Pod)
		want   string
	}{
		{"as it is", func(*Node, *Pod) {}, ""},
		{"oldest", func(n *Node, _ *Pod) { n.Minor = 34 }, ""},
		{"too old", func(n *Node, _ *Pod) { n.Minor = 33 }, "1.33 are not known"},
		{"newest", func(n *Node, _ *Pod) { n.Minor = 38 }, ""},
		{"too new", func(n *Node, _ *Pod) { n.Minor = 39 }, "1.39 are not known, only those of 1.34 to 1.38"},
		{"no topology", func(n *Node, _ *Pod) { n.Topology = nil }, "not known"},
		{"memory manager", func(n *Node, _ *Pod) { n.MemoryManager = "Static" }, "the state of the memory manager is not known"},
		{"memory manager, burstable pod", func(n *Node, p *Pod) { n.MemoryManager, p.Guaranteed, p.Containers[0].CPUs = "Static", false, 0 }, ""},
		{"memory manager None", func(n *Node, _ *Pod) { n.MemoryManager = "None" }, ""},
		{"a device", func(n *Node, p *Pod) {
			n.TopologyManager.Policy = topologymanager.PolicyRestricted
			p.Containers[0].Devices = []devicemanager.Request{{Resource: "example.com/gpu", Count: 1}}
		}, "device example.com/gpu"},
		{"a device, no topology manager", func(n *Node, p *Pod) {
			n.TopologyManager.Policy = topologymanager.PolicyNone
			p.Containers[0].Devices = []devicemanager.Request{{Resource: "example.com/gpu", Count: 1}}
		}, ""},
		{"pod-level, gate on", func(n *Node, p *Pod) { n.PodLevelResourceManagers, p.PodLevelResources = true, true }, ""},
		{"pod-level, gate off", func(_ *Node, p *Pod) { p.PodLevelResources = true }, ""},
		{"new CPU option", func(n *Node, _ *Pod) { n.CPUManager.Options.Unknown = "x" }, "CPU manager option x"},
		{"new CPU option, shared pod", func(n *Node, p *Pod) { n.CPUManager.Options.Unknown, p.Containers[0].CPUs = "x", 0 }, ""},
		{"new topology option", func(n *Node, _ *Pod) { n.TopologyManager.Unknown = "x" }, "topology manager option x"},
		{"reserved offline", func(n *Node, _ *Pod) { n.Reserved.Add(99) }, "reserved CPUs 99 are not online"},
		{"shared offline", func(n *Node, _ *Pod) { n.Shared.Add(99) }, "shared CPUs 99 are not online"},
		{"reserved not shared", func(n *Node, _ *Pod) { n.Shared.Remove(0) }, "reserved CPUs 0 are not in"},
		{"reserved shared, strict", func(n *Node, _ *Pod) { n.CPUManager.Options.StrictCPUReservation = true }, "in spite of"},
		{"many NUMA nodes", func(n *Node, _ *Pod) { *n = *newNode(t, manyNodes, "", topologymanager.PolicyRestricted, "", "0") }, "with 9 NUMA nodes"},
		{"many NUMA nodes allowed", func(n *Node, _ *Pod) {
			*n = *newNode(t, manyNodes, "", topologymanager.PolicyRestricted, "", "0")
			n.TopologyManager.MaxAllowableNUMANodes = 9
		}, ""},
		{"many NUMA nodes, policy none", func(n *Node, _ *Pod) { *n = *newNode(t, manyNodes, "", topologymanager.PolicyNone, "", "0") }, ""},
		{"too many NUMA nodes", func(n *Node, _ *Pod) {
			*n = *newNode(t, "1 sockets x 17 numa x 1 cores x 1 threads", "", topologymanager.PolicyRestricted, "", "0")
			n.TopologyManager.MaxAllowableNUMANodes = 20
		}, "more than the 16"},
		{"34 NUMA nodes, two of them with CPUs", func(n *Node, _ *Pod) {
			text := "s0 n0 u0: 0 1; s1 n1 u1: 2 3"
			for id := 2; id < 34; id++ {
				text += fmt.Sprintf("; n%d:", id)
			}
			*n = *newNode(t, text, "", topologymanager.PolicyRestricted, "", "0")
			n.TopologyManager.MaxAllowableNUMANodes = 34
		}, ""},
		{"high NUMA node", func(n *Node, _ *Pod) {
			*n = *newNode(t, "s0 n0 u0: 0; s0 n64 u0: 1", "", topologymanager.PolicyRestricted, "", "0")
		}, "64 is above 63"},
		{"sockets and single NUMA node", func(n *Node, _ *Pod) { n.CPUManager.Options.AlignBySocket = true }, "both align-by-socket and"},
		{"sockets > NUMA nodes", func(n *Node, _ *Pod) {
			*n = *newNode(t, "s0 n0 u0: 0; s1 n0 u0: 1", "align-by-socket=true", topologymanager.PolicyNone, "", "0")
		}, "more sockets"},
		{"no distances", func(n *Node, _ *Pod) { n.TopologyManager.PreferClosestNUMANodes = true }, "distances between NUMA nodes are unknown"},
	} {
		n, p := newNode(t, twoNUMANodes, "", topologymanager.PolicySingleNUMANode, topologymanager.ScopeContainer, "0"), podAsking("vm", 2)
		tc.change(n, p)
		got := n.Inexact(*p)
		if got == "" != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
}

func TestInexactDistances(t *testing.T) {
	for _, tc := range []struct {
		second int
		want   string
	}{{1, ""}, {2, "KubeletPanics"}} {
		machine, err := cputopology.New(
			[]cputopology.Core{{CPUs: cpuset.Of(0)}, {NUMANode: tc.second, CPUs: cpuset.Of(1)}},
			cputopology.NUMANode{ID: 0, Distances: []int{10, 21}}, cputopology.NUMANode{ID: tc.second, Distances: []int{21, 10}})
		if err != nil {
			t.Fatal(err)
		}
		n := newNode(t, twoNUMANodes, "", topologymanager.PolicyRestricted, topologymanager.ScopeContainer, "0")
		n.Topology, n.Shared = machine, machine.CPUs()
		n.Reserved = cpuset.Set{}
		n.TopologyManager.PreferClosestNUMANodes = true
		pod := podAsking("vm", 1)
		if why := n.Inexact(*pod); why != "" {
			t.Errorf("NUMA nodes 0 and %d: %s", tc.second, why)
		}
		if got := Admit(n, pod).Reason; got != tc.want {
			t.Errorf("NUMA nodes 0 and %d: reason %q, want %q", tc.second, got, tc.want)
		}
	}
}

// Where the devices of a node are not known, only those are excused that KubeVirt serves on every node alike.
func TestUnknownDevices(t *testing.T) {
	for resource, want := range map[corev1.ResourceName]string{
		"example.com/gpu":                 "example.com/gpu",
		"devices.kubevirt.io/kvm":         "",
		"devices.kubevirt.io/tun":         "",
		"devices.kubevirt.io/vhost-net":   "",
		"devices.kubevirt.io/vhost-vsock": "",
		"devices.kubevirt.io/sev":         "",
		"devices.kubevirt.io/pr-helper":   "",
		"devices.kubevirt.io/nvme":        "devices.kubevirt.io/nvme", // a host device, as KubeVirt's guide names one
		"kubernetes.io/batch":             "",
		"hugepages-2Mi":                   "",
	} {
		pod := &corev1.Pod{}
		pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{resource: k8sresource.MustParse("1")},
		}}}
		p := PodOf(pod)
		if got := p.unknownDevice(); got != want {
			t.Errorf("a pod with %s: device %q, want %q", resource, got, want)
		}
	}
}
