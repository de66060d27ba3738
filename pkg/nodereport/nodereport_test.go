// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/test/harness/bounds"
)

// report is a good one: 8 CPUs, 0 and 4 reserved, 1 and 5 granted.
func report() *v1alpha1.NodeCPU {
	nc := &v1alpha1.NodeCPU{Status: v1alpha1.NodeCPUStatus{
		KubeletVersion: "v1.36.3+k3s1",
		CPUManager: v1alpha1.CPUManager{
			Policy: cpumanager.PolicyStatic, Options: map[string]string{"full-pcpus-only": "true"},
		},
		TopologyManager: v1alpha1.TopologyManager{Policy: "single-numa-node", Scope: "pod"},
		MemoryManager:   v1alpha1.MemoryManager{Policy: "None"},

		PodLevelResourceManagers: true,

		ReservedCPUs: "0,4",
		SharedCPUs:   "0,2-4,6-7",
	}}
	nc.Name = "n1"
	SetTopology(&nc.Status, cputopology.MustParse("1 sockets x 2 numa x 2 cores x 2 threads"))
	SetGranted(&nc.Status, map[types.UID]map[string]cpuset.Set{"uid": {"compute": cpuset.Of(1, 5), "side": {}}, "none": {}})
	return nc
}

func TestNode(t *testing.T) {
	node, err := Node(report())
	if err != nil {
		t.Fatal(err)
	}
	want := admission.Node{
		Topology: cputopology.MustParse("1 sockets x 2 numa x 2 cores x 2 threads"), Minor: 36, MemoryManager: "None",
		Reserved: cpuset.Of(0, 4), Shared: cpuset.Of(0, 2, 3, 4, 6, 7),
	}
	if !node.Topology.Equal(want.Topology) || node.Minor != want.Minor || node.MemoryManager != want.MemoryManager ||
		node.Reserved != want.Reserved || node.Shared != want.Shared {
		t.Errorf("got %v, want %v", node, &want)
	}
	if node.CPUManager.Policy != cpumanager.PolicyStatic || !node.CPUManager.Options.FullPCPUsOnly {
		t.Errorf("CPU manager is %v", node.CPUManager)
	}
	if !node.PodLevelResourceManagers {
		t.Error("the gate PodLevelResourceManagers is off")
	}
	without := report()
	without.Status.PodLevelResourceManagers = false
	if node, err := Node(without); err != nil || node.PodLevelResourceManagers {
		t.Errorf("a report without the gate: %v, error %v; want it off", node, err)
	}
	if manager := node.TopologyManager; manager.Policy != topologymanager.PolicySingleNUMANode || manager.Scope != topologymanager.ScopePod {
		t.Errorf("topology manager is %v", manager)
	}
}

func TestGranted(t *testing.T) {
	nc := report()
	got, err := Granted(nc)
	if err != nil {
		t.Fatal(err)
	}
	if want := (map[types.UID]map[string]cpuset.Set{"uid": {"compute": cpuset.Of(1, 5)}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// An app container has taken over the CPUs of an init container.
	nc.Status.Granted[0].Containers = append(nc.Status.Granted[0].Containers, v1alpha1.ContainerGrant{Name: "init", CPUs: "1"})
	if got, err = Granted(nc); err != nil || got["uid"]["init"] != cpuset.Of(1) {
		t.Errorf("got %v, error %v; want CPU 1 held by both containers", got, err)
	}
}

func TestTopologyRoundTrip(t *testing.T) {
	distant, err := cputopology.New([]cputopology.Core{{CPUs: cpuset.Of(3, 1), Socket: 1, NUMANode: 2, UncoreCache: 7}},
		cputopology.NUMANode{ID: 0, Distances: []int{10, 21}}, cputopology.NUMANode{ID: 2, Distances: []int{21, 10}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []*cputopology.Topology{
		distant,
		cputopology.MustParse("2 sockets x 2 numa x 16 cores x 2 threads"),
		cputopology.MustParse("s0 n0 u0: 0,8 1,9; s0 n0 u1: 2,10; s1 n1 u2: 3; n5:"),
	} {
		var s v1alpha1.NodeCPUStatus
		SetTopology(&s, want)
		if got, err := Topology(&s); err != nil || !got.Equal(want) {
			t.Errorf("%s came back as %v (%v)", want, got, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	type status = v1alpha1.NodeCPUStatus
	for name, tc := range map[string]struct {
		spoil func(*status)
		want  string
	}{
		"a newer format":         {func(s *status) { s.Format = v1alpha1.FormatVersion + 1 }, "newer corepin: its format is"},
		"no policy":              {func(s *status) { s.CPUManager.Policy = "" }, "cpuManager.policy is empty"},
		"an unknown policy":      {func(s *status) { s.CPUManager.Policy = "dynamic" }, "cpuManager: "},
		"an unknown topology":    {func(s *status) { s.TopologyManager.Policy = "best" }, "topologyManager: "},
		"no kubelet version":     {func(s *status) { s.KubeletVersion = "" }, "kubeletVersion"},
		"a version of words":     {func(s *status) { s.KubeletVersion = "latest" }, "kubeletVersion"},
		"Kubernetes 2":           {func(s *status) { s.KubeletVersion = "v2.0.0" }, "only Kubernetes 1"},
		"no cores":               {func(s *status) { s.Cores = nil }, "at least one CPU"},
		"a list of words":        {func(s *status) { s.Cores[0].CPUs = "first" }, "core 0: "},
		"a wrong core id":        {func(s *status) { s.Cores[0].ID = 4 }, "core 4: its lowest CPU is 0"},
		"an empty core":          {func(s *status) { s.Cores[0].CPUs = "" }, "core 0: its lowest CPU is -1"},
		"an unknown NUMA node":   {func(s *status) { s.Cores[0].NUMANode = 9 }, "NUMA node 9 is not in numaNodes"},
		"a CPU in two cores":     {func(s *status) { s.Cores[1].CPUs = "1,4" }, "in two cores"},
		"reserved beyond":        {func(s *status) { s.ReservedCPUs = "0,99" }, "reservedCPUs: CPUs 99 are in no core"},
		"no reserved list":       {func(s *status) { s.ReservedCPUs = "0-" }, "reservedCPUs: "},
		"shared beyond":          {func(s *status) { s.SharedCPUs = "0,8" }, "sharedCPUs: CPUs 8 are in no core"},
		"granted and shared":     {func(s *status) { s.SharedCPUs = "0-7" }, "CPUs 1,5 of pod uid are also in the shared pool"},
		"granted beyond":         {func(s *status) { s.Granted[0].Containers[0].CPUs = "1,77" }, "CPUs 77 are in no core"},
		"granted to two pods":    {func(s *status) { s.Granted = append(s.Granted, podGrant("other", "c", "5")) }, "CPUs 5 of pod other"},
		"a pod twice":            {func(s *status) { s.Granted = append(s.Granted, podGrant("uid", "c", "")) }, `pod UID "uid"`},
		"a pod without UID":      {func(s *status) { s.Granted[0].PodUID = "" }, `pod UID ""`},
		"a container twice":      {func(s *status) { s.Granted[0].Containers = append(s.Granted[0].Containers, s.Granted[0].Containers[0]) }, "is listed twice"},
		"a container of no name": {func(s *status) { s.Granted[0].Containers[0].Name = "" }, "the name is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := report()
			tc.spoil(&nc.Status)
			_, err := Node(nc)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "node report of n1") {
				t.Errorf("got error %v, want one of node n1 with %q", err, tc.want)
			}
		})
	}
}

func TestNewerIsToldApart(t *testing.T) {
	nc := report()
	nc.Status.Format = v1alpha1.FormatVersion
	if _, err := Node(nc); err != nil {
		t.Errorf("our own format: %v", err)
	}
	nc.Status.Format++
	_, err := Node(nc)
	_, grantedErr := Granted(nc)
	if !errors.Is(err, ErrNewer) || !errors.Is(grantedErr, ErrNewer) {
		t.Errorf("a newer format: %v and %v, want ErrNewer", err, grantedErr)
	}
	nc.Status.Format, nc.Status.SharedCPUs = 0, "x"
	if _, err := Node(nc); errors.Is(err, ErrNewer) {
		t.Errorf("a bad report is called a newer one: %v", err)
	}
}

func podGrant(uid types.UID, container, cpus string) v1alpha1.PodGrant {
	return v1alpha1.PodGrant{PodUID: uid, Containers: []v1alpha1.ContainerGrant{{Name: container, CPUs: cpus}}}
}

func TestSummarize(t *testing.T) {
	type status = v1alpha1.NodeCPUStatus
	for name, tc := range map[string]struct {
		change func(*status)
		want   v1alpha1.Summary
	}{
		"static":                  {func(*status) {}, v1alpha1.Summary{CPUs: 8, NUMANodes: 2, Reserved: 2, Granted: 2, Free: 4}},
		"between two writes":      {func(s *status) { s.Granted = nil }, v1alpha1.Summary{CPUs: 8, NUMANodes: 2, Reserved: 2, Granted: 2, Free: 4}},
		"reserved out of shared":  {func(s *status) { s.SharedCPUs = "2-3,6-7" }, v1alpha1.Summary{CPUs: 8, NUMANodes: 2, Reserved: 2, Granted: 2, Free: 4}},
		"policy none":             {func(s *status) { s.CPUManager.Policy = "none" }, v1alpha1.Summary{CPUs: 8, NUMANodes: 2, Reserved: 2}},
		"a shared CPU is offline": {func(s *status) { s.SharedCPUs = "0,2-4,6-8" }, v1alpha1.Summary{CPUs: 8, NUMANodes: 2, Reserved: 2, Granted: 2, Free: 4}},
		"a list of words":         {func(s *status) { s.ReservedCPUs = "x" }, v1alpha1.Summary{CPUs: 8, NUMANodes: 2, Granted: 2, Free: 6}},
	} {
		t.Run(name, func(t *testing.T) {
			nc := report()
			tc.change(&nc.Status)
			Summarize(&nc.Status)
			if nc.Status.Summary != tc.want {
				t.Errorf("got %+v, want %+v", nc.Status.Summary, tc.want)
			}
		})
	}
}

func FuzzNode(f *testing.F) {
	seed, err := json.Marshal(report())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		var nc v1alpha1.NodeCPU
		if json.Unmarshal(data, &nc) != nil {
			return
		}
		Summarize(&nc.Status)
		var node *admission.Node
		var err error
		bounds.Within(t, bounds.Parser, string(data), func() { node, err = Node(&nc) })
		if err != nil {
			return
		}
		granted, err := Granted(&nc)
		if err != nil {
			t.Fatalf("Node accepts what Granted refuses: %v", err)
		}
		again := v1alpha1.NodeCPU{Status: nc.Status}
		SetTopology(&again.Status, node.Topology)
		SetGranted(&again.Status, granted)
		if second, err := Node(&again); err != nil || !second.Topology.Equal(node.Topology) {
			t.Fatalf("written again, the report is refused or another: %v", err)
		}
	})
}

func TestOwner(t *testing.T) {
	ref := func(apiVersion, kind, uid string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, UID: types.UID(uid)}
	}
	for name, test := range map[string]struct {
		owners []metav1.OwnerReference
		want   types.UID
	}{
		"none":                 {nil, ""},
		"a Node":               {[]metav1.OwnerReference{ref("v1", "Node", "a")}, "a"},
		"another kind first":   {[]metav1.OwnerReference{ref("apps/v1", "DaemonSet", "d"), ref("v1", "Node", "a")}, "a"},
		"another group's":      {[]metav1.OwnerReference{ref("example.com/v1", "Node", "a")}, ""},
		"what is not a Node's": {[]metav1.OwnerReference{ref("v1", "Pod", "p")}, ""},
	} {
		nc := &v1alpha1.NodeCPU{ObjectMeta: metav1.ObjectMeta{OwnerReferences: test.owners}}
		if got := Owner(nc); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
