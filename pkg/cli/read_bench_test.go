// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/objects"
)

// BenchmarkRead is the reading of a dump (kubectl get nodecpus,nodes,pods -A) of 500 nodes of 128 CPUs and 1,000
// pods, up to the pods and nodes that the commands work with.
func BenchmarkRead(b *testing.B) {
	const nodes = 500
	var items []any
	for i := range nodes {
		items = append(items, reportOf(b, fmt.Sprintf("n%d", i), "2 sockets x 1 numa x 32 cores x 2 threads", "single-numa-node", nil))
		node := nodeOffering("126", "500Gi", "250")
		node.Name = fmt.Sprintf("n%d", i)
		items = append(items, node, dumpedPod(i, node.Name), dumpedPod(nodes+i, node.Name))
	}
	list := map[string]any{"apiVersion": "v1", "kind": "List", "items": items}
	asJSON, err := json.MarshalIndent(list, "", "    ")
	if err != nil {
		b.Fatal(err)
	}
	asYAML, err := yaml.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string][]byte{"JSON": asJSON, "YAML": asYAML} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				s := snapshotOf(objects.Read("dump", text))
				if len(s.machines) != nodes || len(s.pods) != 2*nodes || s.inputErrors() != nil {
					b.Fatalf("%d nodes, %d pods, %v", len(s.machines), len(s.pods), s.inputErrors())
				}
			}
		})
	}
}

// dumpedPod is about as large as a launcher pod.
func dumpedPod(i int, node string) corev1.Pod {
	pod := podAsking(fmt.Sprintf("p%d", i), node, "8", "200m")
	pod.Status.Phase = corev1.PodRunning
	for c := range pod.Spec.Containers {
		container := &pod.Spec.Containers[c]
		container.Image = "registry.example:5000/kubevirt/virt-launcher:v1.6.0"
		container.Args = []string{"--name", pod.Name, "--uid", "1f3f0a52-6a0e-4b5c-8a55-6f2b1b3a9d10", "--namespace", "vms", "--kubevirt-share-dir", "/var/run/kubevirt"}
		for j := range 12 {
			container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("NAME_%d", j), Value: "some value of this"})
			container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: fmt.Sprintf("v%d", j), MountPath: "/var/run/some/path"})
		}
	}
	return pod
}
