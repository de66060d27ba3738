// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
)

// heldDevices are the devices that pods hold, by pod.
type heldDevices map[types.UID][]devicemanager.Held

// decodeDevices reads the devices. The state is nil where the report does not say that it has all of them.
func decodeDevices(s *v1alpha1.NodeCPUStatus, topology *cputopology.Topology) (*devicemanager.State, heldDevices, error) {
	if len(topology.NUMANodes()) > maskBits {
		return nil, nil, nil
	}
	nodes := newNUMANodes(topology)
	state := &devicemanager.State{}
	held := heldDevices{}
	for i := range s.Devices {
		reported := &s.Devices[i]
		r, err := resourceOf(reported, nodes, held)
		if err != nil {
			return nil, nil, fmt.Errorf("devices %q: %w", reported.Name, err)
		}
		state.Resources = append(state.Resources, r)
	}
	slices.SortFunc(state.Resources, func(a, b devicemanager.Resource) int { return cmp.Compare(a.Name, b.Name) })
	for i := range state.Resources {
		if state.Resources[i].Name == "" || i > 0 && state.Resources[i].Name == state.Resources[i-1].Name {
			return nil, nil, fmt.Errorf("devices: the name %q is empty or is listed twice", state.Resources[i].Name)
		}
	}
	for _, list := range held {
		slices.SortFunc(list, compareHeldDevices)
	}
	if !devicesKnown(s) {
		return nil, held, nil
	}
	return state, held, nil
}

func compareHeldDevices(a, b devicemanager.Held) int {
	return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.NUMANodes, b.NUMANodes))
}

// devicesKnown reports whether the agent that wrote the report has read all devices.
func devicesKnown(s *v1alpha1.NodeCPUStatus) bool {
	known := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionDevicesKnown)
	return known != nil && known.Status == metav1.ConditionTrue && known.ObservedGeneration == s.Generation && !pruned(s)
}

// resourceOf reads a resource, and adds what pods hold of it to held. Of one that is not known only that is read.
func resourceOf(reported *v1alpha1.DeviceResource, nodes *numaNodes, held heldDevices) (devicemanager.Resource, error) {
	r := devicemanager.Resource{Name: reported.Name, Unknown: shorten(reported.Unknown)}
	free := map[string]int64{} // and held by healthy devices, by NUMA nodes
	healthy := map[string]int64{}
	for i := range reported.Groups {
		if r.Unknown != "" {
			break
		}
		group := &reported.Groups[i]
		mask, err := nodes.mask(group.NUMANodes)
		if err != nil {
			return r, err
		}
		if group.Free < 0 || group.Healthy < group.Free || group.Devices < group.Healthy {
			return r, fmt.Errorf("of %d devices on NUMA nodes %q %d are healthy, and %d free", group.Devices, group.NUMANodes, group.Healthy, group.Free)
		}
		r.Groups = append(r.Groups, devicemanager.Group{
			NUMANodes: mask, Devices: int(group.Devices), Healthy: int(group.Healthy), Free: int(group.Free),
		})
		free[group.NUMANodes] += int64(group.Free)
		healthy[group.NUMANodes] += int64(group.Healthy)
	}
	slices.SortFunc(r.Groups, func(a, b devicemanager.Group) int { return cmp.Compare(a.NUMANodes, b.NUMANodes) })
	for i := 1; i < len(r.Groups); i++ {
		if r.Groups[i].NUMANodes == r.Groups[i-1].NUMANodes {
			return r, errors.New("a set of NUMA nodes is listed twice")
		}
	}
	for i := range reported.Held {
		entry := &reported.Held[i]
		h, err := heldOf(entry, r, nodes)
		if err != nil {
			return r, fmt.Errorf("held by container %.80q: %w", entry.Container, err)
		}
		for _, uid := range entry.PodUIDs {
			held[uid] = append(held[uid], h)
		}
		free[entry.NUMANodes] += int64(h.Devices-h.Again-h.Unhealthy) * int64(len(entry.PodUIDs))
	}
	for _, numaNodes := range slices.Sorted(maps.Keys(free)) { // the first in order is named
		if r.Unknown == "" && free[numaNodes] > healthy[numaNodes] {
			r.Unknown = fmt.Sprintf("containers hold more of its devices on NUMA nodes %q than it has", numaNodes)
			r.Groups = nil
		}
	}
	return r, nil
}

func heldOf(entry *v1alpha1.HeldDevices, r devicemanager.Resource, nodes *numaNodes) (devicemanager.Held, error) {
	if entry.Container == "" || slices.Contains(entry.PodUIDs, "") {
		return devicemanager.Held{}, errors.New("a name or a pod's UID is empty")
	}
	mask, err := nodes.mask(entry.NUMANodes)
	if err != nil && r.Unknown == "" {
		return devicemanager.Held{}, err
	}
	if entry.Again < 0 || entry.Unhealthy < 0 || int64(entry.Again)+int64(entry.Unhealthy) > int64(entry.Devices) {
		return devicemanager.Held{}, fmt.Errorf("of %d devices %d are held again, and %d are not healthy", entry.Devices, entry.Again, entry.Unhealthy)
	}
	return devicemanager.Held{
		Container: entry.Container, Resource: r.Name, NUMANodes: mask,
		Devices: int(entry.Devices), Again: int(entry.Again), Unhealthy: int(entry.Unhealthy),
	}, nil
}
