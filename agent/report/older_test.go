// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/pkg/cpuset"
)

func TestUndeclaredFields(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want []string
	}{
		"no error":      {},
		"another error": {err: errors.New(`Operation cannot be fulfilled on nodecpus.corepin.dev "n1"`)},
		"one field": {
			errors.New(`failed to create typed patch object (/n1; corepin.dev/v1alpha1, Kind=NodeCPU): .status.hostTuning: field not declared in schema`),
			[]string{"status.hostTuning"},
		},
		"several, in lists too": {
			errors.New(`failed to create typed patch object (/n1; corepin.dev/v1alpha1, Kind=NodeCPU): errors:
  .status.granted[podUID="u"].containers[name="c"].pins: field not declared in schema
  .status.devices[resource="intel.com/vf"].free: field not declared in schema
  .status.numaNodes[0].hugePages: field not declared in schema`),
			[]string{"status.granted.containers.pins", "status.devices.free", "status.numaNodes.hugePages"},
		},
		"not of the status": {err: errors.New(`.metadata.nonsense: field not declared in schema`)},
	} {
		got := undeclaredFields(tc.err)
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestRemoveField(t *testing.T) {
	object := map[string]any{"a": "1", "list": []any{map[string]any{"b": "2", "c": "3"}, map[string]any{"c": "4"}, "text"}}
	for _, path := range [][]string{{"list", "c"}, {"a", "deeper"}, {"none", "b"}, {"d"}} {
		removeField(object, path)
	}
	want := map[string]any{"a": "1", "list": []any{map[string]any{"b": "2"}, map[string]any{}, "text"}}
	if !reflect.DeepEqual(object, want) {
		t.Errorf("%v, want %v", object, want)
	}
}

// Where the NodeCPU definition is older, the report is written without the fields that it does not have, once for each change. It is
// whole again with the first change after the definition was upgraded.
func TestReportForAnOlderDefinition(t *testing.T) {
	w := newWorld(t)
	w.server.older = true
	p := w.publisher()
	tuning := map[string]string{"governor": "performance"}
	p.options.Tuning = func() map[string]string { return tuning }
	w.sync(p, true, "")
	for range 3 {
		w.sync(p, false, "")
	}
	w.read(func(f *Facts) { f.Kubelet.Checkpoint.Value.Shared = cpuset.Of(0, 4) })
	w.sync(p, true, "")
	if got := w.stored().Status; got.SharedCPUs != "0,4" || got.HostTuning != nil {
		t.Errorf("shared CPUs %s, tuning %v", got.SharedCPUs, got.HostTuning)
	}
	p.Observed(w.server.object.GetResourceVersion())
	w.sync(p, false, "")
	w.server.change(func(o *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(o.Object, "0", "status", "sharedCPUs"); err != nil {
			t.Fatal(err)
		}
	})
	p.Observed(w.server.object.GetResourceVersion())
	w.sync(p, true, "") // somebody else's change is put right
	w.server.older = false
	tuning = map[string]string{"governor": "powersave"}
	w.sync(p, true, "")
	if got := w.stored().Status.HostTuning; len(got) != 1 {
		t.Errorf("tuning %v", got)
	}
}
