// SPDX-License-Identifier: Apache-2.0

package label

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	gatesKey = "feature-gates"
	gateName = "CPUManager"
)

// Gates are the places where the feature gate is read, and what holds where none of them says anything.
type Gates struct {
	// ConfigMap is nil where it does not exist.
	ConfigMap *corev1.ConfigMap
	// KubeVirt is KubeVirt's own object, nil where there is none.
	KubeVirt *unstructured.Unstructured
	// Default holds where neither says anything.
	Default bool
}

// Gate reports whether feature gate CPUManager is on, and names who says so, for people.
func Gate(g Gates) (on Answer, by string) {
	listed, spoken := inConfigMap(g.ConfigMap)
	switch {
	case g.KubeVirt != nil && inKubeVirt(g.KubeVirt, "disabledFeatureGates"):
		return No, "disabledFeatureGates of the KubeVirt object"
	case g.KubeVirt != nil && inKubeVirt(g.KubeVirt, "featureGates"):
		return Yes, "the KubeVirt object"
	case listed:
		return Yes, "ConfigMap " + g.ConfigMap.Name
	case spoken:
		return No, "ConfigMap " + g.ConfigMap.Name
	case g.KubeVirt != nil:
		return No, "the KubeVirt object, which does not name it"
	case g.Default:
		return Yes, "the agent's configuration"
	default:
		return No, "the agent's configuration"
	}
}

// inConfigMap reports whether the list of gates names ours, and whether there is a list.
func inConfigMap(configMap *corev1.ConfigMap) (listed, spoken bool) {
	if configMap == nil {
		return false, false
	}
	list, spoken := configMap.Data[gatesKey]
	return slices.ContainsFunc(strings.Split(list, ","), func(gate string) bool { return strings.TrimSpace(gate) == gateName }), spoken
}

// inKubeVirt reports whether one of the lists of a KubeVirt object names our gate. A list of another type is
// none: the object is KubeVirt's to validate.
func inKubeVirt(object *unstructured.Unstructured, list string) bool {
	gates, _, err := unstructured.NestedStringSlice(object.Object, "spec", "configuration", "developerConfiguration", list)
	return err == nil && slices.Contains(gates, gateName)
}
