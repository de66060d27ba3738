package kubeletcpu

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Pod is what the CPU manager sees of a pod.
type Pod struct {
	Name string
	// Guaranteed tells whether the pod is of that QoS class.
	Guaranteed bool
	// PodLevelResources tells whether spec.resources is set: then the CPU manager grants nothing, unless the
	// node's kubelet has the gate PodLevelResourceManagers on.
	PodLevelResources bool
	// PodLevel is what the CPU manager with that gate sees of such a pod; nil where it has nothing to grant.
	PodLevel *PodLevel
	// Device is a resource that a device plugin may serve with a NUMA node, which the topology manager would
	// then align the CPUs with; "" where the pod asks for none.
	Device string
	// Containers are the init containers and then the app containers, each in the order of the spec:
	// the order in which the kubelet grants CPUs. Ephemeral containers never get any.
	Containers []Container
}

// Container is what the CPU manager sees of a container.
type Container struct {
	Name string
	Kind Kind
	// CPUs is the number of exclusive CPUs it asks for; 0 means that it runs in the shared pool.
	CPUs int
}

// Kind tells how long a container holds its CPUs.
type Kind uint8

const (
	App     Kind = iota // as long as the pod
	Init                // later containers of the pod may reuse them
	Sidecar             // a restartable init container: as long as the pod
)

// String gives the kind in one word.
func (k Kind) String() string { return [...]string{"app", "init", "sidecar"}[k] }

// PodOf reads from a pod what the CPU manager does (guaranteedCPUs in
// pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3): a container of a Guaranteed pod that requests a
// whole number of CPUs asks for that many exclusive ones, unless the pod has pod-level resources. Pod
// overhead plays no part. Of a container that runs, what is allocated to it counts: see requestsOf.
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

// wholeCPUs is the number of CPUs that list has, 0 where it is not a whole one.
func wholeCPUs(list corev1.ResourceList) int {
	cpu := list[corev1.ResourceCPU]
	if cpu.Value()*1000 != cpu.MilliValue() {
		return 0
	}
	return int(cpu.Value())
}

// Exclusive tells whether any container asks for exclusive CPUs. Where the gate PodLevelResourceManagers is on,
// Node.Exclusive knows better.
func (p Pod) Exclusive() bool {
	return !p.PodLevelResources && slices.ContainsFunc(p.Containers, func(c Container) bool { return c.CPUs > 0 })
}

// peak is the number of exclusive CPUs that the pod needs at once: the app containers and sidecars
// together, or an init container and the sidecars started before it, whichever is more
// (podGuaranteedCPUs, same file). The topology manager's pod scope looks for room for that many.
func (p *Pod) peak() int {
	sidecars, apps, starting := 0, 0, 0
	for _, c := range p.Containers {
		switch c.Kind {
		case Sidecar:
			sidecars += c.CPUs
		case Init:
			starting = max(starting, sidecars+c.CPUs)
		default:
			apps += c.CPUs
		}
	}
	return max(starting, sidecars+apps)
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
