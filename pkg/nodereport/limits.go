// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"fmt"
	"strings"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// Limits of what is read of one report, so that reading it costs milliseconds whatever an agent wrote. A report of a real
// machine stays far below them: each core and each granted container holds a CPU of its own.
const (
	maxCores      = cpuset.MaxCPUs
	maxNUMANodes  = 64                 // as the CustomResourceDefinition; more than the largest machine has
	maxContainers = 4 * cpuset.MaxCPUs // granted, of all pods; CPUs of init containers are granted again
	maxListBytes  = 64 << 10           // of all CPU lists together
	maxWhy        = 1024               // bytes kept of a message
	maxResources  = 64                 // of device plugins
	maxGroups     = 64                 // of devices of one resource
	// maxHeld is the number of pods, containers and blocks with memory, and of containers with devices. A node has 500 pods.
	maxHeld = 16 << 10
	// maxNUMAIDs is the number of NUMA nodes that all blocks and groups of memory name together.
	maxNUMAIDs = 64 << 10
)

// size is how much of something there is, and the most that is read.
type size struct {
	what      string
	got, most int
}

// withinLimits checks the sizes of a report before anything in it is read.
func withinLimits(s *v1alpha1.NodeCPUStatus) error {
	lists := len(s.ReservedCPUs) + len(s.SharedCPUs)
	for i := range s.Cores {
		lists += len(s.Cores[i].CPUs)
	}
	containers := len(s.Granted)
	for i := range s.Granted {
		containers += len(s.Granted[i].Containers)
		for j := range s.Granted[i].Containers {
			lists += len(s.Granted[i].Containers[j].CPUs)
		}
	}
	sizes := []size{
		{"cores", len(s.Cores), maxCores},
		{"NUMA nodes", len(s.NUMANodes), maxNUMANodes},
		{"pods and containers with granted CPUs", containers, maxContainers},
		{"bytes of CPU lists", lists, maxListBytes},
	}
	sizes = append(sizes, deviceSizes(s)...)
	sizes = append(sizes, memorySizes(&s.MemoryManager)...)
	for _, size := range sizes {
		if size.got > size.most {
			return fmt.Errorf("it has %d %s, more than the %d that are read", size.got, size.what, size.most)
		}
	}
	return nil
}

func deviceSizes(s *v1alpha1.NodeCPUStatus) []size {
	groups := 0
	held := 0
	lists := 0
	for i := range s.Devices {
		groups = max(groups, len(s.Devices[i].Groups))
		for k := range s.Devices[i].Groups {
			lists += len(s.Devices[i].Groups[k].NUMANodes)
		}
		for k := range s.Devices[i].Held {
			lists += len(s.Devices[i].Held[k].NUMANodes)
			held += 1 + len(s.Devices[i].Held[k].PodUIDs)
		}
	}
	return []size{
		{"resources of device plugins", len(s.Devices), maxResources},
		{"groups of devices of one resource", groups, maxGroups},
		{"containers with devices", held, maxHeld},
		{"bytes of lists of NUMA nodes", lists, maxListBytes},
	}
}

func memorySizes(m *v1alpha1.MemoryManager) []size {
	types := 0
	held := len(m.Granted)
	ids := 0
	for i := range m.NUMANodes {
		types += len(m.NUMANodes[i].Resources)
		ids += len(m.NUMANodes[i].Group)
	}
	for i := range m.Granted {
		held += len(m.Granted[i].Containers)
		for k := range m.Granted[i].Containers {
			held += len(m.Granted[i].Containers[k].Blocks)
			for _, block := range m.Granted[i].Containers[k].Blocks {
				ids += len(block.NUMANodes)
			}
		}
	}
	return []size{
		{"NUMA nodes with memory", len(m.NUMANodes), maxNUMANodes},
		{"kinds of memory, of all NUMA nodes", types, maxHeld},
		{"pods, containers and blocks with memory", held, maxHeld},
		{"NUMA nodes of groups and blocks of memory", ids, maxNUMAIDs},
	}
}

// shorten cuts a message that another process wrote.
func shorten(text string) string {
	if len(text) <= maxWhy {
		return text
	}
	return strings.ToValidUTF8(text[:maxWhy], "") + "…"
}
