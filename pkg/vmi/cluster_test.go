// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"strings"
	"testing"
)

// kubeVirt is the object of that name with a configuration and the annotation for even parity.
func kubeVirt(configuration map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": KindKubeVirt,
		"metadata": map[string]any{"name": "kubevirt", "annotations": map[string]any{EvenParityAnnotation: ""}},
		"spec":     map[string]any{"configuration": configuration},
	}
}

func gates(names ...any) map[string]any {
	return map[string]any{"developerConfiguration": map[string]any{"featureGates": names}}
}

func TestJudgeInACluster(t *testing.T) {
	const (
		small  = "cpu: {cores: 2}\nmemory: {guest: 2Gi}\nresources: {limits: {memory: 1Gi}}"
		parity = "cpu: {cores: 3, isolateEmulatorThread: true, " + dedicated + "}\nmemory: {guest: 1Gi}\n" +
			"ioThreadsPolicy: supplementalPool\nioThreads: {supplementalPoolThreadCount: 1}"
	)
	hooked := strings.Replace(vmiYAML("memory: {guest: 1Gi}"), "name: demo", "name: demo, annotations: {hooks.kubevirt.io/hookSidecars: '[]'}", 1)
	for name, tc := range map[string]struct {
		vmi           string
		configuration map[string]any // nil where there is no KubeVirt object
		want          []string
	}{
		"guest memory above its limit":                   {vmi: vmiYAML(small)},
		"and the changes of a VM are live":               {vmi: vmiYAML(small), configuration: map[string]any{"vmRolloutStrategy": "LiveUpdate"}},
		"and the changes of a VM wait for a restart":     {vmi: vmiYAML(small), configuration: map[string]any{"vmRolloutStrategy": "Stage"}, want: []string{"memory-guest-above-limits-staged"}},
		"hook sidecars":                                  {vmi: hooked},
		"hook sidecars while the gate is on":             {vmi: hooked, configuration: gates("CPUManager", "Sidecar")},
		"hook sidecars while the gate is off":            {vmi: hooked, configuration: gates("CPUManager"), want: []string{"hook-sidecars-off"}},
		"even parity of the cluster, and the gate is on": {vmi: vmiYAML(parity), configuration: gates("AlignCPUs"), want: []string{"iothreads-pool-isolated?", "cpus-odd?", "parity-pool-clash?"}},
		"even parity of the cluster, but no gate":        {vmi: vmiYAML(parity), configuration: gates(), want: []string{"iothreads-pool-isolated?", "cpus-odd?"}},
	} {
		var cluster Cluster
		if tc.configuration != nil {
			var err error
			if cluster, err = ClusterOf(kubeVirt(tc.configuration)); err != nil {
				t.Fatal(err)
			}
		}
		v, err := Decode([]byte(tc.vmi))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, finding := range cluster.Judge(v, KubeVirt) {
			got = append(got, map[Severity]string{Error: finding.Rule, Warning: finding.Rule + "?"}[finding.Severity])
		}
		if strings.Join(got, " ") != strings.Join(tc.want, " ") {
			t.Errorf("%s: broke %q; want %q", name, got, tc.want)
		}
		if v.Annotations[EvenParityAnnotation] != "" || v.VCPUs() == 0 && v.Spec.Architecture != "" {
			t.Errorf("%s: the VMI was changed: %+v", name, v)
		}
	}
	if _, err := ClusterOf(kubeVirt(map[string]any{"vmRolloutStrategy": 1, "developerConfiguration": map[string]any{"featureGates": "all"}})); err == nil ||
		!strings.Contains(err.Error(), "vmRolloutStrategy: must be a string") || !strings.Contains(err.Error(), "featureGates: must be a list") {
		t.Errorf("malformed settings: %v", err)
	}
}
