// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// MemoryNode is the memory of a NUMA node, in bytes by type.
type MemoryNode struct{ Total, Reserved map[string]uint64 }

// MemoryOracle is a kubelet's memory manager with the policy Static and with its state, for a topology manager whose
// choice is given.
type MemoryOracle interface {
	// State is the machine state, the NUMA nodes in the order of their ids.
	State() memorymanager.State
	// Hints are the hints for a container, or for the pod where it is nil, by type.
	Hints(pod *corev1.Pod, container *corev1.Container) map[string][]Hint
	// Allocate allocates for a container. Without NUMA nodes the topology manager names none.
	Allocate(pod *corev1.Pod, container *corev1.Container, affinity Hint) error
	// Blocks are what a container holds.
	Blocks(pod *corev1.Pod, container string) []memorymanager.Block
	// Remove takes back what a container holds.
	Remove(pod *corev1.Pod, container string)
}

const gib = 1 << 30

// memoryTypes are the types of memory, with how much a request asks for at a time.
var memoryTypes = []struct {
	name string
	unit uint64
}{{"hugepages-1Gi", gib}, {"hugepages-2Mi", 2 << 20}, {"memory", gib / 2}}

// TestMemory holds pkg/kubelet/memorymanager to the kubelet's memory manager, on machines that fill up and empty. The
// topology manager's choice is any: what it would be, none, or some other.
func (k Kubelet) TestMemory(t *testing.T) {
	w := memoryWalk{t: t, minor: k.Minor, dice: newDice(1), seen: map[string]int{}}
	for seed := range uint64(150) {
		w.dice = newDice(seed)
		w.what = fmt.Sprintf("kubelet 1.%d, seed %d", k.Minor, seed)
		machine := w.dice.memoryMachine()
		var err error
		if w.kubelet, err = k.Memory(machine); err != nil {
			t.Fatalf("%s: starting on %v: %v", w.what, machine, err)
		}
		w.state = w.kubelet.State()
		w.pods = nil
		for step := range 60 {
			if len(w.pods) > 0 && w.dice.oneIn(3) {
				w.remove(w.dice.IntN(len(w.pods)))
			} else {
				w.add(w.dice.memoryPod(fmt.Sprintf("p%d", step)))
			}
			w.same("the state", w.kubelet.State(), w.state)
		}
	}
	for _, row := range []string{"granted", "granted on several", "reused", "released early", "torn", "no hints", "the pod has hints",
		"[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available",
		"[memorymanager] failed to find the default preferred hint",
		"[memorymanager] failed to find NUMA nodes to extend the current topology hint",
		"[memorymanager] failed to find the extended preferred hint", "[memorymanager] preferred hint violates NUMA node allocation"} {
		if w.seen[row] < 20 {
			t.Errorf("%s: met %d times only", row, w.seen[row])
		}
	}
	t.Logf("kubelet 1.%d: %v", k.Minor, w.seen)
}

// memoryWalk is a machine in use, on both sides.
type memoryWalk struct {
	t       *testing.T
	minor   int // of the kubelet
	dice    dice
	what    string
	kubelet MemoryOracle
	state   memorymanager.State
	pods    []memoryHolder
	seen    map[string]int
}

// memoryHolder is a pod with what we say that it holds.
type memoryHolder struct {
	pod  *corev1.Pod
	held []memorymanager.Held
}

func (w *memoryWalk) same(what string, theirs, ours any) {
	w.t.Helper()
	if !reflect.DeepEqual(theirs, ours) {
		w.t.Fatalf("%s: %s: the kubelet says\n%+v\nwe say\n%+v", w.what, what, theirs, ours)
	}
}

// add admits the containers of a pod. A pod that fails holds nothing afterwards.
func (w *memoryWalk) add(pod *corev1.Pod) {
	static := memorymanager.NewStatic(&w.state)
	w.podHints(static, pod)
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if !w.allocate(static, pod, c, c.RestartPolicy == nil) {
			return
		}
	}
	for i := range pod.Spec.Containers {
		if !w.allocate(static, pod, &pod.Spec.Containers[i], false) {
			return
		}
	}
	w.state = static.State
	for _, container := range containersOf(static.Held) {
		w.same("blocks of "+container, w.kubelet.Blocks(pod, container), blocksOf(static.Held, container))
	}
	w.pods = append(w.pods, memoryHolder{pod, static.Held})
	if w.dice.oneIn(2) {
		w.startApps(len(w.pods) - 1)
	}
}

// allocate does so for one container, and reports whether it was admitted.
func (w *memoryWalk) allocate(static *memorymanager.Static, pod *corev1.Pod, c *corev1.Container, isInit bool) bool {
	request := w.request(c)
	hints, some := static.Hints(request)
	w.same("hints of "+c.Name, w.kubelet.Hints(pod, c), listOf(hints, some, request))
	if !some {
		w.seen["no hints"]++
	}
	affinity, preferred := w.choose(hints, some)
	before := static.State.Clone()
	err := static.Allocate(c.Name, isInit, request, affinity, preferred)
	theirs := w.kubelet.Allocate(pod, c, Hint{idsOf(affinity), preferred})
	if fmt.Sprint(theirs) != fmt.Sprint(err) {
		w.t.Fatalf("%s: container %s of %s with affinity %v: the kubelet says %v, we say %v", w.what, c.Name, pod.Name, idsOf(affinity), theirs, err)
	}
	if err == nil {
		w.granted(&before, static)
		return true
	}
	w.seen[err.Error()]++
	for _, container := range containersOf(static.Held) {
		w.kubelet.Remove(pod, container)
	}
	static.Undo()
	w.state = static.State
	w.settle()
	return false
}

// granted counts what a grant was.
func (w *memoryWalk) granted(before *memorymanager.State, static *memorymanager.Static) {
	w.seen["granted"]++
	last := static.Held[len(static.Held)-1]
	if last.NUMANodes.Len() > 1 {
		w.seen["granted on several"]++
	}
	free := func(s *memorymanager.State) (sum uint64) {
		for _, node := range s.NUMANodes {
			for _, amount := range node.Memory {
				sum += amount.Free
			}
		}
		return sum
	}
	var taken uint64
	for _, b := range blocksOf(static.Held, last.Container) {
		taken += b.Bytes
	}
	if free(before)-free(&static.State) < taken {
		w.seen["reused"]++
	}
}

// choose is a choice of the topology manager: its own, none, or any.
func (w *memoryWalk) choose(h *memorymanager.Hints, some bool) (affinity topologymanager.Mask, preferred bool) {
	all := h.Nodes()
	switch {
	case w.dice.oneIn(4):
		return 0, w.dice.oneIn(3)
	case w.dice.oneIn(3) || !some:
		return 1 + topologymanager.Mask(w.dice.IntN(int(all))), w.dice.oneIn(2)
	}
	var possible []topologymanager.Mask
	for mask := topologymanager.Mask(1); mask <= all; mask++ {
		if h.Possible(mask) {
			possible = append(possible, mask)
		}
	}
	affinity = pickOne(w.dice, possible...)
	return affinity, h.Preferred(affinity)
}

// podHints compares the hints of the pod as a whole.
func (w *memoryWalk) podHints(static *memorymanager.Static, pod *corev1.Pod) {
	var total memorymanager.PodRequest
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil {
			total.AddSidecar(w.request(c))
		} else {
			total.AddInit(w.request(c))
		}
	}
	for i := range pod.Spec.Containers {
		total.AddApp(w.request(&pod.Spec.Containers[i]))
	}
	request := total.Append(nil, w.minor)
	hints, some := static.Hints(request)
	w.same("hints of the pod", w.kubelet.Hints(pod, nil), listOf(hints, some, request))
	if some {
		w.seen["the pod has hints"]++
	}
}

func (w *memoryWalk) request(c *corev1.Container) []memorymanager.Quantity {
	request, err := memorymanager.RequestOf(c.Resources.Requests)
	if err != nil {
		w.t.Fatal(err)
	}
	return request
}

// startApps releases the memory of init containers, as the kubelet does when the next container starts.
func (w *memoryWalk) startApps(at int) {
	p := &w.pods[at]
	started := slices.Clone(p.held)
	started = slices.DeleteFunc(started, func(h memorymanager.Held) bool { return !h.Init })
	p.held = slices.DeleteFunc(p.held, func(h memorymanager.Held) bool { return h.Init })
	if w.release(p.pod, started) {
		w.seen["released early"]++
	}
}

func (w *memoryWalk) remove(at int) {
	p := w.pods[at]
	w.pods = slices.Delete(w.pods, at, at+1)
	w.release(p.pod, p.held)
}

// release removes containers on both sides, one after the other, and reports whether there are any.
func (w *memoryWalk) release(pod *corev1.Pod, held []memorymanager.Held) bool {
	containers := containersOf(held)
	for _, container := range containers {
		w.kubelet.Remove(pod, container)
	}
	w.state.Release(held)
	w.settle()
	return len(containers) > 0
}

// settle goes on where ours is torn. Nobody knows in which order a kubelet removes containers, but here both sides do so in
// the same one.
func (w *memoryWalk) settle() {
	if w.state.Torn {
		w.seen["torn"]++
		w.state.Torn = false
	}
}

// containersOf are the containers that hold memory, each once.
func containersOf(held []memorymanager.Held) (names []string) {
	for i := range held {
		if !slices.Contains(names, held[i].Container) {
			names = append(names, held[i].Container)
		}
	}
	return names
}

func blocksOf(held []memorymanager.Held, container string) (blocks []memorymanager.Block) {
	for i := range held {
		if held[i].Container == container {
			blocks = append(blocks, held[i].Block)
		}
	}
	return blocks
}

// listOf writes our hints as the kubelet's are.
func listOf(h *memorymanager.Hints, some bool, request []memorymanager.Quantity) map[string][]Hint {
	lists := map[string][]Hint{}
	if !some {
		return lists
	}
	var list []Hint
	for mask := topologymanager.Mask(1); mask <= h.Nodes(); mask++ {
		if h.Possible(mask) {
			list = append(list, Hint{idsOf(mask), h.Preferred(mask)})
		}
	}
	for _, q := range request {
		lists[q.Type] = list
	}
	return lists
}

// SortHints puts hints into the order of their masks.
func SortHints(hints []Hint) {
	number := func(h Hint) (n int) {
		for _, id := range h.NUMANodes {
			n |= 1 << id
		}
		return n
	}
	slices.SortFunc(hints, func(a, b Hint) int { return cmp.Compare(number(a), number(b)) })
}

func (d dice) memoryMachine() []MemoryNode {
	var machine []MemoryNode
	for i := range 1 + d.IntN(4) {
		node := MemoryNode{map[string]uint64{"memory": uint64(8+d.IntN(25)) * gib}, map[string]uint64{"memory": uint64(d.IntN(3)) * gib}}
		node.Total["hugepages-1Gi"] = uint64(d.IntN(5)) * gib
		node.Total["hugepages-2Mi"] = uint64(d.IntN(500)) << 21
		if i == 0 {
			node.Reserved["memory"] += gib
			if d.oneIn(4) {
				node.Reserved["hugepages-1Gi"] = min(gib, node.Total["hugepages-1Gi"])
			}
		}
		machine = append(machine, node)
	}
	return machine
}

// memoryPod is a Guaranteed pod.
func (d dice) memoryPod(name string) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.UID = name, types.UID(name)
	large := d.oneIn(4)
	for i := range 1 + d.IntN(2) {
		pod.Spec.Containers = append(pod.Spec.Containers, d.memoryContainer(fmt.Sprintf("c%d", i), large))
	}
	for i := 0; d.oneIn(2); i++ {
		c := d.memoryContainer(fmt.Sprintf("i%d", i), large)
		if d.oneIn(3) {
			always := corev1.ContainerRestartPolicyAlways
			c.RestartPolicy = &always
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	return pod
}

func (d dice) memoryContainer(name string, large bool) corev1.Container {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	for _, kind := range memoryTypes {
		if kind.name != "memory" && !d.oneIn(3) {
			continue
		}
		units := 1 + d.IntN(6)
		if large {
			units *= 8
		}
		if kind.name == "hugepages-2Mi" {
			units *= 50
		}
		list[corev1.ResourceName(kind.name)] = *resource.NewQuantity(int64(units)*int64(kind.unit), resource.BinarySI)
	}
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
}
