// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/quantity"
)

// Pages are the kernel's huge pages of one size on one NUMA node, whoever takes them.
type Pages struct{ All, Free int64 }

// HugePages are the huge pages of each NUMA node, in the order of Topology.NUMANodes, by their size in bytes.
type HugePages []map[int64]Pages

// Equal reports whether both are the same.
func (h HugePages) Equal(other HugePages) bool {
	if len(h) != len(other) {
		return false
	}
	for i := range h {
		if !maps.Equal(h[i], other[i]) {
			return false
		}
	}
	return true
}

// decodeHugePages reads the huge pages. It returns nil where the report has none, as that of a format 1 agent. Sizes that are not
// known by a name of the kubelet's are left out.
func decodeHugePages(s *v1alpha1.NodeCPUStatus, topology *cputopology.Topology) HugePages {
	var all HugePages
	for i := range s.NUMANodes {
		reported := &s.NUMANodes[i]
		for _, pages := range reported.HugePages {
			size, named := strings.CutPrefix(pages.Type, corev1.ResourceHugePagesPrefix)
			bytes, err := quantity.Parse(size)
			if !named || err != nil || bytes.Value() <= 0 || pages.Free < 0 {
				continue
			}
			if all == nil {
				all = make(HugePages, len(topology.NUMANodes()))
			}
			at := numaIndex(topology, int(reported.ID))
			if at < 0 {
				continue
			}
			if all[at] == nil {
				all[at] = map[int64]Pages{}
			}
			all[at][bytes.Value()] = Pages{All: pages.Pages, Free: pages.Free}
		}
	}
	return all
}

// numaIndex is the place of a NUMA node in Topology.NUMANodes; -1 if it is not there.
func numaIndex(topology *cputopology.Topology, id int) int {
	for i := range topology.NUMANodes() {
		if topology.NUMANodes()[i].ID == id {
			return i
		}
	}
	return -1
}
