// SPDX-License-Identifier: Apache-2.0

package label

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func list(list string) *corev1.ConfigMap {
	return &corev1.ConfigMap{Data: map[string]string{"feature-gates": list, "other": "CPUManager"}}
}

func TestGateOfTheConfigMap(t *testing.T) {
	for name, tc := range map[string]struct {
		configMap       *corev1.ConfigMap
		want, defaultOn Answer // defaultOn: with the default on
	}{
		"no ConfigMap":     {nil, No, Yes},
		"no key":           {&corev1.ConfigMap{Data: map[string]string{"x": "CPUManager"}}, No, Yes},
		"an empty list":    {list(""), No, No},
		"alone":            {list("CPUManager"), Yes, Yes},
		"among others":     {list("DataVolumes,CPUManager,LiveMigration"), Yes, Yes},
		"with blanks":      {list(" DataVolumes , CPUManager\n"), Yes, Yes},
		"others only":      {list("DataVolumes,LiveMigration"), No, No},
		"part of a name":   {list("CPUManagerX,XCPUManager"), No, No},
		"another spelling": {list("cpumanager"), No, No},
	} {
		if got, _ := Gate(Gates{ConfigMap: tc.configMap}); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
		if got, _ := Gate(Gates{ConfigMap: tc.configMap, Default: true}); got != tc.defaultOn {
			t.Errorf("%s, default on: %s, want %s", name, got, tc.defaultOn)
		}
	}
}

func TestGateOfTheKubeVirtObject(t *testing.T) {
	kubeVirt := func(enabled, disabled any) *unstructured.Unstructured {
		gates := map[string]any{}
		if enabled != nil {
			gates["featureGates"] = enabled
		}
		if disabled != nil {
			gates["disabledFeatureGates"] = disabled
		}
		return &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"configuration": map[string]any{"developerConfiguration": gates}}}}
	}
	ours := []any{"DataVolumes", "CPUManager"}
	for name, tc := range map[string]struct {
		gates Gates
		want  Answer
		by    string
	}{
		"on":                              {Gates{KubeVirt: kubeVirt(ours, nil)}, Yes, "the KubeVirt object"},
		"disabled":                        {Gates{KubeVirt: kubeVirt(nil, ours)}, No, "disabledFeatureGates of the KubeVirt object"},
		"both":                            {Gates{KubeVirt: kubeVirt(ours, ours)}, No, "disabledFeatureGates of the KubeVirt object"},
		"disabled, on in the ConfigMap":   {Gates{KubeVirt: kubeVirt(nil, ours), ConfigMap: list("CPUManager")}, No, "disabledFeatureGates of the KubeVirt object"},
		"not named, on in the ConfigMap":  {Gates{KubeVirt: kubeVirt([]any{"Root"}, nil), ConfigMap: list("CPUManager")}, Yes, "ConfigMap "},
		"on, not named in the ConfigMap":  {Gates{KubeVirt: kubeVirt(ours, nil), ConfigMap: list("Root")}, Yes, "the KubeVirt object"},
		"not named":                       {Gates{KubeVirt: kubeVirt(nil, nil), Default: true}, No, "the KubeVirt object, which does not name it"},
		"of another type":                 {Gates{KubeVirt: kubeVirt("CPUManager", nil)}, No, "the KubeVirt object, which does not name it"},
		"nothing at all":                  {Gates{}, No, "the agent's configuration"},
		"nothing at all, the setting: on": {Gates{Default: true}, Yes, "the agent's configuration"},
	} {
		if got, by := Gate(tc.gates); got != tc.want || by != tc.by {
			t.Errorf("%s: %s by %q, want %s by %q", name, got, by, tc.want, tc.by)
		}
	}
}
