// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/placement"
)

// Demand is what a pod asks of a node, and what it is content with.
type Demand struct {
	Pod admission.Pod
	// Dedicated reports that the pod is the launcher pod of a dedicated VM: it insists on exclusive CPUs. Any
	// other pod is content with the shared pool where there is no CPU manager, and with any node whose kubelet
	// cannot be predicted.
	Dedicated bool
	// NeedsLabel reports that the node must have the label cpumanager=true.
	NeedsLabel bool
	// Estimate reports that a dedicated VM may go to a node whose kubelet cannot be predicted, by count.
	Estimate bool
	// Restart says whether the node must stay one whose kubelet can be started again. It counts for dedicated VMs.
	Restart RestartSafety

	// Fractions are what the containers in the shared pool request, in millicores, in the order of
	// Pod.Containers. They are 0 for containers with exclusive CPUs, and nil for a pod with pod-level resources.
	Fractions []int64
	// Overhead is what the pod requests besides its containers, in millicores. For a pod with pod-level
	// resources it is all that the pod requests.
	Overhead int64

	// Guest is what the VM needs of the CPUs that container Compute is granted. It is nil where no VM is known.
	Guest   *placement.Guest
	Compute string
}

// DemandOf reads what a pod asks for. The caller adds what only it knows, such as the VM.
func DemandOf(pod *corev1.Pod) Demand {
	d := Demand{Pod: admission.PodOf(pod)}
	if d.Pod.PodLevelResources {
		requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
		d.Overhead = requests.Cpu().MilliValue()
		return d
	}
	d.Overhead = pod.Spec.Overhead.Cpu().MilliValue()
	d.Fractions = make([]int64, 0, len(d.Pod.Containers))
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			fraction := int64(0)
			if d.Pod.Containers[len(d.Fractions)].CPUs == 0 {
				fraction = containers[i].Resources.Requests.Cpu().MilliValue()
			}
			d.Fractions = append(d.Fractions, fraction)
		}
	}
	return d
}

// Millicores is what kube-scheduler counts for the pod: its lasting containers together, or an init container
// and the sidecars started before it, whichever is more (PodRequests in k8s.io/component-helpers/resource, v0.36.3).
func (d *Demand) Millicores() int64 {
	return d.Overhead + d.Pod.Peak(func(i int) int64 {
		if i >= len(d.Fractions) {
			return 0
		}
		return 1000*int64(d.Pod.Containers[i].CPUs) + d.Fractions[i]
	})
}

// Shared is what the pod requests besides its exclusive CPUs, in millicores.
func (d *Demand) Shared() int64 { return max(0, d.Millicores()-1000*int64(d.Pod.PeakCPUs())) }

// Key is equal for two demands only if every node gives both the same verdict. Container names are in it because they
// are in the verdict too. The pod's own name is not: it is in no verdict about the pod itself.
func (d *Demand) Key() string {
	key := make([]byte, 0, 128)
	for _, flag := range []bool{d.Dedicated, d.NeedsLabel, d.Estimate, d.Pod.Guaranteed, d.Pod.PodLevelResources} {
		key = strconv.AppendBool(key, flag)
	}
	if d.Pod.OddMemory != "" {
		key = strconv.AppendQuote(append(key, " odd "...), d.Pod.OddMemory)
	}
	key = appendContainers(key, d.Pod.Containers)
	level := d.Pod.PodLevel
	if level != nil {
		key = append(key, " pod "...)
		key = strconv.AppendInt(key, int64(level.CPUs), 10)
		key = appendContainers(key, level.Containers)
	}
	if d.Dedicated {
		key = strconv.AppendUint(append(key, " restart "...), uint64(d.Restart), 10)
		key = append(key, " milli "...)
		key = strconv.AppendInt(key, d.Millicores(), 10)
	}
	if d.Guest != nil {
		key = append(key, " guest "...)
		key = strconv.AppendQuote(key, d.Compute)
		key = appendGuest(key, d.Guest)
	}
	return string(key)
}

// appendContainers writes what each container asks for, and the names of those that get something of their own.
func appendContainers(key []byte, containers []admission.Container) []byte {
	for _, c := range containers {
		key = append(key, ' ')
		key = append(key, c.Kind.String()...)
		if c.CPUs > 0 || len(c.Memory)+len(c.Devices) > 0 {
			key = strconv.AppendQuote(key, c.Name)
		}
		key = strconv.AppendInt(key, int64(c.CPUs), 10)
		for _, q := range c.Memory {
			key = strconv.AppendQuote(key, q.Type)
			key = strconv.AppendUint(key, q.Bytes, 10)
		}
		for _, r := range c.Devices {
			key = strconv.AppendQuote(key, r.Resource)
			key = strconv.AppendInt(key, int64(r.Count), 10)
			key = strconv.AppendBool(key, r.DRA)
		}
	}
	return key
}

// appendGuest writes all that package placement looks at.
func appendGuest(key []byte, g *placement.Guest) []byte {
	for _, number := range []int{g.VCPUs, g.ThreadsPerCore, g.EmulatorCPUs} {
		key = strconv.AppendInt(append(key, ' '), int64(number), 10)
	}
	key = strconv.AppendBool(key, g.DedicatedIOThreads)
	key = strconv.AppendBool(key, g.IsolateEmulator)
	key = appendInts(key, g.IOThreads)
	for _, near := range g.Near {
		key = appendInts(key, near)
	}
	if g.NUMA != nil {
		key = append(key, " numa "...)
		key = strconv.AppendInt(key, g.NUMA.Memory, 10)
		key = strconv.AppendInt(append(key, '/'), g.NUMA.PageSize, 10)
	}
	return key
}

func appendInts(key []byte, numbers []int) []byte {
	key = append(key, '[')
	for _, number := range numbers {
		key = strconv.AppendInt(append(key, ' '), int64(number), 10)
	}
	return append(key, ']')
}
