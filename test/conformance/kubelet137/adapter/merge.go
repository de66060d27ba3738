// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"github.com/go-logr/logr"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager/bitmask"

	"corepin.dev/corepin/pkg/cputopology"
	ours "corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
)

// merge is a difftest.Merge.
func merge(m *cputopology.Topology, c ours.Config, hints []map[string][]difftest.Hint) (hint difftest.Hint, admit bool) {
	options := topologymanager.PolicyOptions{PreferClosestNUMA: c.PreferClosestNUMANodes}
	info, err := topologymanager.NewNUMAInfo(machineInfo(m).Topology, options)
	if err != nil {
		panic(err)
	}
	policy := topologymanager.NewSingleNumaNodePolicy(info, options)
	switch c.Policy {
	case ours.PolicyBestEffort:
		policy = topologymanager.NewBestEffortPolicy(info, options)
	case ours.PolicyRestricted:
		policy = topologymanager.NewRestrictedPolicy(info, options)
	}
	var theirs []map[string][]topologymanager.TopologyHint
	for _, resources := range hints {
		provider := map[string][]topologymanager.TopologyHint{}
		for resource, list := range resources {
			provider[resource] = nil
			if list != nil {
				provider[resource] = []topologymanager.TopologyHint{}
			}
			for _, hint := range list {
				mask, err := bitmask.NewBitMask(hint.NUMANodes...)
				if err != nil {
					panic(err)
				}
				provider[resource] = append(provider[resource], topologymanager.TopologyHint{NUMANodeAffinity: mask, Preferred: hint.Preferred})
			}
		}
		theirs = append(theirs, provider)
	}
	best, admit := policy.Merge(logr.Discard(), theirs)
	hint.Preferred = best.Preferred
	if best.NUMANodeAffinity != nil {
		hint.NUMANodes = best.NUMANodeAffinity.GetBits()
	}
	return hint, admit
}
