// SPDX-License-Identifier: Apache-2.0

package fragmentation

import "k8s.io/component-base/metrics"

// electionSeries is what client-go's leader election sets (component-base/metrics/prometheus/clientgo/leaderelection, v0.36.3):
// 1 while the process leads, and 0 from when it takes part until then.
const electionSeries = "leader_election_master_status"

// Election is what a process knows of its leader election.
type Election uint8

const (
	// Unknown: its metrics could not be read.
	Unknown Election = iota
	// NoElection: it takes part in none, or not yet.
	NoElection
	// Standby: another process leads, or none does.
	Standby
	// Leading: it leads.
	Leading
)

// ElectionIn reads the state of the election from the process's metrics. A process that leads under one name leads.
func ElectionIn(gatherer metrics.Gatherer) Election {
	families, err := gatherer.Gather()
	if err != nil && len(families) == 0 {
		return Unknown
	}
	for _, family := range families {
		if family.GetName() != electionSeries {
			continue
		}
		for _, series := range family.GetMetric() {
			if series.GetGauge().GetValue() == 1 {
				return Leading
			}
		}
		return Standby
	}
	return NoElection
}
