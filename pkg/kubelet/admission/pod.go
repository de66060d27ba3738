// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
)

// Pod is what the kubelet's managers see of a pod.
type Pod struct {
	Name string
	// Guaranteed is set for a pod of that QoS class.
	Guaranteed bool
	// PodLevelResources is set for a pod with spec.resources. The CPU manager grants it nothing, unless the node's
	// kubelet has the gate PodLevelResourceManagers on.
	PodLevelResources bool
	// PodLevel is what the CPU manager with that gate sees of such a pod. It is nil for a pod that gets nothing.
	PodLevel *PodLevel
	// Waiting are the containers that ask for neither CPUs nor memory in the eyes of a kubelet 1.34 that starts again. It is
	// nil where there are none: see waitingOf.
	Waiting []bool
	// OddMemory is a container of a Guaranteed pod that requests memory in no whole number of bytes; "" where there is none.
	OddMemory string
	// Containers are the init containers and then the app containers, each in the order of the spec. The kubelet
	// grants CPUs in this order. Ephemeral containers never get any.
	Containers []Container
}

// Container is what the kubelet's managers see of a container.
type Container struct {
	Name string
	Kind Kind
	// CPUs is the number of exclusive CPUs that it asks for. 0 means that it runs in the shared pool.
	CPUs int
	// Memory is what it requests of memory and of huge pages, sorted by type. It is nil in a pod that is not Guaranteed: the
	// memory manager does not look at such a pod.
	Memory []memorymanager.Quantity
	// Devices are its limits of extended resources, sorted by name, those of 0 included. Most nodes serve only some of them.
	Devices []devicemanager.Request
}

// Equal reports whether both ask for the same, under the same name.
func (c *Container) Equal(other *Container) bool {
	return c.Name == other.Name && c.Kind == other.Kind && c.CPUs == other.CPUs &&
		slices.Equal(c.Memory, other.Memory) && slices.Equal(c.Devices, other.Devices)
}

// alike reports whether the same becomes of two pods in the same place: they ask for the same, container by container.
func alike(p, q *Pod) bool {
	if p == q {
		return true
	}
	same := p.Guaranteed == q.Guaranteed && p.PodLevelResources == q.PodLevelResources && p.PodLevel == nil && q.PodLevel == nil &&
		len(p.Containers) == len(q.Containers)
	for i := 0; i < len(p.Containers) && same; i++ {
		same = p.Containers[i].Equal(&q.Containers[i])
	}
	return same
}

// Kind is how long a container holds its CPUs.
type Kind uint8

const (
	App     Kind = iota // as long as the pod
	Init                // later containers of the pod may reuse them
	Sidecar             // a restartable init container: as long as the pod
)

// String gives the kind in one word.
func (k Kind) String() string { return [...]string{"app", "init", "sidecar"}[k] }

// PodOf reads from a pod what the kubelet's managers read (guaranteedCPUs in pkg/kubelet/cm/cpumanager/policy_static.go,
// getContainerRequestedResources in pkg/kubelet/cm/memorymanager/policy_static.go and getContainerDeviceRequest in
// pkg/kubelet/cm/devicemanager/topology_hints.go, v1.36.3). A container of a Guaranteed pod that requests a whole number of
// CPUs asks for that many exclusive ones, unless the pod has pod-level resources. Pod overhead does not count. For a
// container that runs, what is allocated to it counts: see requestsOf.
func PodOf(pod *corev1.Pod) Pod {
	p := Pod{
		Name:              pod.Name,
		Guaranteed:        qosClass(pod) == corev1.PodQOSGuaranteed,
		PodLevelResources: hasPodLevelResources(pod),
		Containers:        make([]Container, 0, len(pod.Spec.InitContainers)+len(pod.Spec.Containers)),
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		kind := Init
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = Sidecar
		}
		p.add(pod, c, kind, pod.Status.InitContainerStatuses)
	}
	for i := range pod.Spec.Containers {
		p.add(pod, &pod.Spec.Containers[i], App, pod.Status.ContainerStatuses)
	}
	if p.Guaranteed && p.PodLevelResources {
		p.PodLevel = podLevelOf(pod, p.Containers)
	} else if p.Guaranteed {
		p.Waiting = waitingOf(pod, p.Containers)
	}
	return p
}

// add adds a container of pod.
func (p *Pod) add(pod *corev1.Pod, c *corev1.Container, kind Kind, statuses []corev1.ContainerStatus) {
	asks := Container{Name: c.Name, Kind: kind, Devices: devicesOf(pod, c)}
	if p.Guaranteed {
		requests := requestsOf(c, statuses)
		if !p.PodLevelResources {
			asks.CPUs = wholeCPUs(requests)
		}
		var err error
		asks.Memory, err = memorymanager.RequestOf(requests)
		if err != nil {
			p.OddMemory = c.Name
		}
	}
	p.Containers = append(p.Containers, asks)
}

// requestsOf returns what the kubelet takes for a container's requests. For a container that it has admitted these are the
// allocated ones, which its status has. They differ from the spec after a resize in place, until the kubelet accepts it.
// The kubelet may defer it, or call it infeasible for good, as with the policy static unless gate
// InPlacePodVerticalScalingExclusiveCPUs is on (UpdatePodFromAllocation in pkg/kubelet/allocation/allocation_manager.go
// and podResizesAdmitHandler in handlers.go there, v1.36.3).
func requestsOf(c *corev1.Container, statuses []corev1.ContainerStatus) corev1.ResourceList {
	for i := range statuses {
		if statuses[i].Name == c.Name && statuses[i].AllocatedResources != nil {
			return statuses[i].AllocatedResources
		}
	}
	return c.Resources.Requests
}

// wholeCPUs is the number of CPUs in list, or 0 where it is not a whole number.
func wholeCPUs(list corev1.ResourceList) int {
	cpu := list[corev1.ResourceCPU]
	if cpu.Value()*1000 != cpu.MilliValue() {
		return 0
	}
	return int(cpu.Value())
}

// Exclusive reports whether any container asks for exclusive CPUs. It does not know the node's gate
// PodLevelResourceManagers: see Node.Exclusive.
func (p Pod) Exclusive() bool {
	return !p.PodLevelResources && slices.ContainsFunc(p.Containers, func(c Container) bool { return c.CPUs > 0 })
}

// PeakCPUs is the number of exclusive CPUs that the pod holds at once. The topology manager's scope pod looks for
// that many (podGuaranteedCPUs in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3).
func (p *Pod) PeakCPUs() int {
	return int(p.Peak(func(i int) int64 { return int64(p.Containers[i].CPUs) }))
}

// Peak is the most that the pod's containers hold at once of something, where container i holds amount(i). App
// containers and sidecars run together. An init container runs with the sidecars before it, and ends before the next
// one starts.
func (p *Pod) Peak(amount func(i int) int64) int64 {
	var lasting, starting int64
	for i := range p.Containers {
		if p.Containers[i].Kind == Init {
			starting = max(starting, lasting+amount(i))
			continue
		}
		lasting += amount(i)
	}
	return max(starting, lasting)
}

// peakMemory appends the memory that the pod requests at once, for scope pod of a kubelet 1.<minor>.
func (p *Pod) peakMemory(total *memorymanager.PodRequest, list []memorymanager.Quantity, minor int) []memorymanager.Quantity {
	total.Reset()
	for i := range p.Containers {
		c := &p.Containers[i]
		switch c.Kind {
		case Init:
			total.AddInit(c.Memory)
		case Sidecar:
			total.AddSidecar(c.Memory)
		default:
			total.AddApp(c.Memory)
		}
	}
	return total.Append(list, minor)
}

// peakDevices appends the devices that the pod asks for at once, for scope pod (getPodDeviceRequest in
// pkg/kubelet/cm/devicemanager/topology_hints.go, v1.36.3).
func (p *Pod) peakDevices(list []devicemanager.Request) []devicemanager.Request {
	for i := range p.Containers {
		for k := range p.Containers[i].Devices {
			name := p.Containers[i].Devices[k].Resource
			if slices.ContainsFunc(list, func(r devicemanager.Request) bool { return r.Resource == name }) {
				continue
			}
			count := p.Peak(func(i int) int64 { return int64(p.Containers[i].devices(name)) })
			list = append(list, devicemanager.Request{Resource: name, Count: int(count)})
		}
	}
	return list
}

// devices is how many devices of a resource the container asks for.
func (c *Container) devices(resource string) int {
	for i := range c.Devices {
		if c.Devices[i].Resource == resource {
			return c.Devices[i].Count
		}
	}
	return 0
}

// String gives the pod in one line: "vm: init a 2, compute 8, side shared".
func (p Pod) String() string {
	var parts []string
	for _, c := range p.Containers {
		text := c.Name
		if c.Kind != App {
			text = c.Kind.String() + " " + c.Name
		}
		if c.CPUs > 0 {
			text += fmt.Sprintf(" %d", c.CPUs)
		} else {
			text += " shared"
		}
		parts = append(parts, text)
	}
	text := p.Name + ": " + strings.Join(parts, ", ")
	if p.PodLevelResources {
		text += " (pod-level resources)"
	}
	return text
}
