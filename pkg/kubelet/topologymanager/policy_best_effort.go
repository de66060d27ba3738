// SPDX-License-Identifier: Apache-2.0

package topologymanager

// bestEffort is the policy best-effort: the best hint, preferred or not, and all NUMA nodes where there is none
// (policy_best_effort.go, v1.36.3). The managers may still refuse when they allocate.
func (r *Request) bestEffort() Affinity {
	if mask, found := r.preferred(); found {
		return Affinity{mask, true}
	}
	if mask, found := r.possible(); found {
		return Affinity{mask, false}
	}
	return Affinity{r.all(), false}
}
