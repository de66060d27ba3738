// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/scoring"
)

// SetDefaults fills every field that is not set.
func SetDefaults(a *DedicatedCPUArgs) {
	setDefault(&a.APIVersion, APIVersion)
	setDefault(&a.Kind, Kind)
	setDefault(&a.ScoringStrategy, LeastFragmentation)
	setDefault(&a.ScoreRange, scoring.DefaultRange)
	setDefault(&a.NodesWithoutExactReport, Estimate)
	setDefault(&a.CPUManagerNodes, Required)
	setDefault(&a.SilentAfter, metav1.Duration{Duration: 15 * time.Second})
	setDefault(&a.RestartSafety, RestartIgnore)
	setDefault(&a.OtherPods, Predict)
	setDefault(&a.Search, AllNodes)
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}
