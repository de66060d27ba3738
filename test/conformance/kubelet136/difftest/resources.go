// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/quantity"
)

// DeviceResource is the devices of one device plugin.
type DeviceResource struct {
	Name string
	// Prefers is set for a plugin that is asked which devices to take, and then names any.
	Prefers bool
	Devices []Device
}

// Device is one device, with the ids of its NUMA nodes.
type Device struct {
	NUMANodes []int
	Healthy   bool
}

// defaultMemory is what a container requests that a scenario says nothing of.
const defaultMemory = 64 << 20

// memoryLine writes the memory of the NUMA nodes: "memory 32Gi-1Gi hugepages-1Gi 4Gi; memory 16Gi". What is behind the minus
// is reserved.
func memoryLine(nodes []MemoryNode) string {
	var parts []string
	for _, node := range nodes {
		var words []string
		for _, kind := range memoryTypes {
			total := node.Total[kind.name]
			if total == 0 && kind.name != "memory" {
				continue
			}
			word := kind.name + " " + strconv.FormatUint(total, 10)
			if node.Reserved[kind.name] > 0 {
				word += "-" + strconv.FormatUint(node.Reserved[kind.name], 10)
			}
			words = append(words, word)
		}
		parts = append(parts, strings.Join(words, " "))
	}
	return "memory-manager " + strings.Join(parts, "; ")
}

func parseMemory(text string) (nodes []MemoryNode, err error) {
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		node := MemoryNode{map[string]uint64{}, map[string]uint64{}}
		if len(words) == 0 || len(words)%2 != 0 {
			return nil, fmt.Errorf("memory of a NUMA node %q: want types and amounts", part)
		}
		for i := 0; i < len(words); i += 2 {
			total, reserved, _ := strings.Cut(words[i+1], "-")
			if node.Total[words[i]], err = parseBytes(total); err != nil {
				return nil, err
			}
			if reserved == "" {
				continue
			}
			if node.Reserved[words[i]], err = parseBytes(reserved); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// parseBytes reads an amount. Quantity.Value wraps what an int64 cannot hold, as in the kubelet; a scenario would then print
// another amount than it was read from.
func parseBytes(text string) (uint64, error) {
	q, err := quantity.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", text, err)
	}
	if q.Sign() < 0 {
		return 0, fmt.Errorf("%q is less than nothing", text)
	}
	if q.CmpInt64(math.MaxInt64) > 0 {
		return 0, fmt.Errorf("%q is more than 2^63-1", text)
	}
	return uint64(q.Value()), nil
}

// deviceLine writes the devices of a plugin: "example.com/a 2@0 1@0+1 3@- 1!@1". 1! is one that is not healthy.
func deviceLine(r DeviceResource) string {
	words := []string{"devices", r.Name}
	if r.Prefers {
		words = append(words, "prefers")
	}
	for i := 0; i < len(r.Devices); {
		first := r.Devices[i]
		count := 0
		for i < len(r.Devices) && slices.Equal(r.Devices[i].NUMANodes, first.NUMANodes) && r.Devices[i].Healthy == first.Healthy {
			count++
			i++
		}
		var ids []string
		for _, id := range first.NUMANodes {
			ids = append(ids, strconv.Itoa(id))
		}
		if len(ids) == 0 {
			ids = []string{"-"}
		}
		health := ""
		if !first.Healthy {
			health = "!"
		}
		words = append(words, fmt.Sprintf("%d%s@%s", count, health, strings.Join(ids, "+")))
	}
	return strings.Join(words, " ")
}

// mostDevices is how many devices a word of a scenario can stand for.
const mostDevices = 4096

func parseDevices(text string) (r DeviceResource, err error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return r, fmt.Errorf("want a resource")
	}
	r.Name = words[0]
	for _, word := range words[1:] {
		if word == "prefers" {
			r.Prefers = true
			continue
		}
		number, where, found := strings.Cut(word, "@")
		if !found {
			return r, fmt.Errorf("devices %q: want a number, @ and NUMA nodes", word)
		}
		number, sick := strings.CutSuffix(number, "!")
		count, err := strconv.Atoi(number)
		if err != nil {
			return r, err
		}
		if count < 1 || count > mostDevices {
			return r, fmt.Errorf("devices %q: want 1 to %d", word, mostDevices)
		}
		device := Device{Healthy: !sick}
		for id := range strings.SplitSeq(where, "+") {
			if id == "-" {
				continue
			}
			n, err := strconv.Atoi(id)
			if err != nil {
				return r, err
			}
			device.NUMANodes = append(device.NUMANodes, n)
		}
		r.Devices = append(r.Devices, slices.Repeat([]Device{device}, count)...)
	}
	return r, nil
}

// wantText writes a container: "init a 2 memory=1073741824 example.com/a=1".
func wantText(c admission.Container) string {
	text := c.Name
	if c.Kind != admission.App {
		text = c.Kind.String() + " " + text
	}
	if c.CPUs > 0 {
		text += " " + strconv.Itoa(c.CPUs)
	} else {
		text += " shared"
	}
	for _, q := range c.Memory {
		text += fmt.Sprintf(" %s=%d", q.Type, q.Bytes)
	}
	for _, r := range c.Devices {
		text += fmt.Sprintf(" %s=%d", r.Resource, r.Count)
	}
	return text
}

// parseAmounts reads what a container asks for besides CPUs.
func parseAmounts(c *admission.Container, words []string) error {
	for _, word := range words {
		name, amount, found := strings.Cut(word, "=")
		if !found {
			return fmt.Errorf("%q: want a name, = and an amount", word)
		}
		bytes, err := parseBytes(amount)
		if err != nil {
			return err
		}
		if strings.Contains(name, "/") {
			c.Devices = append(c.Devices, devicemanager.Request{Resource: name, Count: int(bytes)})
		} else {
			c.Memory = append(c.Memory, memorymanager.Quantity{Type: name, Bytes: bytes})
		}
	}
	return nil
}

// amounts adds what a container asks for besides CPUs to what it requests.
func amounts(c *admission.Container, list corev1.ResourceList) {
	list[corev1.ResourceMemory] = *resource.NewQuantity(defaultMemory, resource.BinarySI)
	for _, q := range c.Memory {
		list[corev1.ResourceName(q.Type)] = *resource.NewQuantity(int64(q.Bytes), resource.BinarySI)
	}
	for _, r := range c.Devices {
		list[corev1.ResourceName(r.Resource)] = *resource.NewQuantity(int64(r.Count), resource.DecimalSI)
	}
}

// mix names the managers that a scenario has besides the CPU manager.
func (s *scenario) mix() string {
	switch {
	case s.memory != nil && s.devices != nil:
		return "memory and devices"
	case s.memory != nil:
		return "memory"
	case s.devices != nil:
		return "devices"
	}
	return "CPUs only"
}

// besides adds memory and devices to a scenario that is made up, and to what its pods ask for.
func (d dice) besides(s *scenario) {
	if s.podLevel {
		return
	}
	most := 10_000
	if d.oneIn(8) {
		most = 100_000
	}
	room := listsWithin(len(s.machine.NUMANodes()), most) - 1 // one is the CPU manager's
	types := 0
	if d.oneIn(2) && room > 0 {
		s.memory = d.memoryOf(len(s.machine.NUMANodes()))
		types = 1 + d.IntN(min(3, room))
		room -= types
	}
	if d.oneIn(2) && room > 0 {
		for i := range 1 + d.IntN(min(3, room)) {
			s.devices = append(s.devices, d.deviceResource(s, i))
		}
	}
	if s.memory == nil && s.devices == nil {
		return
	}
	tight := d.oneIn(2)
	if tight {
		d.tighten(s)
	}
	for i := range s.steps {
		if s.steps[i].restart {
			s.steps[i].pluginsLater = s.devices != nil && d.oneIn(2)
			continue
		}
		large := d.oneIn(4)
		for k := range s.steps[i].wants {
			d.ask(s, &s.steps[i].wants[k], large, types)
			if tight {
				d.askTightly(s, &s.steps[i].wants[k])
			}
		}
	}
	d.starts(s)
}

// tighten leaves more than enough CPUs, so that memory and devices decide. More init containers use them before others, and the
// kubelet restarts more often.
func (d dice) tighten(s *scenario) {
	var steps []step
	for _, next := range s.steps {
		for k := range next.wants {
			next.wants[k].CPUs = min(next.wants[k].CPUs, s.machine.ThreadsPerCore())
		}
		for k := 0; next.add && k < 3 && d.oneIn(2); k++ {
			first := admission.Container{Name: fmt.Sprintf("i%d", k), Kind: pickOne(d, admission.Init, admission.Init, admission.Sidecar)}
			next.wants = slices.Insert(next.wants, 0, first)
		}
		steps = append(steps, next)
		if d.oneIn(12) {
			steps = append(steps, step{restart: true})
		}
	}
	s.steps = steps
}

// askTightly makes some containers ask for about what a NUMA node has, of memory or of devices.
func (d dice) askTightly(s *scenario, c *admission.Container) {
	for k := range c.Memory {
		q := &c.Memory[k]
		node := pickOne(d, s.memory...)
		total := node.Total[q.Type] - min(node.Total[q.Type], node.Reserved[q.Type])
		page := uint64(2 << 20)
		if q.Type == "hugepages-1Gi" {
			page = gib
		}
		share := total / 4 * uint64(1+d.IntN(5)) / page * page
		if d.oneIn(2) && share > 0 {
			q.Bytes = share
		}
	}
	for k := range c.Devices {
		if c.Devices[k].Count > 1 && d.oneIn(2) {
			c.Devices[k].Count += d.IntN(4)
		}
	}
}

// listsWithin is how many lists of hints over all sets of so many NUMA nodes have no more than most combinations. The kubelet
// goes through the product of all lists, which takes it most of the time of a run.
func listsWithin(numaNodes, most int) int {
	sets := 1<<numaNodes - 1
	lists := 1
	for combined := sets; lists < 8 && combined*sets <= most; combined *= sets {
		lists++
	}
	return lists
}

// starts lets some pods start their app containers after they were added.
func (d dice) starts(s *scenario) {
	var steps []step
	for _, next := range s.steps {
		steps = append(steps, next)
		if next.add && s.memory != nil && d.oneIn(3) {
			steps = append(steps, step{start: true, pod: next.pod})
		}
	}
	s.steps = steps
}

// memoryOf makes up the memory of n NUMA nodes; the CPUs they have do not matter.
func (d dice) memoryOf(n int) []MemoryNode {
	machine := d.memoryMachine()
	for len(machine) < n {
		machine = append(machine, d.memoryMachine()...)
	}
	machine = machine[:n]
	if d.oneIn(2) { // all alike
		for i := range machine {
			machine[i] = MemoryNode{machine[0].Total, map[string]uint64{"memory": gib}}
		}
	}
	if n > 1 && d.oneIn(8) {
		machine[n-1] = MemoryNode{map[string]uint64{"memory": 0}, map[string]uint64{}}
	}
	return machine
}

func (d dice) deviceResource(s *scenario, i int) DeviceResource {
	r := DeviceResource{Name: fmt.Sprintf("example.com/d%d", i), Prefers: d.oneIn(3)}
	var ids []int
	for _, node := range s.machine.NUMANodes() {
		ids = append(ids, node.ID)
	}
	kind := d.IntN(5)
	for range 1 + d.IntN(5) {
		device := Device{Healthy: !d.oneIn(8)}
		switch {
		case kind == 0: // none has a NUMA node
		case kind == 1: // all on one
			device.NUMANodes = []int{ids[len(ids)-1]}
		case kind == 2 && d.oneIn(3) && len(ids) > 1: // some on two
			at := d.IntN(len(ids) - 1)
			device.NUMANodes = []int{ids[at], ids[at+1]}
		case kind == 3 && d.oneIn(4): // some on none
		default:
			device.NUMANodes = []int{pickOne(d, ids...)}
		}
		count := 1 + d.IntN(4)
		r.Devices = append(r.Devices, slices.Repeat([]Device{device}, count)...)
	}
	if d.oneIn(20) {
		r.Devices = nil
	}
	return r
}

// ask adds memory and devices to what a container asks for.
func (d dice) ask(s *scenario, c *admission.Container, large bool, types int) {
	if s.memory != nil {
		list := d.memoryContainer(c.Name, large).Resources.Requests
		c.Memory, _ = memorymanager.RequestOf(list)
		// Type memory is the last.
		c.Memory = c.Memory[max(0, len(c.Memory)-types):]
		// A small one, as KubeVirt's sidecars are.
		if d.oneIn(3) {
			c.Memory = nil
		}
	}
	for _, r := range s.devices {
		if d.oneIn(2) {
			c.Devices = append(c.Devices, devicemanager.Request{Resource: r.Name, Count: d.IntN(4)})
		}
	}
	if d.oneIn(20) {
		c.Devices = append(c.Devices, devicemanager.Request{Resource: "example.com/z-served-by-nobody", Count: 1})
	}
}
