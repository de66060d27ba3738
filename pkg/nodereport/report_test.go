// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/test/harness/bounds"
)

func exact(nc *v1alpha1.NodeCPU) {
	nc.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}}
}

func TestRead(t *testing.T) {
	for name, test := range map[string]struct {
		change func(nc *v1alpha1.NodeCPU)
		want   State
		why    string
	}{
		"exact":        {change: exact, want: Exact},
		"no condition": {change: func(*v1alpha1.NodeCPU) {}, want: Inexact, why: "does not say whether it is exact"},
		"not exact": {change: func(nc *v1alpha1.NodeCPU) {
			exact(nc)
			nc.Status.Conditions[0].Status = "False"
			nc.Status.Conditions[0].Message = "memory"
		}, want: Inexact, why: "memory"},
		"no CPU manager": {change: func(nc *v1alpha1.NodeCPU) { exact(nc); nc.Status.CPUManager = v1alpha1.CPUManager{Policy: "none"} }, want: NoCPUManager, why: `policy is "none"`},
		"a newer format": {change: func(nc *v1alpha1.NodeCPU) { nc.Status.Format = v1alpha1.FormatVersion + 1 }, want: Newer, why: "newer corepin"},
		// resource.ParseQuantity takes hours for these: one report would stop the scheduler.
		"huge pages of an endless size": {change: func(nc *v1alpha1.NodeCPU) {
			exact(nc)
			for _, size := range []string{"1e-2147483647", "1E2147483648", "2791728e42441073741824"} {
				nc.Status.NUMANodes[0].HugePages = append(nc.Status.NUMANodes[0].HugePages, v1alpha1.HugePages{Type: "hugepages-" + size, Pages: 4, Free: 2})
			}
		}, want: Exact},
		"a list of words": {change: func(nc *v1alpha1.NodeCPU) { nc.Status.SharedCPUs = "x" }, want: Unreadable, why: "sharedCPUs: "},
		"a message of 1 MB": {change: func(nc *v1alpha1.NodeCPU) {
			exact(nc)
			nc.Status.Conditions[0].Status = "False"
			nc.Status.Conditions[0].Message = strings.Repeat("a", 1<<20)
		}, want: Inexact, why: "aaa…"},
	} {
		nc := report()
		test.change(nc)
		r := Read(nc)
		if r.State != test.want || !strings.Contains(r.Why, test.why) || len(r.Why) > 2*maxWhy {
			t.Errorf("%s: %s (%.200s), want %s (...%s...)", name, r.State, r.Why, test.want, test.why)
		}
		if (r.Node == nil) != (r.State == Newer || r.State == Unreadable) {
			t.Errorf("%s: state %s, node %v", name, r.State, r.Node)
		}
	}
}

func TestReadGrants(t *testing.T) {
	nc := report()
	nc.Status.Granted[0].Containers = append(nc.Status.Granted[0].Containers, v1alpha1.ContainerGrant{Name: "a", CPUs: "1"})
	r := Read(nc)
	if got := fmt.Sprint(r.Granted["uid"]); got != "[{a 1 false} {compute 1,5 false}]" {
		t.Errorf("granted %s, want a before compute", got)
	}
	if got := r.Free([]types.UID{"uid", "nobody"}); got != cpuset.Of(0, 1, 2, 3, 4, 5, 6, 7) {
		t.Errorf("free without the pod: %s", got)
	}
}

func TestSame(t *testing.T) {
	base := Read(report())
	for name, test := range map[string]struct {
		change            func(nc *v1alpha1.NodeCPU)
		same, sameKubelet bool
	}{
		"nothing": {func(*v1alpha1.NodeCPU) {}, true, true},
		"the message": {func(nc *v1alpha1.NodeCPU) {
			exact(nc)
			nc.Status.Conditions[0].Status = "False"
			nc.Status.Conditions[0].Message = "other words"
		}, true, true},
		"exactness": {exact, false, true},
		"the owner": {func(nc *v1alpha1.NodeCPU) {
			nc.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", UID: "x"}}
		}, false, false},
		"a grant":       {func(nc *v1alpha1.NodeCPU) { nc.Status.Granted = nil }, false, true},
		"the pool":      {func(nc *v1alpha1.NodeCPU) { nc.Status.SharedCPUs = "0,2-4,6" }, false, true},
		"an option":     {func(nc *v1alpha1.NodeCPU) { nc.Status.CPUManager.Options = nil }, false, false},
		"the version":   {func(nc *v1alpha1.NodeCPU) { nc.Status.KubeletVersion = "v1.35.0" }, false, false},
		"the machine":   {func(nc *v1alpha1.NodeCPU) { nc.Status.Cores[0].Socket = 1 }, false, false},
		"it is useless": {func(nc *v1alpha1.NodeCPU) { nc.Status.SharedCPUs = "x" }, false, false},
	} {
		nc := report()
		test.change(nc)
		r := Read(nc)
		if r.Same(base) != test.same || base.Same(r) != test.same || r.SameKubelet(base) != test.sameKubelet {
			t.Errorf("%s differs: same %t, same kubelet %t", name, r.Same(base), r.SameKubelet(base))
		}
	}
	if base.Same(nil) || !(*Report)(nil).Same(nil) {
		t.Error("no report is only the same as no report")
	}
}

// A report larger than any machine needs is refused before it is read.
func TestLimits(t *testing.T) {
	for name, test := range map[string]struct {
		change func(s *v1alpha1.NodeCPUStatus)
		want   string
	}{
		"cores":      {func(s *v1alpha1.NodeCPUStatus) { s.Cores = make([]v1alpha1.Core, maxCores+1) }, "1793 cores, more than the 1792"},
		"NUMA nodes": {func(s *v1alpha1.NodeCPUStatus) { s.NUMANodes = make([]v1alpha1.NUMANode, maxNUMANodes+1) }, "NUMA nodes, more than"},
		"pods":       {func(s *v1alpha1.NodeCPUStatus) { s.Granted = make([]v1alpha1.PodGrant, maxContainers+1) }, "pods and containers"},
		"containers": {func(s *v1alpha1.NodeCPUStatus) {
			s.Granted[0].Containers = make([]v1alpha1.ContainerGrant, maxContainers)
		}, "pods and containers"},
		"lists": {func(s *v1alpha1.NodeCPUStatus) { s.SharedCPUs = strings.Repeat("0-1791,", maxListBytes/7) }, "bytes of CPU lists"},
	} {
		nc := report()
		test.change(&nc.Status)
		if r := Read(nc); r.State != Unreadable || !strings.Contains(r.Why, test.want) {
			t.Errorf("%s: %s (%s), want %q", name, r.State, r.Why, test.want)
		}
		if _, err := Granted(nc); err == nil {
			t.Errorf("%s: Granted reads it", name)
		}
	}
}

// BenchmarkRead reads the most expensive report within the limits that was found: long lists of wide ranges.
func BenchmarkRead(b *testing.B) {
	nc := report()
	nc.Status.SharedCPUs = strings.TrimSuffix(strings.Repeat("0-1791,", maxListBytes/7-20), ",")
	b.ReportAllocs()
	for b.Loop() {
		if r := Read(nc); r.State != Unreadable {
			b.Fatal(r.State)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("0-1", "1", "compute", "static", "uid")
	f.Fuzz(func(t *testing.T, shared, granted, container, policy, uid string) {
		nc := report()
		nc.Status.SharedCPUs = shared
		nc.Status.CPUManager.Policy = policy
		nc.Status.Granted = []v1alpha1.PodGrant{podGrant(types.UID(uid), container, granted)}
		var r *Report
		bounds.Within(t, bounds.Parser, shared+granted+container+policy+uid, func() { r = Read(nc) })
		if (r.Node == nil) != (r.State == Newer || r.State == Unreadable) || !r.Same(Read(nc)) {
			t.Fatalf("state %s, node %v", r.State, r.Node)
		}
		if r.Node == nil {
			return
		}
		held := admission.Decision{Grants: r.Granted[types.UID(uid)]}.Granted()
		if held.Overlaps(r.Node.Shared) || r.Free([]types.UID{types.UID(uid)}) != r.Node.Shared.Union(held) {
			t.Fatalf("pod holds %s, shared pool %s", held, r.Node.Shared)
		}
	})
}

// A report frees something if more is free than before; one that only grants more frees nothing.
func TestFrees(t *testing.T) {
	one := cpuset.Of(1, 9)
	two := cpuset.Of(2, 10)
	node := func(taken cpuset.Set) *admission.Node {
		topology := cputopology.MustParse("2 sockets x 1 numa x 4 cores x 2 threads")
		return &admission.Node{Topology: topology, Minor: 36, Shared: topology.CPUs().Minus(taken)}
	}
	before := &Report{State: Inexact, Node: node(one)}
	other := node(one)
	other.Minor = 37
	for name, test := range map[string]struct {
		after *Report
		want  bool
	}{
		"the same":                  {&Report{State: Inexact, Node: node(one)}, false},
		"more is taken":             {&Report{State: Inexact, Node: node(one.Union(two))}, false},
		"less is taken":             {&Report{State: Inexact, Node: node(cpuset.Set{})}, true},
		"others are taken":          {&Report{State: Inexact, Node: node(two)}, true},
		"exact now":                 {&Report{State: Exact, Node: node(one)}, true},
		"another kubelet":           {&Report{State: Inexact, Node: other}, true},
		"of which nothing is known": {&Report{State: Inexact}, true},
	} {
		if got := test.after.Frees(before); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
	if !before.Frees(nil) {
		t.Error("the first report of a node frees nothing")
	}
}
