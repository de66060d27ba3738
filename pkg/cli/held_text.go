// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// heldText says where the memory and the devices of a container come from: "memory of NUMA node 0, 2 × example.com/nic of NUMA
// node 0". Devices without NUMA node are left out.
func heldText(t *cputopology.Topology, held *admission.Held, container string) string {
	var parts []string
	var types []string
	for i := range held.Memory {
		h := &held.Memory[i]
		if h.Container != container {
			continue
		}
		types = append(types, h.Type)
		if i+1 == len(held.Memory) || held.Memory[i+1].Container != container || held.Memory[i+1].NUMANodes != h.NUMANodes {
			parts = append(parts, strings.Join(types, " and ")+" of "+numaText(t, h.NUMANodes))
			types = nil
		}
	}
	for i := range held.Devices {
		h := &held.Devices[i]
		if h.Container == container && h.NUMANodes != 0 {
			parts = append(parts, fmt.Sprintf("%d × %s of %s", h.Devices, h.Resource, numaText(t, h.NUMANodes)))
		}
	}
	return strings.Join(parts, ", ")
}

// numaText names NUMA nodes by the kernel's ids.
func numaText(t *cputopology.Topology, mask topologymanager.Mask) string {
	var ids []string
	for ; mask != 0; mask = mask.Rest() {
		ids = append(ids, strconv.Itoa(t.NUMANodes()[mask.First()].ID))
	}
	if len(ids) == 1 {
		return "NUMA node " + ids[0]
	}
	return "NUMA nodes " + strings.Join(ids, " and ")
}

// heldBesides says so of all containers, those with CPUs of their own first.
func heldBesides(t *cputopology.Topology, held *admission.Held, grants []admission.Grant) string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i := range grants {
		add(grants[i].Container)
	}
	for i := range held.Memory {
		add(held.Memory[i].Container)
	}
	for i := range held.Devices {
		add(held.Devices[i].Container)
	}
	var parts []string
	for _, name := range names {
		text := heldText(t, held, name)
		if text != "" {
			parts = append(parts, name+" "+text)
		}
	}
	return strings.Join(parts, "; ")
}
