// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics/testutil"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

func TestObserveFollowsTheConditions(t *testing.T) {
	registerMetrics()
	for name, tc := range map[string]struct {
		exact, complete, restartSafe metav1.ConditionStatus
		want                         [3]float64
	}{
		"all is well":            {metav1.ConditionTrue, metav1.ConditionTrue, metav1.ConditionTrue, [3]float64{1, 1, 0}},
		"all is known to be bad": {metav1.ConditionFalse, metav1.ConditionFalse, metav1.ConditionFalse, [3]float64{0, 0, 1}},
		"nothing is certain":     {metav1.ConditionUnknown, metav1.ConditionUnknown, metav1.ConditionUnknown, [3]float64{0, 0, 0}},
	} {
		observe(&v1alpha1.NodeCPUStatus{Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionExact, Status: tc.exact},
			{Type: v1alpha1.ConditionSourcesComplete, Status: tc.complete},
			{Type: v1alpha1.ConditionRestartSafe, Status: tc.restartSafe},
		}})
		var got [3]float64
		var err error
		if got[0], err = testutil.GetGaugeMetricValue(exactNode.GaugeMetric); err != nil {
			t.Fatal(err)
		}
		if got[1], err = testutil.GetGaugeMetricValue(sourcesComplete.GaugeMetric); err != nil {
			t.Fatal(err)
		}
		if got[2], err = testutil.GetGaugeMetricValue(restartUnsafe.GaugeMetric); err != nil {
			t.Fatal(err)
		}
		if got != tc.want {
			t.Errorf("%s: exact, sources_complete and restart_unsafe are %v, want %v", name, got, tc.want)
		}
	}
}
