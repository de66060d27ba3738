// SPDX-License-Identifier: Apache-2.0

package launcherpod

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/test/harness/poddiff"
)

// TestRealPods compares Render with pods of a KubeVirt that ran, from the VMIs as they were stored then. That cluster emulated
// CPUs, and its pods ask for no KVM; what a scheduler and a kubelet wrote into a pod since is not looked at.
func TestRealPods(t *testing.T) {
	dir := realFolder()
	files, err := filepath.Glob(filepath.Join(dir, "[cd]*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no objects of a real KubeVirt in %s: set COREPIN_KUBEVIRT_REAL to the folder that has them", dir)
	}
	compared := 0
	for _, file := range files {
		vmi, pod := realObjects(t, file)
		if vmi == nil || pod == nil {
			continue
		}
		compared++
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		rendered, err := Render(vmi)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		emulate(rendered)
		differences, err := poddiff.Between(rendered, pod)
		if err != nil {
			t.Fatal(err)
		}
		for _, difference := range differences {
			t.Errorf("%s: %s", name, difference)
		}
	}
	t.Logf("%d pods compared", compared)
}

// realObjects are the VMI and the launcher pod in a file; nil where there is none.
func realObjects(t *testing.T, file string) (vmi *unstructured.Unstructured, pod *corev1.Pod) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var stored struct{ Objects []json.RawMessage }
	if err := json.Unmarshal(data, &stored); err != nil {
		t.Fatalf("reading %s: %v", file, err)
	}
	for _, raw := range stored.Objects {
		object := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw, &object.Object); err != nil {
			t.Fatalf("reading %s: %v", file, err)
		}
		_, isPod, _ := unstructured.NestedSlice(object.Object, "spec", "containers")
		switch {
		case object.GetLabels()["kubevirt.io"] == "virt-launcher" && isPod:
			pod = &corev1.Pod{}
			if err := json.Unmarshal(raw, pod); err != nil {
				t.Fatalf("reading %s: %v", file, err)
			}
		case object.GetKind() == "VirtualMachineInstance":
			vmi = object
		}
	}
	return vmi, pod
}

// emulate makes of a launcher pod what KubeVirt makes where it emulates CPUs, as the recorded cluster did: no KVM, no virtio in
// the kernel, and the launcher is told.
func emulate(pod *corev1.Pod) {
	compute := &pod.Spec.Containers[0]
	compute.Args = append(compute.Args, "--allow-emulation")
	for _, device := range []corev1.ResourceName{KVMDevice, VhostDevice} {
		delete(compute.Resources.Limits, device)
		delete(compute.Resources.Requests, device)
	}
}

// TestRealAttachment compares RenderAttachment with the pods that held hot-plugged volumes.
func TestRealAttachment(t *testing.T) {
	objects := recordedObjects(t, "hotvol-pods.json")
	launchers := map[string]*corev1.Pod{}
	for i := range objects {
		if objects[i].Labels["kubevirt.io"] == "virt-launcher" {
			launchers[objects[i].Name] = &objects[i]
		}
	}
	compared := 0
	for i := range objects {
		pod := &objects[i]
		if pod.Labels["kubevirt.io"] != "hotplug-disk" {
			continue
		}
		owner := launchers[pod.OwnerReferences[0].Name]
		if owner == nil {
			t.Fatalf("%s: the recording has no pod %s", pod.Name, pod.OwnerReferences[0].Name)
		}
		var claims [][2]string
		for _, volume := range pod.Spec.Volumes {
			if volume.PersistentVolumeClaim != nil {
				claims = append(claims, [2]string{volume.Name, volume.PersistentVolumeClaim.ClaimName})
			}
		}
		vmi := metav1.GetControllerOf(owner)
		rendered := RenderAttachment(types.NamespacedName{Namespace: owner.Namespace, Name: vmi.Name}, vmi.UID, owner, claims...)
		rendered.Spec.Containers[0].Image = pod.Spec.Containers[0].Image
		differences, err := poddiff.Between(rendered, pod)
		if err != nil {
			t.Fatal(err)
		}
		for _, difference := range differences {
			t.Errorf("%s: %s", pod.Name, difference)
		}
		compared++
	}
	if compared == 0 {
		t.Error("the recording has no attachment pod")
	}
	t.Logf("%d attachment pods compared", compared)
}

// recordedObjects are the pods in a file of the recordings.
func recordedObjects(t *testing.T, name string) []corev1.Pod {
	t.Helper()
	file := filepath.Join(realFolder(), name)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("no objects of a real KubeVirt: set COREPIN_KUBEVIRT_REAL to the folder that has them: %v", err)
	}
	var stored struct{ Objects []corev1.Pod }
	if err := json.Unmarshal(data, &stored); err != nil {
		t.Fatalf("reading %s: %v", file, err)
	}
	return stored.Objects
}

func realFolder() string {
	dir := os.Getenv("COREPIN_KUBEVIRT_REAL")
	if dir == "" {
		dir = "../../../shared/testdata/kubevirt-real"
	}
	return dir
}
