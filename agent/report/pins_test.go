// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

func TestPinsAreReportedBesideTheGrant(t *testing.T) {
	f := facts()
	first := Build(f, v1alpha1.NodeCPUStatus{}, noon)
	if first.Granted[0].Pins != "" || meta.FindStatusCondition(first.Conditions, v1alpha1.ConditionDrifted) != nil {
		t.Errorf("said of pins before anything is known: %+v", first)
	}
	f.Pins = map[types.UID]string{"uid": "0=1 1=5", "gone": "0=2"}
	f.Waits = map[types.UID]string{"gone": "0=9.1"}
	f.Drifted = &metav1.Condition{Type: v1alpha1.ConditionDrifted, Status: metav1.ConditionFalse, Reason: "InPlace"}
	second := Build(f, first, noon)
	if len(second.Granted) != 1 || second.Granted[0].Pins != "0=1 1=5" {
		t.Errorf("granted %+v", second.Granted)
	}
	if sameMeaning(first, second) {
		t.Error("new pins would not be published")
	}
	if c := meta.FindStatusCondition(second.Conditions, v1alpha1.ConditionDrifted); c == nil || c.Status != metav1.ConditionFalse {
		t.Errorf("condition %+v", c)
	}
	f.Pins, f.Drifted = nil, nil // the agent was started again and has not looked yet
	if third := Build(f, second, noon); !sameMeaning(second, third) {
		t.Errorf("an agent that starts takes back what its predecessor reported: %+v", third)
	}
	f.Pins = map[types.UID]string{}
	if fourth := Build(f, second, noon); fourth.Granted[0].Pins != "" {
		t.Errorf("pins of a guest that ended are still there: %+v", fourth.Granted)
	}
}

// Who waits is of the last minute, so that an agent that starts does not repeat what its predecessor said.
func TestWaitsAreReportedBesideThePins(t *testing.T) {
	f := facts()
	f.Pins = map[types.UID]string{"uid": "0=1 1=5"}
	f.Waits = map[types.UID]string{"uid": "1=9.1"}
	f.SharedWith = map[types.UID]string{"uid": "1 container of the shared pool"}
	first := Build(f, v1alpha1.NodeCPUStatus{}, noon)
	if first.Granted[0].Waits != "1=9.1" || first.Granted[0].SharedWith != "1 container of the shared pool" {
		t.Errorf("granted %+v", first.Granted)
	}
	f.Pins = nil
	f.Waits = nil
	f.SharedWith = nil
	second := Build(f, first, noon)
	if second.Granted[0].Waits != "" || second.Granted[0].SharedWith != "" || sameMeaning(first, second) {
		t.Errorf("granted %+v", second.Granted)
	}
}
