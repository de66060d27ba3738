// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Before an agent that has just started knows the settings, those of the last report stay.
func TestTuningIsReported(t *testing.T) {
	f := facts()
	f.Tuning = map[string]string{"governor": "performance"}
	first := Build(f, v1alpha1.NodeCPUStatus{}, noon)
	f.Tuning = nil
	second := Build(f, first, noon)
	f.Tuning = map[string]string{"governor": "powersave"}
	third := Build(f, second, noon)
	if first.HostTuning["governor"] != "performance" || !sameMeaning(first, second) || sameMeaning(second, third) || first.Format != third.Format {
		t.Errorf("%v, %v, %v of formats %d and %d", first.HostTuning, second.HostTuning, third.HostTuning, first.Format, third.Format)
	}
}
