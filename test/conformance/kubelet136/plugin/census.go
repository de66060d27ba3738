// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// Plugins are those of a node, by resource.
type Plugins map[string]*Plugin

// Inventory is what the kubelet's device manager says of devices, by id.
type Inventory struct {
	Machine *cputopology.Topology
	Plugins Plugins
	// Devices are the ids that a container of a pod holds, by resource.
	Devices func(pod *corev1.Pod, container string) map[string][]string
}

func (i *Inventory) maskOf(resource, id string) topologymanager.Mask {
	var mask topologymanager.Mask
	for at, node := range i.Machine.NUMANodes() {
		if slices.Contains(i.Plugins[resource].NUMANodes(id), node.ID) {
			mask |= 1 << at
		}
	}
	return mask
}

// Held are the devices of a pod, in our terms.
func (i *Inventory) Held(pod *corev1.Pod) []devicemanager.Held {
	var held []devicemanager.Held
	seen := map[string]bool{}
	for _, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
		devices := i.Devices(pod, container.Name)
		for _, resource := range slices.Sorted(maps.Keys(devices)) {
			groups := map[topologymanager.Mask]*devicemanager.Held{}
			for _, id := range devices[resource] {
				mask := i.maskOf(resource, id)
				if groups[mask] == nil {
					groups[mask] = &devicemanager.Held{Container: container.Name, Resource: resource, NUMANodes: mask}
				}
				groups[mask].Devices++
				if seen[resource+" "+id] {
					groups[mask].Again++
				}
				seen[resource+" "+id] = true
			}
			for _, mask := range slices.Sorted(maps.Keys(groups)) {
				held = append(held, *groups[mask])
			}
		}
	}
	return held
}

// Running are the containers of pods, and the ids of those that run: all but init containers that are no sidecars.
func Running(pods []*corev1.Pod) (containermap.ContainerMap, sets.Set[string]) {
	containers := containermap.NewContainerMap()
	running := sets.New[string]()
	for _, pod := range pods {
		for i, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
			id := string(pod.UID) + " " + container.Name
			containers.Add(string(pod.UID), container.Name, id)
			if i >= len(pod.Spec.InitContainers) || container.RestartPolicy != nil {
				running.Insert(id)
			}
		}
	}
	return containers, running
}

// State is what the node has, of which pods hold some.
func (i *Inventory) State(pods []*corev1.Pod) *devicemanager.State {
	inUse := map[string]bool{}
	for _, pod := range pods {
		for _, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
			for resource, ids := range i.Devices(pod, container.Name) {
				for _, id := range ids {
					inUse[resource+" "+id] = true
				}
			}
		}
	}
	s := &devicemanager.State{}
	for _, name := range slices.Sorted(maps.Keys(i.Plugins)) {
		r := devicemanager.Resource{Name: name}
		for _, device := range i.Plugins[name].devices {
			mask := i.maskOf(name, device.ID)
			at := slices.IndexFunc(r.Groups, func(g devicemanager.Group) bool { return g.NUMANodes == mask })
			if at < 0 {
				at = len(r.Groups)
				r.Groups = append(r.Groups, devicemanager.Group{NUMANodes: mask})
			}
			g := &r.Groups[at]
			g.Devices++
			if device.Health == "Healthy" {
				g.Healthy++
				if !inUse[name+" "+device.ID] {
					g.Free++
				}
			}
		}
		slices.SortFunc(r.Groups, func(a, b devicemanager.Group) int { return cmp.Compare(a.NUMANodes, b.NUMANodes) })
		s.Resources = append(s.Resources, r)
	}
	return s
}
