// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"fmt"
	"slices"
	"strings"
)

// KindKubeVirt is the kind of the object that holds a cluster's KubeVirt settings.
const KindKubeVirt = "KubeVirt"

// Cluster holds the settings of the KubeVirt object on which KubeVirt's verdict depends besides the VM. The zero
// Cluster has KubeVirt's defaults, and allows what depends on a feature gate.
type Cluster struct {
	// Staged is set when changes of a VM wait for its restart (vmRolloutStrategy Stage).
	Staged bool
	// EvenParity is set when the KubeVirt object has the annotation EvenParityAnnotation. While the gate AlignCPUs is on,
	// KubeVirt copies it to every VMI with an isolated emulator.
	EvenParity bool
	// GatesKnown is set when FeatureGates lists all gates that are on, apart from those that are on by default.
	GatesKnown   bool
	FeatureGates []string
}

// ClusterOf reads a KubeVirt object from decoded JSON, as unstructured.Unstructured holds it.
func ClusterOf(object map[string]any) (Cluster, error) {
	r := &reader{}
	root := node{r: r, value: object}
	configuration := root.at("spec").at("configuration")
	c := Cluster{GatesKnown: true, Staged: configuration.at("vmRolloutStrategy").text() == "Stage"}
	_, c.EvenParity = root.at("metadata").at("annotations").texts()[EvenParityAnnotation]
	for _, gate := range configuration.at("developerConfiguration").at("featureGates").list() {
		c.FeatureGates = append(c.FeatureGates, gate.text())
	}
	if len(r.problems) > 0 {
		return Cluster{}, fmt.Errorf("reading %s %s: %s", KindKubeVirt, root.at("metadata").at("name").text(), strings.Join(r.problems, "; "))
	}
	return c, nil
}

// Judge applies the table of rules. Standard and Strict judge v as it is written, so that messages name what the
// user wrote. KubeVirt judges what KubeVirt's defaulting in this cluster makes of v. v is not changed.
func (c Cluster) Judge(v *VMI, strictness Strictness) []Finding {
	if strictness == KubeVirt && v.defaulted() {
		filled := *v
		filled.Default()
		c.annotate(&filled)
		v = &filled
	}
	return c.check(v, strictness)
}

// defaulted reports whether KubeVirt fills in defaults before it validates the object. It does not for the templates of replica sets and
// pools (vmirs-admitter.go ValidateVMIRSSpec, vmpool-admitter.go ValidateVMPoolSpec), and cannot
// where the sizes are in an instancetype that is not known.
func (v *VMI) defaulted() bool {
	return v.Instancetype == nil && (v.Kind == KindVMI || v.Kind == KindVM)
}

// annotate copies the annotation for even parity as KubeVirt's mutating webhook does (vmi-mutator.go:65).
func (c Cluster) annotate(v *VMI) {
	if !c.EvenParity || !v.Spec.Domain.CPU.IsolateEmulatorThread || !slices.Contains(c.FeatureGates, "AlignCPUs") {
		return
	}
	annotations := map[string]string{EvenParityAnnotation: ""}
	for key, value := range v.Annotations {
		annotations[key] = value
	}
	v.Annotations = annotations
}

// sidecarsOff reports whether the cluster is known to refuse hook sidecars.
func (c Cluster) sidecarsOff() bool {
	return c.GatesKnown && !slices.Contains(c.FeatureGates, "Sidecar")
}
