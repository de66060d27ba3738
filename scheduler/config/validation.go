// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxSilentAfter is the largest SilentAfter.
const maxSilentAfter = 10 * time.Minute

// Validate returns all invalid values of args whose defaults are set.
func Validate(a *DedicatedCPUArgs) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, oneOf("scoringStrategy", a.ScoringStrategy, LeastFragmentation, MostFree, MostAllocated)...)
	if a.ScoreRange < 1 || a.ScoreRange > MaxScoreRange {
		errs = append(errs, field.Invalid(field.NewPath("scoreRange"), a.ScoreRange, fmt.Sprintf("must be between 1 and %d", MaxScoreRange)))
	}
	if a.SilentAfter.Duration < time.Second || a.SilentAfter.Duration > maxSilentAfter {
		errs = append(errs, field.Invalid(field.NewPath("silentAfter"), a.SilentAfter.Duration.String(), fmt.Sprintf("must be between 1s and %s", maxSilentAfter)))
	}
	errs = append(errs, oneOf("nodesWithoutExactReport", a.NodesWithoutExactReport, Refuse, Estimate)...)
	errs = append(errs, oneOf("cpuManagerNodes", a.CPUManagerNodes, Required, Preferred)...)
	errs = append(errs, oneOf("restartSafety", a.RestartSafety, RestartIgnore, RestartPrefer, RestartRequire)...)
	if a.NodePoolLabel != "" {
		for _, problem := range validation.IsQualifiedName(a.NodePoolLabel) {
			errs = append(errs, field.Invalid(field.NewPath("nodePoolLabel"), a.NodePoolLabel, problem))
		}
	}
	errs = append(errs, oneOf("search", a.Search, AllNodes, Sample)...)
	return append(errs, oneOf("otherPods", a.OtherPods, Predict, Ignore)...)
}

func oneOf[T ~string](name string, value T, accepted ...T) field.ErrorList {
	if slices.Contains(accepted, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(field.NewPath(name), value, accepted)}
}
