// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/objects"
)

// secret is in every place of the contents that must not get into a file.
const secret = "hunter2"

func contents() *Contents {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "virt-launcher-db-x7k2p", UID: "p",
		Labels:          map[string]string{"kubevirt.io": "virt-launcher", "team": secret, "vm.kubevirt.io/name": "db"},
		Annotations:     map[string]string{"kubevirt.io/domain": "db", "kubectl.kubernetes.io/last-applied-configuration": secret},
		OwnerReferences: []metav1.OwnerReference{{Kind: "VirtualMachineInstance", Name: "db"}},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: secret}}}}
	pod.Spec = corev1.PodSpec{NodeName: "rack7", ServiceAccountName: secret, Hostname: secret, NodeSelector: map[string]string{corev1.LabelHostname: "rack7.example"},
		Volumes:          []corev1.Volume{{Name: secret}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: secret}},
		Containers: []corev1.Container{{Name: "compute", Image: secret, Command: []string{secret}, Args: []string{secret},
			Env: []corev1.EnvVar{{Name: "PASSWORD", Value: secret}}}}}
	pod.Status = corev1.PodStatus{Message: "pod virt-launcher-db-x7k2p of VM shop/db is on rack7.", PodIP: secret,
		ContainerStatuses: []corev1.ContainerStatus{{Name: "compute", Image: secret, ImageID: secret,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: secret}}}}}
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "rack7", Annotations: map[string]string{"a": secret}, Labels: map[string]string{corev1.LabelHostname: "rack7.example", "zone": "z1"}}}
	node.Spec.ProviderID = secret
	node.Status.Images = []corev1.ContainerImage{{Names: []string{secret}}}
	node.Status.Addresses = []corev1.NodeAddress{{Address: secret}}
	report := v1alpha1.NodeCPU{ObjectMeta: metav1.ObjectMeta{Name: "rack7"}}
	report.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDrifted, Message: "vCPU 0 of shop/db"}}
	volumes := []any{map[string]any{"cloudInitNoCloud": map[string]any{"userData": secret}}}
	vmi := map[string]any{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
		"metadata": map[string]any{"name": "db", "namespace": "shop", "annotations": map[string]any{"hooks.kubevirt.io/hookSidecars": `[{"image":"` + secret + `"}]`}},
		"spec": map[string]any{"volumes": volumes, "domain": map[string]any{"cpu": map[string]any{"cores": int64(2)},
			"firmware": map[string]any{"serial": secret}, "devices": map[string]any{"disks": []any{map[string]any{"name": secret, "dedicatedIOThread": true}}}}}}
	vmi["status"] = map[string]any{"phase": "Running", "nodeName": "rack7", "interfaces": []any{secret},
		"conditions":     []any{map[string]any{"type": "LiveMigratable", "status": "False", "reason": "R", "message": secret}, map[string]any{"type": "Ready", "reason": secret}},
		"migrationState": map[string]any{"startTimestamp": "t", "targetNode": "rack7", "targetPod": secret}}
	size := map[string]any{"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterInstancetype",
		"metadata": map[string]any{"name": "big", "labels": map[string]any{"x": secret}}, "spec": map[string]any{"cpu": map[string]any{"guest": int64(4)}}}
	revision := map[string]any{"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": map[string]any{"name": "db-big-1", "namespace": "shop"}, "data": size}
	return &Contents{Reports: []v1alpha1.NodeCPU{report}, Nodes: []corev1.Node{node}, Pods: []corev1.Pod{pod}, VMIs: []map[string]any{vmi}, Sizes: []map[string]any{size, revision}}
}

func write(t *testing.T, all []any) string {
	t.Helper()
	var b strings.Builder
	for _, object := range all {
		line, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

func TestNoSecretsAreWritten(t *testing.T) {
	text := write(t, Objects(contents()))
	if strings.Contains(text, secret) || strings.Count(text, "\n") != 7 {
		t.Errorf("want 7 lines without %q:\n%s", secret, text)
	}
	const status = `"status":{"conditions":[{"reason":"R","status":"False","type":"LiveMigratable"}],"migrationState":{"startTimestamp":"t"},"phase":"Running"}`
	if !strings.Contains(text, status) {
		t.Errorf("want what decides about live migration, %s:\n%s", status, text)
	}
	if !strings.Contains(text, `"devices":{"disks":[{"dedicatedIOThread":true}]}`) || !strings.Contains(text, `"hooks.kubevirt.io/hookSidecars":"[]"`) {
		t.Errorf("want what decides about CPUs:\n%s", text)
	}
}

// What is read of a file, and written again, is the same file.
func TestAFileIsRead(t *testing.T) {
	text := write(t, Objects(contents()))
	all := objects.Read("dump.json", []byte(text))
	if !Is(all) {
		t.Fatalf("it is no dump:\n%s", text)
	}
	read, err := Read(all)
	if err != nil {
		t.Fatal(err)
	}
	if again := write(t, Objects(read)); again != text {
		t.Errorf("got\n%s\nwant\n%s", again, text)
	}
}

func TestABrokenFile(t *testing.T) {
	text := write(t, Objects(contents()))
	lines := strings.SplitAfter(text, "\n")
	for name, test := range map[string]struct{ text, want string }{
		"cut off":           {text[:len(text)-20], "dump.json:7"},
		"a pod that is not": {strings.Replace(text, `"nodeName":"rack7"`, `"nodeName":7`, 1), "dump.json:4: reading Pod virt-launcher-db-x7k2p"},
		"two headers":       {lines[0] + lines[0], "dump.json:2: a second Dump"},
	} {
		_, err := Read(objects.Read("dump.json", []byte(test.text)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

func TestNamesAreMaskedConsistently(t *testing.T) {
	c := contents()
	c.Leases = []Lease{{Namespace: "corepin-system", Name: "corepin-scheduler", Holder: "master1_abc"}}
	all, err := Mask(c)
	if err != nil {
		t.Fatal(err)
	}
	text := write(t, all)
	for _, name := range []string{"rack7", "shop", "x7k2p", `"db`, "/db", "master1"} {
		if strings.Contains(text, name) {
			t.Errorf("%q is still there", name)
		}
	}
	for _, want := range []string{
		`"message":"pod pod-1 of VM namespace-1/vm-1 is on node-1."`, `"message":"vCPU 0 of namespace-1/vm-1"`, `"kubevirt.io/domain":"vm-1"`,
		`"kubernetes.io/hostname":"node-1"`, `"nodeName":"node-1"`, `"holder":"leader_abc"`, `"zone":"z1"`, `"name":"compute"`, `"name":"corepin-scheduler"`, `"namespace":"corepin-system"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
