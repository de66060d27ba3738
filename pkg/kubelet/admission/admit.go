// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"sync"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// attempt is one pod going through the kubelet.
type attempt struct {
	node *Node
	// asks is what of the node the pod is about.
	asks    interests
	devices devicemanager.Manager
	cpus    cpumanager.Static
	memory  memorymanager.Static
	grants  []Grant
	// providers are what the managers say of one request.
	providers []topologymanager.HintProvider
	// podMemory, request and deviceRequest are scratch for what the pod as a whole asks for.
	podMemory     memorymanager.PodRequest
	request       []memorymanager.Quantity
	deviceRequest []devicemanager.Request
	// empty is scratch for the node with nothing granted to anyone.
	empty Node
	// containers is how many grants there can be.
	containers int
	// misaligned is how the topology manager refuses the pod.
	misaligned error
	// lost are CPUs that the kubelet does not take back from a refused pod.
	lost cpuset.Set
}

// attempts keeps attempts for reuse. Hint providers are reached through an interface, so an attempt cannot live on
// the stack, and an admission in a scheduler's Filter should not allocate one.
var attempts = sync.Pool{New: func() any { return new(attempt) }}

// newAttempt begins an attempt. The caller gives it back with end.
func newAttempt(n *Node, p *Pod, asks interests) *attempt {
	a := attempts.Get().(*attempt)
	a.node = n
	a.asks = asks
	a.containers = len(p.Containers)
	a.misaligned = n.misaligned(p)
	a.devices.Held = a.devices.Held[:0]
	a.memory.Held = a.memory.Held[:0]
	if asks.cpus {
		a.cpus.Start(n.Topology, &n.CPUManager.Options, n.Minor, &n.Reserved, &n.Shared)
	}
	if asks.memory {
		a.memory.Start(n.Memory)
	}
	if asks.devices {
		a.devices.Start(n.Devices, n.Minor, len(n.Topology.NUMANodes()))
	}
	return a
}

func (a *attempt) end() {
	a.node = nil
	a.grants = nil
	a.misaligned = nil
	a.lost = cpuset.Set{}
	clear(a.providers)
	attempts.Put(a)
}

// Admit is what the kubelet of n will do with the new pod p. It is exact where n.Inexact(*p) is "". After a refusal
// the pod holds nothing: the kubelet takes back what earlier containers got, with one exception (podLevel).
func Admit(n *Node, p *Pod) Decision {
	d := admit(n, p, nil)
	if d.Verdict == Refused {
		d.Preemptible = n.admitsWhenEmpty(p)
	}
	return d
}

// admitsWhenEmpty reports whether the node would admit p with nothing granted to anyone.
func (n *Node) admitsWhenEmpty(p *Pod) bool {
	a := attempts.Get().(*attempt) // The node would be allocated otherwise.
	defer attempts.Put(a)
	n.emptyInto(&a.empty)
	return admit(&a.empty, p, nil).Verdict == Admitted
}

// Admitting is Admit, and the node afterwards.
func (n *Node) Admitting(p *Pod) (Decision, Node) {
	after := n.contents()
	d := admit(n, p, &after)
	return d, n.with(&after)
}

// admit is Admit without Preemptible. It makes after, which is the node's contents before, those afterwards. It may be nil.
func admit(n *Node, p *Pod, after *contents) Decision {
	asks := n.interestsOf(p)
	if !asks.any() {
		return Decision{Verdict: Admitted, Shared: n.Shared}
	}
	a := newAttempt(n, p, asks)
	defer a.end()
	seen := n.sees(p)
	var err error
	switch {
	case n.TopologyManager.Policy == topologymanager.PolicyNone:
		err = a.unaligned(seen)
	case n.asOne(seen):
		err = a.podLevel(seen, nil)
	case n.TopologyManager.Scope == topologymanager.ScopePod:
		err = a.podScope(seen)
	default:
		err = a.containerScope(seen)
	}
	d := a.decision(err)
	if after != nil {
		a.leave(after, err)
		after.shared = d.Shared
	}
	return d
}

// leave sets the memory and the devices as the pod leaves them.
func (a *attempt) leave(after *contents, err error) {
	if a.asks.memory {
		if err != nil {
			a.memory.Undo()
		}
		memory := a.memory.State.Clone()
		after.memory = &memory
	}
	if a.asks.devices && err == nil {
		after.devices = a.devices.After()
	}
}

// decision is the outcome of an attempt that ended with err.
func (a *attempt) decision(err error) Decision {
	if err == nil {
		d := Decision{Verdict: Admitted, Grants: a.grants, Held: a.held(), Shared: a.node.Shared}
		if a.asks.cpus {
			d.Shared = a.cpus.Shared
			d.NotFree = a.cpus.NotFree
		}
		return d
	}
	d := Decision{Verdict: Refused, Shared: a.node.Shared}
	if len(a.grants) > 0 || !a.lost.IsEmpty() {
		d.Shared = d.Shared.Union(granted(a.grants)).Minus(a.lost)
	}
	if refusal, ok := err.(*topologymanager.Refusal); ok { // errors.As would allocate
		d.Reason = refusal.Reason
		d.Message = refusal.Message
		return d
	}
	d.Reason = ReasonUnexpected
	d.Message = "Allocate failed due to " + err.Error() + ", which is unexpected"
	return d
}

// holding has room for what most pods hold, so that it takes one allocation.
type holding struct {
	memory  [4]memorymanager.Held
	devices [4]devicemanager.Held
}

// held is a copy of what the pod holds besides CPUs.
func (a *attempt) held() Held {
	memory, devices := a.memory.Held, a.devices.Held
	if len(memory) == 0 && len(devices) == 0 {
		return Held{}
	}
	room := &holding{}
	// A pod that holds more is moved to where there is room.
	return Held{Memory: append(room.memory[:0], memory...), Devices: append(room.devices[:0], devices...)}
}

// unaligned grants container by container, with no NUMA node in mind.
func (a *attempt) unaligned(p *Pod) error {
	for i := range p.Containers {
		err := a.grant(&p.Containers[i], topologymanager.Affinity{})
		if err != nil {
			return err
		}
	}
	return nil
}

// containerScope aligns and grants container by container. Each one's grant is missing from what the next one sees
// (pkg/kubelet/cm/topologymanager/scope_container.go, v1.36.3).
func (a *attempt) containerScope(p *Pod) error {
	for i := range p.Containers {
		c := &p.Containers[i]
		affinity, err := a.alignContainer(c)
		if err == nil {
			err = a.grant(c, affinity)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// podScope aligns the pod as a whole, for as much as it needs at once, and then grants container by container
// (pkg/kubelet/cm/topologymanager/scope_pod.go, v1.36.3).
func (a *attempt) podScope(p *Pod) error {
	affinity, err := a.alignPod(p)
	if err != nil {
		return err
	}
	for i := range p.Containers {
		err = a.grant(&p.Containers[i], affinity)
		if err != nil {
			return err
		}
	}
	return nil
}

// alignContainer asks the managers and the policy for a container's NUMA nodes: device manager, CPU manager, memory
// manager, in this order (NewContainerManager in pkg/kubelet/cm/container_manager_linux.go, v1.36.3).
func (a *attempt) alignContainer(c *Container) (topologymanager.Affinity, error) {
	a.providers = a.providers[:0]
	if a.asks.devices && len(c.Devices) > 0 {
		err := a.determined(c.Devices)
		if err != nil {
			return topologymanager.Affinity{}, err
		}
		a.providers = a.devices.Hints(a.providers, c.Devices)
	}
	a.hintCPUs(c.CPUs)
	err := a.hintMemory(c.Memory)
	if err != nil {
		return topologymanager.Affinity{}, err
	}
	return a.align()
}

// alignPod is alignContainer for the pod as a whole.
func (a *attempt) alignPod(p *Pod) (topologymanager.Affinity, error) {
	a.providers = a.providers[:0]
	if a.asks.devices {
		a.deviceRequest = p.peakDevices(a.deviceRequest[:0])
		err := a.determined(a.deviceRequest)
		if err != nil {
			return topologymanager.Affinity{}, err
		}
		a.providers = a.devices.PodHints(a.providers, a.deviceRequest)
	}
	a.hintCPUs(p.PeakCPUs())
	if a.asks.memory {
		a.request = p.peakMemory(&a.podMemory, a.request[:0], a.node.Minor)
		err := a.hintMemory(a.request)
		if err != nil {
			return topologymanager.Affinity{}, err
		}
	}
	return a.align()
}

// determined returns an error where hints would depend on which devices a container before this one got.
func (a *attempt) determined(requests []devicemanager.Request) error {
	resource := a.devices.Unsure(requests)
	if resource == "" {
		return nil
	}
	return &topologymanager.Refusal{Reason: ReasonUndetermined, Message: "it depends on which devices of " + resource +
		" the kubelet has given to another container, which nobody else knows"}
}

func (a *attempt) hintCPUs(need int) {
	if a.asks.cpus && need > 0 {
		a.providers = append(a.providers, a.cpus.Hints(need))
	}
}

// hintMemory adds the memory manager's hints, once for each type of memory.
func (a *attempt) hintMemory(request []memorymanager.Quantity) error {
	if !a.asks.memory {
		return nil
	}
	if !a.memory.State.Knows(request) {
		return memorymanager.ErrPanic
	}
	hints, some := a.memory.Hints(request)
	if !some {
		return nil
	}
	for range request {
		a.providers = append(a.providers, hints)
	}
	return nil
}

// align asks the topology manager's policy for NUMA nodes.
func (a *attempt) align() (topologymanager.Affinity, error) {
	r := topologymanager.Request{Config: &a.node.TopologyManager, Topology: a.node.Topology, Providers: a.providers}
	affinity, err := r.Affinity()
	if err == topologymanager.ErrAffinity {
		return topologymanager.Affinity{}, a.misaligned
	}
	return affinity, err
}

// grant gives a container its devices, its exclusive CPUs and its memory.
func (a *attempt) grant(c *Container, affinity topologymanager.Affinity) error {
	isInit := c.Kind == Init
	if a.asks.devices && len(c.Devices) > 0 {
		err := a.devices.Allocate(c.Name, isInit, c.Devices, affinity.NUMANodes)
		if err != nil {
			return err
		}
	}
	if a.asks.cpus && c.CPUs > 0 {
		err := a.grantCPUs(c, affinity.NUMANodes)
		if err != nil {
			return err
		}
	}
	if a.asks.memory {
		return a.memory.Allocate(c.Name, isInit, c.Memory, affinity.NUMANodes, affinity.Preferred)
	}
	return nil
}

func (a *attempt) grantCPUs(c *Container, affinity topologymanager.Mask) error {
	cpus, err := a.cpus.Allocate(c.CPUs, affinity)
	if err != nil {
		return err
	}
	if a.grants == nil {
		a.grants = make([]Grant, 0, a.containers)
	}
	a.grants = append(a.grants, Grant{Container: c.Name, CPUs: cpus})
	a.cpus.Keep(&cpus, c.Kind == Init)
	return nil
}
