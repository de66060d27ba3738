// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Reasons of condition DevicesKnown.
const (
	ReasonDevicesRead       = "DevicesRead"
	ReasonDevicesUnreadable = "DevicesUnreadable"
	ReasonTooManyDevices    = "TooManyDevices"
)

// Limits of the CustomResourceDefinition. An object beyond them would not be written at all.
const (
	maxDeviceResources = 64
	maxDeviceGroups    = 64
	maxHeldDevices     = 1024
	maxHolders         = 4096
	maxNUMANodesText   = 256
	maxResourceName    = 317
	maxUnknown         = 1024
)

// aligns reports whether the kubelet's topology manager aligns pods with devices, as far as it is known.
func aligns(s *v1alpha1.NodeCPUStatus) bool {
	return s.TopologyManager.Policy != "" && s.TopologyManager.Policy != topologymanager.PolicyNone
}

// setDevices writes the devices that decide about NUMA nodes. What cannot be read stays as it was, and condition
// DevicesKnown says so.
func setDevices(s *v1alpha1.NodeCPUStatus, r *Resolved, last *v1alpha1.NodeCPUStatus) {
	if r.Origin != kubelet.Nowhere && !aligns(s) {
		s.Devices = nil
		return
	}
	if devicesUnreadable(r, "") != "" {
		return
	}
	s.Devices = nil
	for _, name := range deviceResources(r, last) {
		s.Devices = append(s.Devices, newTally(r, last, name).resource())
	}
	if len(s.Devices) > maxDeviceResources {
		s.Devices = s.Devices[:maxDeviceResources]
	}
}

// devicesKnown is condition DevicesKnown of a report that is otherwise complete. known is false where there is none.
func devicesKnown(s *v1alpha1.NodeCPUStatus, r *Resolved) (c metav1.Condition, known bool) {
	if !aligns(s) {
		return c, false
	}
	c = metav1.Condition{
		Type: v1alpha1.ConditionDevicesKnown, Status: metav1.ConditionTrue, Reason: ReasonDevicesRead, ObservedGeneration: s.Generation,
		Message: "every resource of a device plugin that has devices with NUMA nodes is in devices",
	}
	unreadable := devicesUnreadable(r, find(s.Conditions, c.Type).Message)
	number := 0
	if unreadable == "" {
		number = len(deviceResources(r, &v1alpha1.NodeCPUStatus{}))
	}
	switch {
	case unreadable != "":
		c.Status = metav1.ConditionFalse
		c.Reason = ReasonDevicesUnreadable
		c.Message = unreadable + ": pods with a device that may have a NUMA node are not predicted exactly"
	case number > maxDeviceResources:
		c.Status = metav1.ConditionFalse
		c.Reason = ReasonTooManyDevices
		c.Message = fmt.Sprintf("%d resources have devices with NUMA nodes, and a report has %d at most", number, maxDeviceResources)
	}
	return c, true
}

// setDevicesKnown sets or removes condition DevicesKnown.
func setDevicesKnown(s *v1alpha1.NodeCPUStatus, r *Resolved, now metav1.Time) {
	c, known := devicesKnown(s, r)
	if !known {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionDevicesKnown)
		return
	}
	c.LastTransitionTime = now
	meta.SetStatusCondition(&s.Conditions, c)
}

// stampDevicesKnown gives condition DevicesKnown the generation of the report that is about to be written.
func stampDevicesKnown(s *v1alpha1.NodeCPUStatus) {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionDevicesKnown)
	if c != nil {
		c.ObservedGeneration = s.Generation
	}
}

// devicesUnreadable says which source of devices cannot be read; "" where all can.
func devicesUnreadable(r *Resolved, last string) string {
	switch {
	case !readable(r.Kubelet.Served):
		return failing("the kubelet's list of devices", r.Kubelet.Served, last)
	case !readable(r.Kubelet.Devices):
		return failing("the device manager's checkpoint", r.Kubelet.Devices, last)
	}
	return ""
}

// deviceResources are the resources with devices of NUMA nodes, sorted. They are those that have healthy ones now, those of which
// containers hold some, and those that had some in the last report and still have a plugin.
func deviceResources(r *Resolved, last *v1alpha1.NodeCPUStatus) []string {
	names := map[string]bool{}
	for name, devices := range r.Kubelet.Served.Value {
		names[name] = len(devices) > 0
	}
	add := func(name string) {
		_, listed := names[name]
		if !listed { // where it is, the healthy devices decide
			names[name] = true
		}
	}
	for _, held := range r.Kubelet.Devices.Value.Held {
		if slices.ContainsFunc(held.Devices, func(d kubelet.Device) bool { return d.NUMANodes != "" }) {
			add(held.Resource)
		}
	}
	for i := range last.Devices {
		_, registered := r.Kubelet.Devices.Value.Registered[last.Devices[i].Name]
		if registered {
			add(last.Devices[i].Name)
		}
	}
	maps.DeleteFunc(names, func(_ string, aligned bool) bool { return !aligned })
	return slices.Sorted(maps.Keys(names))
}

// tally counts the devices of one resource.
type tally struct {
	name    string
	healthy []kubelet.Device
	// listed reports whether the kubelet lists any; registered is how many were healthy when the checkpoint was written.
	listed     bool
	registered int
	held       []kubelet.HeldDevices
	// before are all devices by NUMA nodes as last reported.
	before map[string]int32
	// capacity and allocatable are the Node's.
	capacity, allocatable int64
	groups                map[string]*v1alpha1.DeviceGroup
	strange               string // NUMA nodes that the machine does not have
}

func newTally(r *Resolved, last *v1alpha1.NodeCPUStatus, name string) *tally {
	t := &tally{name: name, before: map[string]int32{}, groups: map[string]*v1alpha1.DeviceGroup{}}
	t.healthy, t.listed = r.Kubelet.Served.Value[name]
	t.registered = r.Kubelet.Devices.Value.Registered[name]
	for _, held := range r.Kubelet.Devices.Value.Held {
		if held.Resource == name {
			t.held = append(t.held, held)
		}
	}
	for i := range last.Devices {
		if last.Devices[i].Name == name {
			for _, group := range last.Devices[i].Groups {
				t.before[group.NUMANodes] = group.Devices
			}
		}
	}
	if r.Node != nil {
		t.capacity = amountOf(r.Node.Status.Capacity, name)
		t.allocatable = amountOf(r.Node.Status.Allocatable, name)
	}
	t.count(r)
	return t
}

func amountOf(list corev1.ResourceList, name string) int64 {
	amount := list[corev1.ResourceName(name)]
	return amount.Value()
}

// count counts the healthy devices and the free ones.
func (t *tally) count(r *Resolved) {
	inUse := map[string]bool{}
	on := map[string]bool{}
	for _, held := range t.held {
		for _, device := range held.Devices {
			inUse[device.ID] = true
			on[device.NUMANodes] = true
		}
	}
	for _, device := range t.healthy {
		on[device.NUMANodes] = true
		group := t.group(device.NUMANodes)
		group.Healthy++
		if !inUse[device.ID] {
			group.Free++
		}
	}
	for _, numaNodes := range slices.Sorted(maps.Keys(on)) {
		if r.Host.Known && !hasNUMANodes(r.Host.Value, numaNodes) {
			t.strange = numaNodes
		}
	}
}

// hasNUMANodes reports whether a machine has all NUMA nodes of a list.
func hasNUMANodes(machine *cputopology.Topology, list string) bool {
	nodes, err := cpuset.Parse(list)
	for _, node := range machine.NUMANodes() {
		if node.ID < cpuset.MaxCPUs {
			nodes.Remove(node.ID)
		}
	}
	return err == nil && nodes.IsEmpty()
}

func (t *tally) group(numaNodes string) *v1alpha1.DeviceGroup {
	group := t.groups[numaNodes]
	if group == nil {
		group = &v1alpha1.DeviceGroup{NUMANodes: numaNodes}
		t.groups[numaNodes] = group
	}
	return group
}

// resource is what is reported of it.
func (t *tally) resource() v1alpha1.DeviceResource {
	d := v1alpha1.DeviceResource{Name: t.name, Unknown: t.addUnhealthy()}
	for _, numaNodes := range slices.Sorted(maps.Keys(t.groups)) {
		d.Groups = append(d.Groups, *t.groups[numaNodes])
	}
	d.Held = t.holders()
	switch {
	case t.strange != "":
		d.Unknown = fmt.Sprintf("one of its devices is on NUMA node %s, which the machine does not have", t.strange)
	case beyondLimits(&d):
		d.Unknown = fmt.Sprintf("its devices are on %d sets of NUMA nodes and held by %d containers, which is more than a report can have", len(d.Groups), len(t.held))
		d.Groups = nil
		d.Held = nil
		d.Name = d.Name[:min(len(d.Name), maxResourceName)]
	}
	d.Unknown = shortText(d.Unknown)
	return d
}

func shortText(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxUnknown)], "")
}

// addUnhealthy counts all devices. Nothing says where the unhealthy ones are: the kubelet lists healthy devices only. The
// Node says how many there are. They are where they were reported before, or on the only NUMA nodes that the resource has.
// It returns why that cannot be told.
func (t *tally) addUnhealthy() (unknown string) {
	missing := map[string]int32{}
	sum := int64(0)
	for numaNodes, devices := range t.before {
		missing[numaNodes] = max(0, devices-t.group(numaNodes).Healthy)
		sum += int64(missing[numaNodes])
	}
	for _, group := range t.groups {
		group.Devices = group.Healthy
	}
	unhealthy := t.capacity - t.allocatable
	unknown = t.disagree()
	switch {
	case unknown != "" || sum == unhealthy:
		for numaNodes, number := range missing {
			t.group(numaNodes).Devices += number
		}
	case unhealthy > 0 && len(t.groups) == 1:
		for _, group := range t.groups {
			group.Devices += int32(unhealthy)
		}
	case unhealthy > 0:
		unknown = fmt.Sprintf("%d of its devices are not healthy, and on which NUMA nodes they are is not known", unhealthy)
	}
	maps.DeleteFunc(t.groups, func(_ string, group *v1alpha1.DeviceGroup) bool { return group.Devices == 0 })
	return unknown
}

// disagree says why the numbers of those who know of the devices do not go together; "" where they do. For a moment after each
// change they do not, since the kubelet tells each of them on its own.
func (t *tally) disagree() string {
	healthy := int64(len(t.healthy))
	registered := int64(t.registered)
	switch {
	case t.capacity == 0 && healthy == 0:
		return "its device plugin has not registered with the kubelet yet, or has gone"
	case t.listed && t.allocatable == registered && registered > healthy:
		return fmt.Sprintf("%d of its devices have a topology without NUMA nodes, which the kubelet does not list", registered-healthy)
	case t.allocatable != healthy, t.capacity < t.allocatable, t.listed && registered != healthy:
		return "the kubelet, its checkpoint and the Node's status do not agree yet on how many of its devices are healthy"
	}
	return ""
}

// holder is what one container holds on one set of NUMA nodes, comparable.
type holder struct {
	container, numaNodes      string
	devices, again, unhealthy int32
}

func compareHolders(a, b holder) int {
	return cmp.Or(cmp.Compare(a.container, b.container), cmp.Compare(a.numaNodes, b.numaNodes),
		cmp.Compare(a.devices, b.devices), cmp.Compare(a.again, b.again), cmp.Compare(a.unhealthy, b.unhealthy))
}

// holders are the containers that hold devices. A container has devices of init containers of its pod again. The entries
// come sorted by pod and container.
func (t *tally) holders() []v1alpha1.HeldDevices {
	pods := map[holder][]types.UID{}
	earlier := map[string]bool{}
	for i, entry := range t.held {
		if i > 0 && t.held[i-1].Pod != entry.Pod {
			clear(earlier)
		}
		for _, h := range t.holdersOf(entry, earlier) {
			pods[h] = append(pods[h], entry.Pod)
		}
	}
	var held []v1alpha1.HeldDevices
	for _, h := range slices.SortedFunc(maps.Keys(pods), compareHolders) {
		held = append(held, v1alpha1.HeldDevices{
			Container: h.container, NUMANodes: h.numaNodes, Devices: h.devices, Again: h.again, Unhealthy: h.unhealthy, PodUIDs: pods[h],
		})
	}
	return held
}

// holdersOf counts the devices of one container. It adds them to earlier.
func (t *tally) holdersOf(entry kubelet.HeldDevices, earlier map[string]bool) map[string]holder {
	counts := map[string]holder{}
	for _, device := range entry.Devices {
		h := counts[device.NUMANodes]
		h.container = entry.Container
		h.numaNodes = device.NUMANodes
		h.devices++
		switch {
		case earlier[device.ID]:
			h.again++
		case !t.isHealthy(device.ID):
			h.unhealthy++
		}
		earlier[device.ID] = true
		counts[device.NUMANodes] = h
	}
	return counts
}

// isHealthy looks a device up among the healthy ones, which are sorted.
func (t *tally) isHealthy(id string) bool {
	_, found := slices.BinarySearchFunc(t.healthy, id, func(d kubelet.Device, id string) int { return cmp.Compare(d.ID, id) })
	return found
}

// beyondLimits reports whether a resource has more than a report can have.
func beyondLimits(d *v1alpha1.DeviceResource) bool {
	return len(d.Name) > maxResourceName || len(d.Groups) > maxDeviceGroups || len(d.Held) > maxHeldDevices ||
		slices.ContainsFunc(d.Groups, func(g v1alpha1.DeviceGroup) bool { return len(g.NUMANodes) > maxNUMANodesText }) ||
		slices.ContainsFunc(d.Held, func(h v1alpha1.HeldDevices) bool { return len(h.PodUIDs) > maxHolders })
}
