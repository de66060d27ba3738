package nodeview

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

// Demand is what a pod asks of a node's CPUs.
type Demand struct {
	Pod kubeletcpu.Pod
	// Key is equal for demands that every node answers alike. Container names are in it, since they are in
	// the answer too.
	Key string
}

// DemandOf reads a pod.
func DemandOf(pod *corev1.Pod) Demand {
	d := Demand{Pod: kubeletcpu.PodOf(pod)}
	var b strings.Builder
	b.WriteString(d.Pod.Device)
	for _, c := range d.Pod.Containers {
		if c.CPUs > 0 {
			fmt.Fprintf(&b, ",%s %s %d", c.Kind, c.Name, c.CPUs)
		}
	}
	d.Key = b.String()
	return d
}
