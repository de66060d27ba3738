package admission

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Pod is what the CPU manager sees of a pod.
type Pod struct {
	Name string
	// Guaranteed is set for a pod of that QoS class.
	Guaranteed bool
	// PodLevelResources is set for a pod with spec.resources. The CPU manager grants it nothing, unless the node's
	// kubelet has the gate PodLevelResourceManagers on.
	PodLevelResources bool
	// PodLevel is what the CPU manager with that gate sees of such a pod. It is nil for a pod that gets nothing.
	PodLevel *PodLevel
	// Allocated are the exclusive CPUs of each container in the eyes of a kubelet 1.34 that starts again. It is nil where
	// they are those of Containers: see allocatedOf.
	Allocated []int
	// Device is a resource that a device plugin may serve with a NUMA node. The topology manager would then align the
	// CPUs with it. It is "" where the pod asks for none.
	Device string
	// Containers are the init containers and then the app containers, each in the order of the spec. The kubelet
	// grants CPUs in this order. Ephemeral containers never get any.
	Containers []Container
}

// Container is what the CPU manager sees of a container.
type Container struct {
	Name string
	Kind Kind
	// CPUs is the number of exclusive CPUs that it asks for. 0 means that it runs in the shared pool.
	CPUs int
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

// PodOf reads from a pod what the CPU manager reads (guaranteedCPUs in pkg/kubelet/cm/cpumanager/policy_static.go,
// v1.36.3). A container of a Guaranteed pod that requests a whole number of CPUs asks for that many exclusive ones,
// unless the pod has pod-level resources. Pod overhead does not count. For a container that
// runs, what is allocated to it counts: see requestsOf.
func PodOf(pod *corev1.Pod) Pod {
	p := Pod{
		Name:              pod.Name,
		Guaranteed:        qosClass(pod) == corev1.PodQOSGuaranteed,
		PodLevelResources: hasPodLevelResources(pod),
		Device:            deviceOf(pod),
		Containers:        make([]Container, 0, len(pod.Spec.InitContainers)+len(pod.Spec.Containers)),
	}
	exclusive := func(c *corev1.Container, statuses []corev1.ContainerStatus) int {
		if !p.Guaranteed || p.PodLevelResources {
			return 0
		}
		return wholeCPUs(requestsOf(c, statuses))
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		kind := Init
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = Sidecar
		}
		p.Containers = append(p.Containers, Container{Name: c.Name, Kind: kind, CPUs: exclusive(c, pod.Status.InitContainerStatuses)})
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		p.Containers = append(p.Containers, Container{Name: c.Name, Kind: App, CPUs: exclusive(c, pod.Status.ContainerStatuses)})
	}
	if p.Guaranteed && p.PodLevelResources {
		p.PodLevel = podLevelOf(pod, p.Containers)
	} else if p.Guaranteed {
		p.Allocated = allocatedOf(pod, p.Containers)
	}
	return p
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
