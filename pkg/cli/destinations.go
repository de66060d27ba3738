// SPDX-License-Identifier: Apache-2.0

package cli

import (
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/simulation"
	"corepin.dev/corepin/pkg/verdict"
)

// movers are the pods of a view that hints may move, and where they could go.
type movers struct {
	cluster *simulation.Cluster
	pods    map[string]map[string]*simulation.Pod // by node and name
}

// addDestinations says of each hint to move one VM which other node would take it, or that it would have to stop. A hint about a
// pod that has no CPUs yet, or that only a report knows, stays as it is.
func (s *view) addDestinations(all []explain.Explanation, asked *corev1.Pod) {
	var m *movers
	for i := range all {
		for j := range all[i].Hints {
			hint := &all[i].Hints[j]
			if hint.Kind != explain.Move || len(hint.Pods) != 1 {
				continue
			}
			if m == nil {
				m = s.movers(asked)
			}
			pod := m.pods[all[i].Node][hint.Pods[0]]
			if pod == nil {
				continue
			}
			hint.To = m.cluster.Destination(pod, all[i].Node)
			hint.Stops = hint.To == ""
		}
	}
}

// movers reads the nodes as they are for the pod that is asked about.
func (s *view) movers(asked *corev1.Pod) *movers {
	m := &movers{pods: map[string]map[string]*simulation.Pod{}}
	t := &town{}
	var nodes []*simulation.Node
	for _, machine := range s.machines {
		byName := map[string]*simulation.Pod{}
		var there []*simulation.Pod
		for _, resident := range s.residents(machine.name, asked) {
			pod := t.pod(resident, nil)
			switch {
			case machine.report.Has(pod.UID):
				pod.Holds(true)
				if pod.Movable() {
					byName[pod.Name] = pod
				}
			case verdict.AsksCPUs(resident):
				pod.Coming()
			}
			there = append(there, pod)
		}
		m.pods[machine.name] = byName
		nodes = append(nodes, simulation.NewNode(machine.name, s.nodes[machine.name], machine.heard(), there))
	}
	m.cluster = simulation.New(nodes, scoring.LeastFragmentation, 1)
	return m
}
