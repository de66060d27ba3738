// SPDX-License-Identifier: Apache-2.0

package label

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// said compares what the Labeller has to say; reason "" is nothing.
func (w *world) said(what string, status metav1.ConditionStatus, reason, message string) {
	w.t.Helper()
	c := w.labeller.Condition()
	switch {
	case c == nil && reason == "":
	case c == nil || c.Status != status || c.Reason != reason || !strings.Contains(c.Message, message):
		w.t.Errorf("%s: condition %+v, want %s (%s) with %q", what, c, status, reason, message)
	}
}

func TestConditionSaysWhoseWordTheLabelsAre(t *testing.T) {
	w := newWorld(t, nil)
	changes := 0
	w.labeller.options.Changed = func() { changes++ }
	w.gate = Unknown
	w.step("nothing is known", "", "", 0, 0)
	w.said("nothing is known", "", "", "")
	w.gate = Yes
	w.step("static", "true", "true", 1, 0)
	w.said("static", "True", ReasonCPUManagerRuns, "by a test")
	w.step("static, seen", "true", "true", 0, 0)
	w.said("static, seen", "True", ReasonCPUManagerRuns, "by a test")
	if changes != 1 {
		t.Errorf("told %d times that the condition changed, want once", changes)
	}
	w.person(CPUManager, "false")
	w.step("a person says no", "false", "true", 0, 1)
	w.said("a person says no", "False", ReasonSetOtherwise, "cpumanager=false was set by kubectl-label")
	w.static = Unknown
	w.step("the state is unreadable", "false", "true", 0, 0)
	w.said("the state is unreadable", "False", ReasonSetOtherwise, "cpumanager=false")
	w.person(CPUManager, "true")
	w.gate = No
	w.step("the gate is off", "true", "", 1, 0)
	w.said("the gate is off", "False", ReasonGateOff, "off by a test")
	w.person(KubeVirtCPUManager, "true")
	w.step("people label", "true", "true", 0, 0)
	w.said("people label", "True", ReasonGateOff, "people")
	w.gate, w.static = Yes, No
	w.step("no CPU manager", "true", "true", 0, 0)
	w.said("no CPU manager", "True", ReasonCPUManagerNot, "people")
}

func TestLabelsAreLeftToKubeVirt(t *testing.T) {
	w := newWorld(t, map[string]string{CPUManager: "false", KubeVirtCPUManager: "false"})
	beat := func(text string) {
		node, err := w.labeller.options.Node()
		if err != nil {
			t.Fatal(err)
		}
		node.Annotations = map[string]string{heartbeat: text}
		if _, err := w.client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{FieldManager: "virt-handler"}); err != nil {
			t.Fatal(err)
		}
	}
	event := func(reason string) {
		t.Helper()
		if got := <-w.recorder.Events; !strings.Contains(got, reason) {
			t.Errorf("event %q, want %s", got, reason)
		}
	}
	now := time.Now().UTC()
	beat(`"` + now.Format(time.RFC3339) + `"`)
	if err := w.labeller.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	event(EventDisagreement)
	w.step("told once", "false", "false", 0, 0)
	w.said("virt-handler is wrong", "False", ReasonKubeVirtDisagrees, "cpumanager=false")
	w.person(CPUManager, "true")
	w.person(KubeVirtCPUManager, "true")
	w.step("virt-handler is right", "true", "true", 0, 0)
	w.said("virt-handler is right", "True", ReasonLeftToKubeVirt, "virt-handler")
	w.gate = No
	w.step("gate off is not ours to act on", "true", "true", 0, 0)
	w.gate, w.static = Yes, Unknown
	w.step("not known", "true", "true", 0, 0)
	w.static = Yes
	beat("no time at all")
	w.step("a heartbeat of an unknown form", "true", "true", 0, 0)
	w.labeller.options.OverrideKubeVirt = true
	w.step("told to override", "true", "true", 1, 0)
	w.labeller.options.OverrideKubeVirt = false
	w.step("told to leave: nothing is given up, or it would flicker", "true", "true", 0, 0)
	beat(`"` + now.Add(-time.Hour).Format(time.RFC3339) + `"`)
	w.static = No
	w.step("KubeVirt is gone", "true", "true", 1, 0)
	w.said("KubeVirt is gone", "True", ReasonCPUManagerNot, "people")
}

// In a rollout an older agent may run while a newer one has set more labels under the same name.
func TestOlderAgentKeepsTheLabelsOfANewerOne(t *testing.T) {
	w := newWorld(t, nil)
	newer := map[string]string{CPUManager: "true", KubeVirtCPUManager: "true", "corepin.dev/brand-new": "yes"}
	if _, err := w.client.CoreV1().Nodes().Apply(t.Context(), applycorev1.Node("n1").WithLabels(newer), metav1.ApplyOptions{FieldManager: agent}); err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		node, err := w.labeller.options.Node()
		if err != nil {
			t.Fatal(err)
		}
		if node.Labels["corepin.dev/brand-new"] != "yes" {
			t.Errorf("%s: labels are %v", what, node.Labels)
		}
	}
	w.step("nothing to do", "true", "true", 0, 0)
	check("nothing to do")
	w.static = No
	w.step("no CPU manager", "", "", 1, 0)
	check("no CPU manager")
	w.static = Yes
	w.step("back", "true", "true", 1, 0)
	check("back")
}
