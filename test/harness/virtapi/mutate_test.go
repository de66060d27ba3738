// SPDX-License-Identifier: Apache-2.0

package virtapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func load(t *testing.T, file string) *unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(data, &object.Object); err != nil {
		t.Fatalf("reading %s: %v", file, err)
	}
	return object
}

// differing are recordings of clusters whose KubeVirt object has settings, with the reason.
var differing = map[string]string{}

// TestRecordedMutations compares Mutate with what KubeVirt made of the same VMIs, in the folder that COREPIN_KUBEVIRT_TESTDATA names.
func TestRecordedMutations(t *testing.T) {
	dir := os.Getenv("COREPIN_KUBEVIRT_TESTDATA")
	if dir == "" {
		dir = "../../../../shared/testdata/kubevirt"
	}
	files, err := filepath.Glob(filepath.Join(dir, "launcher-pods", "*.mutated-vmi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no recorded VMIs in %s: set COREPIN_KUBEVIRT_TESTDATA to the folder that has them", dir)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".mutated-vmi.yaml")
		written := load(t, strings.TrimSuffix(file, ".mutated-vmi.yaml")+".vmi.yaml")
		stored := load(t, file)
		if err := Mutate(written, time.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, object := range []*unstructured.Unstructured{written, stored} {
			unstructured.RemoveNestedField(object.Object, "spec", "domain", "firmware", "uuid") // random
		}
		same := canonical(t, written.Object["spec"]) == canonical(t, stored.Object["spec"]) && reflect.DeepEqual(written.GetFinalizers(), stored.GetFinalizers())
		reason, known := differing[name]
		switch {
		case known == same:
			t.Errorf("%s: the same is %v (%s); got\n%s\nKubeVirt made\n%s", name, same, reason, canonical(t, written.Object["spec"]), canonical(t, stored.Object["spec"]))
		case known:
			t.Logf("%s is known to differ: %s", name, reason)
		}
	}
	t.Logf("%d VMIs compared", len(files))
}

func canonical(t *testing.T, value any) string {
	t.Helper()
	text, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func raw(t *testing.T, text string) runtime.RawExtension {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: data}
}

// TestAdmit: a new VMI is changed, one that cannot be read is refused, and only KubeVirt's accounts write a status.
func TestAdmit(t *testing.T) {
	vmi := "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm}, spec: {domain: {devices: {}}}, status: {phase: %}}"
	running := raw(t, strings.Replace(vmi, "%", "Running", 1))
	failed := raw(t, strings.Replace(vmi, "%", "Failed", 1))
	for name, tc := range map[string]struct {
		request admissionv1.AdmissionRequest
		allowed bool
		patched string // fields that are replaced
	}{
		"new":       {admissionv1.AdmissionRequest{Operation: admissionv1.Create, Object: running}, true, "/metadata /spec /status"},
		"no domain": {admissionv1.AdmissionRequest{Operation: admissionv1.Create, Object: raw(t, "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, spec: 1}")}, false, ""},
		"disks of another type": {admissionv1.AdmissionRequest{Operation: admissionv1.Create,
			Object: raw(t, "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm}, spec: {domain: {devices: {}}, volumes: [1]}}")}, false, ""},
		"a user's status": {admissionv1.AdmissionRequest{Operation: admissionv1.Update, OldObject: running, Object: failed}, true, "/status"},
		"KubeVirt's status": {admissionv1.AdmissionRequest{Operation: admissionv1.Update, OldObject: running, Object: failed,
			UserInfo: authenticationv1.UserInfo{Username: ownAccounts + "kubevirt-handler"}}, true, ""},
		"no change": {admissionv1.AdmissionRequest{Operation: admissionv1.Update, OldObject: running, Object: running}, true, ""},
	} {
		response := Admit(&tc.request, time.Now())
		var operations []struct{ Path string }
		if len(response.Patch) > 0 {
			if err := json.Unmarshal(response.Patch, &operations); err != nil {
				t.Fatal(err)
			}
		}
		var paths []string
		for _, operation := range operations {
			paths = append(paths, operation.Path)
		}
		if response.Allowed != tc.allowed || strings.Join(paths, " ") != tc.patched {
			t.Errorf("%s: allowed %v, patched %v, %v", name, response.Allowed, paths, response.Result)
		}
	}
}

// TestAdmitUpdate: what KubeVirt's own accounts change is allowed, and of others what is neither spec nor a label of KubeVirt's.
func TestAdmitUpdate(t *testing.T) {
	const vmi = "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm, labels: {app: db, kubevirt.io/nodeName: n1}}, " +
		"spec: {domain: {cpu: {cores: 2}}}, status: {phase: Running}}"
	const kubeVirt = ownAccounts + "kubevirt-controller"
	for name, tc := range map[string]struct {
		user, change, to string
		refusal          string
	}{
		"a user's size":            {"admin", "cores: 2", "cores: 4", "update of VMI object is restricted"},
		"KubeVirt's size":          {kubeVirt, "cores: 2", "cores: 4", ""},
		"a user's label":           {"admin", "app: db", "app: web", ""},
		"KubeVirt's label removed": {"admin", ", kubevirt.io/nodeName: n1", "", "modification of the following reserved kubevirt.io/ labels"},
		"KubeVirt's label changed": {"admin", "n1", "n2", "modification of the following reserved kubevirt.io/ labels"},
		"KubeVirt changes it":      {kubeVirt, "n1", "n2", ""},
		"a user's status":          {"admin", "Running", "Failed", ""}, // it has been put back before
	} {
		changed := strings.Replace(vmi, tc.change, tc.to, 1)
		response := AdmitUpdate(&admissionv1.AdmissionRequest{Operation: admissionv1.Update, OldObject: raw(t, vmi), Object: raw(t, changed),
			UserInfo: authenticationv1.UserInfo{Username: tc.user}})
		if changed == vmi {
			t.Errorf("%s: nothing changed", name)
		}
		if response.Allowed != (tc.refusal == "") || !response.Allowed && !strings.HasPrefix(response.Result.Message, tc.refusal) {
			t.Errorf("%s: allowed %v, %v", name, response.Allowed, response.Result)
		}
	}
}
