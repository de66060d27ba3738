package nodeview

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
)

// machine has NUMA nodes 0-3,8-11 and 4-7,12-15, cores {0,8} {1,9} ...; CPUs 0 and 8 are reserved.
const machine = "2 sockets x 1 numa x 4 cores x 2 threads"

type grants = map[types.UID]map[string]cpuset.Set

func compute(cpus string) map[string]cpuset.Set { return map[string]cpuset.Set{"compute": set(cpus)} }

func set(list string) cpuset.Set {
	cpus, err := cpuset.Parse(list)
	if err != nil {
		panic(err)
	}
	return cpus
}

// nodeCPU is the report of node n1, with full-pcpus-only and single-numa-node.
func nodeCPU(granted grants) *v1alpha1.NodeCPU {
	topology := cputopology.MustParse(machine)
	nc := &v1alpha1.NodeCPU{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: "n1", ResourceVersion: "7"},
		Status: v1alpha1.NodeCPUStatus{
			KubeletVersion:  "v1.36.3",
			CPUManager:      v1alpha1.CPUManager{Policy: "static", Options: map[string]string{"full-pcpus-only": "true"}},
			TopologyManager: v1alpha1.TopologyManager{Policy: "single-numa-node", Scope: "container"},
			MemoryManager:   v1alpha1.MemoryManager{Policy: "None"},
			ReservedCPUs:    "0,8",
			Conditions:      []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}},
		},
	}
	nodereport.SetTopology(&nc.Status, topology)
	nodereport.SetGranted(&nc.Status, granted)
	shared := topology.CPUs()
	for _, containers := range granted {
		for _, cpus := range containers {
			shared = shared.Minus(cpus)
		}
	}
	nc.Status.SharedCPUs = shared.String()
	return nc
}

func object(t testing.TB, nc *v1alpha1.NodeCPU) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

func reportOf(t testing.TB, granted grants) *Report {
	t.Helper()
	report := Decode(object(t, nodeCPU(granted)))
	if report.standing != Exact {
		t.Fatalf("the report is %s: %s", report.standing, report.why)
	}
	return report
}

func TestDecode(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(nc *v1alpha1.NodeCPU)
		raw     func(object map[string]any)
		want    Standing
		wantWhy string
	}{
		"a good report":             {want: Exact},
		"one of the current format": {change: func(nc *v1alpha1.NodeCPU) { nc.Status.Format = v1alpha1.FormatVersion }, want: Exact},
		"one of a newer version": {
			raw:  func(o map[string]any) { o["apiVersion"] = "corepin.dev/v1" },
			want: Newer, wantWhy: "version is corepin.dev/v1",
		},
		"one with a field of the future": {
			raw:  func(o map[string]any) { o["status"].(map[string]any)["quantumCPUs"] = "1" },
			want: Newer, wantWhy: "quantumCPUs",
		},
		"one of a newer format, whatever else is in it": {
			change: func(nc *v1alpha1.NodeCPU) {
				nc.Status = v1alpha1.NodeCPUStatus{Format: v1alpha1.FormatVersion + 1, SharedCPUs: "all"}
			},
			want: Newer, wantWhy: "its format is 2",
		},
		"one with metadata of a newer API server": {
			raw:  func(o map[string]any) { o["metadata"].(map[string]any)["future"] = "x" },
			want: Exact,
		},
		"one with a value of another type": {
			raw:  func(o map[string]any) { o["status"].(map[string]any)["sharedCPUs"] = int64(1) },
			want: Unreadable, wantWhy: "string",
		},
		"an empty one": {
			change: func(nc *v1alpha1.NodeCPU) { nc.Status = v1alpha1.NodeCPUStatus{} },
			want:   Unreadable, wantWhy: "n1",
		},
		"a CPU list that is none": {
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.SharedCPUs = "0-" },
			want:   Unreadable, wantWhy: "sharedCPUs",
		},
		"a CPU held twice": {
			change: func(nc *v1alpha1.NodeCPU) {
				nodereport.SetGranted(&nc.Status, grants{"a": compute("1,9")})
			},
			want: Unreadable, wantWhy: "also in the shared pool",
		},
		"no CPU manager": {
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.CPUManager = v1alpha1.CPUManager{Policy: "none"} },
			want:   NoCPUManager, wantWhy: `policy is "none"`,
		},
		"one that says it is not exact": {
			change: func(nc *v1alpha1.NodeCPU) {
				nc.Status.Conditions[0].Status = metav1.ConditionFalse
				nc.Status.Conditions[0].Message = "the memory manager is on"
			},
			want: Inexact, wantWhy: "the memory manager is on",
		},
		"one that does not say": {
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.Conditions = nil },
			want:   Inexact, wantWhy: "does not say",
		},
	} {
		t.Run(name, func(t *testing.T) {
			nc := nodeCPU(nil)
			if test.change != nil {
				test.change(nc)
			}
			o := object(t, nc)
			if test.raw != nil {
				test.raw(o.Object)
			}
			report := Decode(o)
			if report.standing != test.want || !strings.Contains(report.why, test.wantWhy) {
				t.Errorf("got %s (%s), want %s (...%s...)", report.standing, report.why, test.want, test.wantWhy)
			}
			if report.Name != "n1" || report.ResourceVersion != "7" {
				t.Errorf("the report lost its name or version: %+v", report.ObjectMeta)
			}
		})
	}
}

func TestSameAs(t *testing.T) {
	a, again := reportOf(t, grants{"a": compute("1,9")}), reportOf(t, grants{"a": compute("1,9")})
	if !a.sameAs(again) {
		t.Error("equal reports differ")
	}
	renamed := nodeCPU(grants{"a": compute("1,9")})
	renamed.Status.Conditions = append(renamed.Status.Conditions, metav1.Condition{Type: "Other", Status: metav1.ConditionTrue})
	renamed.ResourceVersion = "8"
	if !a.sameAs(Decode(object(t, renamed))) {
		t.Error("a drifted pin changes a prediction")
	}
	for name, other := range map[string]*Report{
		"another pod":      reportOf(t, grants{"b": compute("1,9")}),
		"another CPU":      reportOf(t, grants{"a": compute("2,10")}),
		"no pod":           reportOf(t, nil),
		"not read":         {standing: Unreadable},
		"no report at all": nil,
	} {
		if a.sameAs(other) {
			t.Errorf("%s: reports that differ are the same", name)
		}
	}
}
