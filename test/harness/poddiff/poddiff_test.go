// SPDX-License-Identifier: Apache-2.0

package poddiff

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func pod(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
		t.Fatal(err)
	}
	return &pod
}

// TestBetween compares a pod as it was made with pods as they are stored: those that ask for the same, and those that do not.
func TestBetween(t *testing.T) {
	made := `{metadata: {generateName: a-, labels: {a: b}}, spec: {containers: [{name: compute, image: one, command: [run], args: [--qemu-timeout, 240s, --name, x],
 resources: {limits: {cpu: "2", memory: 1Gi}}}, {name: other, image: own}]}}`
	for stored, want := range map[string]string{
		`{metadata: {generateName: a-, name: a-x, uid: u, labels: {a: b, kubevirt.io/nodeName: n}}, spec: {nodeName: n, serviceAccountName: default, priority: 0,
 tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}],
 containers: [{name: compute, image: two, command: [run, --qemu-timeout, 301s, --name, x], resources: {limits: {cpu: 2000m, memory: 1024Mi}, requests: {cpu: 2, memory: 1Gi}}},
 {name: other, image: own, terminationMessagePolicy: File}]}, status: {phase: Running}}`: "[]",
		`{metadata: {generateName: a-, labels: {a: b}}, spec: {containers: [{name: compute, image: one, command: [run], args: [--qemu-timeout, 240s, --name, x],
 resources: {limits: {cpu: "3", memory: 1Gi}, requests: {cpu: "2"}}}, {name: other, image: own}]}}`: "[spec.containers[compute].resources.limits.cpu: got 2, want 3]",
		`{metadata: {generateName: a-, labels: {a: c}}, spec: {containers: [{name: other, image: own}, {name: compute, image: one, command: [run], args: [--qemu-timeout, 240s, --name, z],
 resources: {limits: {cpu: "2", memory: 1Gi}}}]}}`: "[metadata.labels.a: got b, want c spec.containers (order): got compute other, want other compute " +
			"spec.containers[compute].command[4]: got x, want z]",
		`{metadata: {generateName: a-, labels: {a: b}}, spec: {containers: [{name: compute, image: one, command: [run], args: [--qemu-timeout, 240s, --name, x],
 resources: {limits: {cpu: "2", memory: 1Gi}}, volumeMounts: [{name: v, mountPath: /v}]}, {name: other, image: own}]}}`: "[spec.containers[compute].volumeMounts[v].mountPath: got nothing, want /v " +
			"spec.containers[compute].volumeMounts[v].name: got nothing, want v]",
	} {
		differences, err := Between(pod(t, made), pod(t, stored))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(differences); got != want && !(want == "[]" && len(differences) == 0) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}
