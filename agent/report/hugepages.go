// SPDX-License-Identifier: Apache-2.0

package report

import (
	"maps"
	"slices"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// setHugePages writes the kernel's huge pages beside the NUMA nodes. Where they are not known, the last report's stay.
func setHugePages(s *v1alpha1.NodeCPUStatus, r *Resolved, last *v1alpha1.NodeCPUStatus) {
	for i := range s.NUMANodes {
		node := &s.NUMANodes[i]
		if !r.Memory.Known {
			at := slices.IndexFunc(last.NUMANodes, func(n v1alpha1.NUMANode) bool { return n.ID == node.ID })
			if at >= 0 {
				node.HugePages = last.NUMANodes[at].HugePages
			}
			continue
		}
		node.HugePages = nil
		sizes := r.Memory.Value[node.ID].HugePages
		for _, name := range slices.Sorted(maps.Keys(sizes)) {
			if sizes[name].Pages > 0 {
				node.HugePages = append(node.HugePages, v1alpha1.HugePages{Type: name, Pages: sizes[name].Pages, Free: sizes[name].Free})
			}
		}
	}
}
