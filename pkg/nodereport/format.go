// SPDX-License-Identifier: Apache-2.0

package nodereport

import "corepin.dev/corepin/pkg/apis/corepin/v1alpha1"

// Format is the oldest format that has everything that is in a report: 1, or 2 with devices, huge pages, or memory that is
// not known.
func Format(s *v1alpha1.NodeCPUStatus) int32 {
	if len(s.Devices) > 0 || s.MemoryManager.Unknown != "" {
		return 2
	}
	for i := range s.NUMANodes {
		if len(s.NUMANodes[i].HugePages) > 0 {
			return 2
		}
	}
	return 1
}

// pruned reports whether a report lacks fields. The agent leaves out those that the CustomResourceDefinition does not have, where
// that was not upgraded with the agent. Memory and devices are not known then.
func pruned(s *v1alpha1.NodeCPUStatus) bool { return s.Format > Format(s) }
