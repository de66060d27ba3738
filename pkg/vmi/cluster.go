package vmi

import (
	"fmt"
	"slices"
	"strings"
)

// KindKubeVirt is the kind of the object that holds a cluster's KubeVirt settings.
const KindKubeVirt = "KubeVirt"

// Cluster is what KubeVirt's verdict depends on besides the VM: settings in the KubeVirt object. The zero
// Cluster has KubeVirt's defaults, and lets pass what depends on a feature gate.
type Cluster struct {
	// Staged tells that changes of a VM wait for its restart (vmRolloutStrategy Stage).
	Staged bool
	// EvenParity tells that the annotation EvenParityAnnotation is on the KubeVirt object, from where KubeVirt copies
	// it to every VMI with an isolated emulator while the gate AlignCPUs is on.
	EvenParity bool
	// GatesKnown tells that FeatureGates are all that are on beside those that are on by default.
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

// Judge applies the table of rules the way the strictness does it: Strict to v as it is written, KubeVirt to v as
// KubeVirt's defaulting in this cluster leaves it. v is not changed.
func (c Cluster) Judge(v *VMI, strictness Strictness) []Finding {
	if strictness == KubeVirt && v.Instancetype == nil { // what is left out may stand there
		defaulted := *v
		defaulted.Default()
		c.annotate(&defaulted)
		v = &defaulted
	}
	return c.check(v, strictness)
}

// annotate is vmi-mutator.go:65.
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

// sidecarsOff tells whether the cluster is known to refuse hook sidecars.
func (c Cluster) sidecarsOff() bool {
	return c.GatesKnown && !slices.Contains(c.FeatureGates, "Sidecar")
}
