package nodeview

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Demand is what a pod asks of a node's CPUs.
type Demand struct {
	Pod admission.Pod
	// Key is equal for demands that every node answers alike. Container names are in it, since they are in
	// the answer too.
	Key string

	memory *memory // of predictions; nil where they are not remembered
}

// DemandOf reads a pod.
func DemandOf(pod *corev1.Pod) Demand {
	d := Demand{Pod: admission.PodOf(pod)}
	key := append(make([]byte, 0, 64), d.Pod.Device...)
	key = appendContainers(key, d.Pod.Containers)
	if d.Pod.PodLevelResources {
		key = append(key, ";pod"...)
	}
	if level := d.Pod.PodLevel; level != nil {
		key = appendContainers(strconv.AppendInt(append(key, ' '), int64(level.CPUs), 10), level.Containers)
	}
	d.Key = string(key)
	return d
}

func appendContainers(key []byte, containers []admission.Container) []byte {
	for _, c := range containers {
		if c.CPUs > 0 {
			key = append(append(append(key, ','), c.Kind.String()...), ' ')
			key = strconv.AppendInt(append(append(key, c.Name...), ' '), int64(c.CPUs), 10)
		}
	}
	return key
}
