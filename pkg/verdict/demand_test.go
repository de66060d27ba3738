// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/placement"
)

func fullDemand() *Demand {
	d := DemandOf(vm("a", "4"))
	d.Dedicated = true
	full := admission.Container{Name: "compute", CPUs: 4,
		Memory:  []memorymanager.Quantity{{Type: "memory", Bytes: 1 << 30}},
		Devices: []devicemanager.Request{{Resource: "example.com/nic", Count: 1}}}
	d.Pod.PodLevel = &admission.PodLevel{CPUs: 4, Containers: []admission.Container{full}}
	d.Pod.Containers[0] = full
	d.Guest = &placement.Guest{VCPUs: 4, IOThreads: []int{1}, Near: [][]int{{0}}, NUMA: &placement.NUMA{Memory: 1, PageSize: 2}}
	d.Compute = "compute"
	d.Pod.Waiting = []bool{false, true}
	return &d
}

// Each field of a demand, and of what it is made of, changes the key. Whoever adds a field to one of these types decides
// here whether verdicts depend on it.
func TestEveryFieldIsInTheKey(t *testing.T) {
	harmless := map[string]bool{
		"Demand.Pod.Name":    true, // in no verdict about the pod itself
		"Demand.Pod.Waiting": true, // of a pod that has started; only a kubelet that starts again looks at it
	}
	base := fullDemand().Key()
	var walk func(path string, at func(d *Demand) reflect.Value)
	fields := 0
	walk = func(path string, at func(d *Demand) reflect.Value) {
		value := at(fullDemand())
		switch value.Kind() {
		case reflect.Struct:
			for i := range value.NumField() {
				walk(path+"."+value.Type().Field(i).Name, func(d *Demand) reflect.Value { return at(d).Field(i) })
			}
			return
		case reflect.Pointer:
			walk(path, func(d *Demand) reflect.Value { return at(d).Elem() })
			return
		case reflect.Slice:
			if value.Len() == 0 {
				t.Fatalf("%s is empty in the demand of this test; put something into it", path)
			}
			walk(path, func(d *Demand) reflect.Value { return at(d).Index(0) })
			return
		}
		fields++
		d := fullDemand()
		change(t, path, at(d))
		if same := d.Key() == base; same != harmless[path] {
			t.Errorf("%s: another value, the same key: %t", path, same)
		}
	}
	walk("Demand", func(d *Demand) reflect.Value { return reflect.ValueOf(d).Elem() })
	if fields < 20 {
		t.Errorf("only %d fields were looked at", fields)
	}
}

func change(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	default:
		t.Fatalf("%s is a %s; say here how to change it", path, v.Kind())
	}
}

// Names cannot be written so that two different demands get one key.
func TestKeysDoNotRunTogether(t *testing.T) {
	keys := map[string]string{}
	for _, containers := range [][]admission.Container{
		{{Name: "a", CPUs: 1}, {Name: "b", CPUs: 2}},
		{{Name: `a"1 app"b`, CPUs: 2}},
		{{Name: "a1", CPUs: 2}},
		{{Name: "a", CPUs: 12}},
		{{Name: "a", CPUs: 1}, {Name: "c"}, {Name: "b", CPUs: 2}},
		{{Name: "a", CPUs: 1, Kind: admission.Init}, {Name: "b", CPUs: 2}},
	} {
		d := Demand{Pod: admission.Pod{Containers: containers}}
		text := fmt.Sprint(containers)
		if other, taken := keys[d.Key()]; taken {
			t.Errorf("%s and %s have the key %s", text, other, d.Key())
		}
		keys[d.Key()] = text
	}
}

// The count is kube-scheduler's own, for every kind of pod.
func TestMillicores(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	sidecar := container("side", "1500m")
	sidecar.RestartPolicy = &always
	for name, change := range map[string]func(*corev1.Pod){
		"a VM": func(*corev1.Pod) {},
		"overhead": func(p *corev1.Pod) {
			p.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}
		},
		"a large init":   func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{container("init", "9")} },
		"a small init":   func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{container("init", "1")} },
		"sidecar, init":  func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{sidecar, container("init", "4")} },
		"init, sidecar":  func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{container("init", "5"), sidecar} },
		"pod-level":      func(p *corev1.Pod) { p.Spec.Resources = ptr.To(container("", "7").Resources) },
		"a burstable VM": func(p *corev1.Pod) { p.Spec.Containers[1].Resources.Limits = nil },
	} {
		pod := vm("a", "4", change)
		d := DemandOf(pod)
		requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
		if got, want := d.Millicores(), requests.Cpu().MilliValue(); got != want {
			t.Errorf("%s: %dm, kube-scheduler counts %dm", name, got, want)
		}
	}
	d := DemandOf(vm("a", "4"))
	if got := d.Shared(); got != 200 {
		t.Errorf("beside its CPUs the VM asks for %dm, want 200m", got)
	}
}
