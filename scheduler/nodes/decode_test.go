// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/bounds"
)

func TestDecode(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(nc *v1alpha1.NodeCPU)
		raw     func(object map[string]any)
		want    nodereport.State
		wantWhy string
	}{
		"a good report":             {want: nodereport.Exact},
		"one of the current format": {change: func(nc *v1alpha1.NodeCPU) { nc.Status.Format = v1alpha1.FormatVersion }, want: nodereport.Exact},
		"one of a newer version": {
			raw:  func(o map[string]any) { o["apiVersion"] = "corepin.dev/v1" },
			want: nodereport.Newer, wantWhy: "version is corepin.dev/v1",
		},
		"one with a field of the future": {
			raw:  func(o map[string]any) { o["status"].(map[string]any)["quantumCPUs"] = "1" },
			want: nodereport.Newer, wantWhy: "quantumCPUs",
		},
		"one of a newer format, whatever else is in it": {
			change: func(nc *v1alpha1.NodeCPU) {
				nc.Status = v1alpha1.NodeCPUStatus{Format: v1alpha1.FormatVersion + 1, SharedCPUs: "all"}
			},
			want: nodereport.Newer, wantWhy: "its format is 3",
		},
		"one with metadata of a newer API server": {
			raw:  func(o map[string]any) { o["metadata"].(map[string]any)["future"] = "x" },
			want: nodereport.Exact,
		},
		"one with a value of another type": {
			raw:  func(o map[string]any) { o["status"].(map[string]any)["sharedCPUs"] = int64(1) },
			want: nodereport.Unreadable, wantWhy: "string",
		},
		"an empty one": {
			change: func(nc *v1alpha1.NodeCPU) { nc.Status = v1alpha1.NodeCPUStatus{} },
			want:   nodereport.Unreadable, wantWhy: "cpuManager.policy is empty",
		},
		"a CPU list that is none": {
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.SharedCPUs = "0-" },
			want:   nodereport.Unreadable, wantWhy: "sharedCPUs",
		},
		"a CPU held twice": {
			change: func(nc *v1alpha1.NodeCPU) {
				nodereport.SetGranted(&nc.Status, grants{"a": compute("1,9")})
			},
			want: nodereport.Unreadable, wantWhy: "also in the shared pool",
		},
		"no CPU manager": {
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.CPUManager = v1alpha1.CPUManager{Policy: "none"} },
			want:   nodereport.NoCPUManager, wantWhy: `policy is "none"`,
		},
		"one that says it is not exact": {
			change: func(nc *v1alpha1.NodeCPU) {
				nc.Status.Conditions[0].Status = metav1.ConditionFalse
				nc.Status.Conditions[0].Message = "the memory manager is on"
			},
			want: nodereport.Inexact, wantWhy: "the memory manager is on",
		},
		"one that does not say": {
			change: func(nc *v1alpha1.NodeCPU) { nc.Status.Conditions = nil },
			want:   nodereport.Inexact, wantWhy: "does not say",
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
			if report.Report.State != test.want || !strings.Contains(report.Report.Why, test.wantWhy) {
				t.Errorf("got %s (%s), want %s (...%s...)", report.Report.State, report.Report.Why, test.want, test.wantWhy)
			}
			if report.Name != "n1" || report.ResourceVersion != "7" {
				t.Errorf("the report lost its name or version: %+v", report.ObjectMeta)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, nc := range []*v1alpha1.NodeCPU{nodeCPU(nil), nodeCPU(grants{"a": compute("1,9")})} {
		data, err := object(f, nc).MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var o unstructured.Unstructured
		if o.UnmarshalJSON(data) != nil {
			return
		}
		var report *nodereport.Report
		bounds.Within(t, bounds.Parser, string(data), func() { report = Decode(&o).Report })
		if (report.State == nodereport.Exact) != (report.Why == "") {
			t.Errorf("a report that is %s says why: %q", report.State, report.Why)
		}
		fits(report, nodeInfo(vm("a", "2"), vm("b", "4")), demand(vm("new", "2")))
		v := newView()
		v.Set("n1", report)
		v.predict(demand(vm("new", "2")), nodeInfo(vm("a", "2")))
		v.Capacity(nodeInfo().Node(), demand(vm("new", "2")), 5)
	})
}
