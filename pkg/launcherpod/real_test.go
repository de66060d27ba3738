package launcherpod

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// realKnown are the objects of a running KubeVirt whose pods differ, with the reason. One that does not differ any more fails.
var realKnown = map[string]string{
	"c31-tpm-efi": "the memory of a TPM is not added",
}

// TestRealPods compares Render with pods of a KubeVirt that ran, from the VMIs as they were stored then. That cluster emulated
// CPUs, and its pods ask for no KVM; what a scheduler and a kubelet wrote into a pod since is not looked at.
func TestRealPods(t *testing.T) {
	dir := os.Getenv("COREPIN_KUBEVIRT_REAL")
	if dir == "" {
		dir = "../../../shared/testdata/kubevirt-real"
	}
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
		differences := compareReal(rendered, pod)
		reason, known := realKnown[name]
		switch {
		case known && len(differences) == 0:
			t.Errorf("%s: nothing differs; take it off the list (%s)", name, reason)
		case known:
			t.Logf("%s is known to differ: %s:\n%s", name, reason, strings.Join(differences, "\n"))
		case len(differences) > 0:
			t.Errorf("%s:\n%s", name, strings.Join(differences, "\n"))
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

// compareReal is compare without what depends on the cluster: devices of KVM, and interfaces, which Render does not know.
func compareReal(got, want *corev1.Pod) []string {
	for _, pod := range []*corev1.Pod{got, want} {
		defaultRequests(pod)
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				for _, resources := range []corev1.ResourceList{list[i].Resources.Limits, list[i].Resources.Requests} {
					for name := range resources {
						if strings.HasPrefix(string(name), "devices.kubevirt.io/") {
							delete(resources, name)
						}
					}
				}
			}
		}
	}
	var differences []string
	for what, pair := range map[string][2]any{
		"node selector":   {got.Spec.NodeSelector, want.Spec.NodeSelector},
		"affinity":        {got.Spec.Affinity, want.Spec.Affinity},
		"scheduler":       {orDefault(got.Spec.SchedulerName), orDefault(want.Spec.SchedulerName)},
		"readiness gates": {got.Spec.ReadinessGates, want.Spec.ReadinessGates},
		"init containers": {containers(got.Spec.InitContainers), containers(want.Spec.InitContainers)},
		"containers":      {containers(got.Spec.Containers), containers(want.Spec.Containers)},
	} {
		if g, w := encoded(pair[0]), encoded(pair[1]); g != w {
			differences = append(differences, what+": got\n"+g+"KubeVirt made\n"+w)
		}
	}
	return differences
}
