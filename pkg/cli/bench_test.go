// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const vmYAML = `apiVersion: kubevirt.io/v1alpha2
kind: VirtualMachineInstance
metadata:
  name: vm-%d
  namespace: vms
  annotations:
    hooks.kubevirt.io/hookSidecars: '[{"image":"registry.example/hook:1"}]'
spec:
  schedulerName: corepin
  domain:
    cpu:
      cores: 2
      dedicatedCpuPlacement: true
    devices: {}
    resources:
      limits:
        memory: 2Gi
`

const vmJSON = `{"apiVersion":"kubevirt.io/v1alpha2","kind":"VirtualMachineInstance","metadata":{"name":"vm-%d","namespace":"vms","annotations":` +
	`{"hooks.kubevirt.io/hookSidecars":"[]"}},"spec":{"schedulerName":"corepin","domain":{"cpu":{"cores":2,"dedicatedCpuPlacement":true},` +
	`"devices":{},"resources":{"limits":{"memory":"2Gi"}}}}}`

const many = 1000

// BenchmarkCheck reports how many virtual machines a second go through the whole command.
func BenchmarkCheck(b *testing.B) {
	for name, document := range map[string]string{"YAML": vmYAML, "JSON": vmJSON} {
		b.Run(name, func(b *testing.B) {
			var input strings.Builder
			for i := range many {
				fmt.Fprintf(&input, "---\n"+document+"\n", i)
			}
			for b.Loop() {
				if code, _, errs := run(b, input.String(), "check", "-f", "-", "-o", "json"); code != exitOK {
					b.Fatalf("exit code %d: %s", code, errs)
				}
			}
			b.ReportMetric(float64(b.N*many)/b.Elapsed().Seconds(), "VMIs/s")
		})
	}
}

// BenchmarkFit reports how many pods a second: each with a report of its own, of 128 CPUs, and on ten nodes, where
// each pod finds full ones before the one that is free.
func BenchmarkFit(b *testing.B) {
	const machine = "2 sockets x 1 numa x 32 cores x 2 threads"
	for _, test := range []struct {
		name        string
		nodes, pods int
		write       func(testing.TB, ...any) string
	}{
		{"a node for each pod, JSON", 500, 500, stream},
		{"a node for each pod, YAML", 500, 500, manifest},
		{"pods on ten nodes, JSON", 10, many, stream},
		{"pods on ten nodes, YAML", 10, many, manifest},
	} {
		b.Run(test.name, func(b *testing.B) {
			var objects []any
			for i := range test.nodes {
				objects = append(objects, reportOf(b, fmt.Sprintf("n%d", i), machine, "single-numa-node", nil))
			}
			for i := range test.pods {
				objects = append(objects, podAsking(fmt.Sprintf("p%d", i), fmt.Sprintf("n%d", i%test.nodes), "8", "200m"))
			}
			input := test.write(b, objects...)
			for b.Loop() {
				if code, _, errs := run(b, input, "fit", "-f", "-", "-o", "json"); code == exitError {
					b.Fatalf("exit code %d: %s", code, errs)
				}
			}
			b.ReportMetric(float64(b.N*test.pods)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

// manifest writes objects as kubectl get -o yaml does, a document each.
func manifest(t testing.TB, objects ...any) string {
	t.Helper()
	var text strings.Builder
	for _, o := range objects {
		document, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("---\n" + string(document))
	}
	return text.String()
}
