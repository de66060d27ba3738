// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/vmi"
)

func TestMobility(t *testing.T) {
	condition := func(kind, status, reason string) []any {
		return []any{map[string]any{"type": "Ready", "status": "False"}, map[string]any{"type": kind, "status": status, "reason": reason}}
	}
	for name, test := range map[string]struct {
		strategy string
		status   map[string]any
		want     string
	}{
		"it runs":                    {"LiveMigrate", map[string]any{"phase": "Running"}, ""},
		"it says so":                 {"", map[string]any{"phase": "Running", "conditions": condition("LiveMigratable", "True", "")}, ""},
		"only its storage can not":   {"", map[string]any{"phase": "Running", "conditions": condition("StorageLiveMigratable", "False", "R")}, ""},
		"it cannot":                  {"", map[string]any{"phase": "Running", "conditions": condition("LiveMigratable", "False", "DisksNotLiveMigratable")}, "not LiveMigratable: DisksNotLiveMigratable"},
		"it does not say why":        {"", map[string]any{"phase": "Running", "conditions": condition("LiveMigratable", "False", "")}, "not LiveMigratable: no reason given"},
		"it starts":                  {"", map[string]any{"phase": "Scheduled"}, "does not run"},
		"nothing is known":           {"", nil, "does not run"},
		"it moves":                   {"", map[string]any{"phase": "Running", "migrationState": map[string]any{"startTimestamp": "t"}}, "is being migrated"},
		"it has moved":               {"", map[string]any{"phase": "Running", "migrationState": map[string]any{"startTimestamp": "t", "endTimestamp": "t", "completed": true}}, ""},
		"it did not succeed":         {"", map[string]any{"phase": "Running", "migrationState": map[string]any{"failed": true}}, ""},
		"a drain shuts it down":      {"None", map[string]any{"phase": "Running"}, ""},
		"somebody else evicts it":    {"External", map[string]any{"phase": "Running"}, "evictionStrategy External, see --any-eviction-strategy"},
		"it migrates where possible": {"LiveMigrateIfPossible", map[string]any{"phase": "Running"}, ""},
		"conditions of another type": {"", map[string]any{"phase": "Running", "conditions": "x", "migrationState": "x"}, ""},
	} {
		object := map[string]any{"spec": map[string]any{}}
		if test.strategy != "" {
			object["spec"] = map[string]any{"evictionStrategy": test.strategy}
		}
		if test.status != nil {
			object["status"] = test.status
		}
		m := mobilityOf(object)
		if got := m.stays(false); got != test.want {
			t.Errorf("%s: stays %q, want %q", name, got, test.want)
		}
		if test.strategy != "" && m.stays(true) != "" {
			t.Errorf("%s: stays %q, whatever its evictionStrategy", name, m.stays(true))
		}
	}
}

// The pod that would come selects what KubeVirt's would: the guest's CPU model, and not the node of an earlier migration.
func TestTargetSelector(t *testing.T) {
	const model = "host-model-cpu.node.kubevirt.io/Skylake"
	const migration = "cpu-model-migration.node.kubevirt.io/Skylake"
	for name, test := range map[string]struct {
		labels, source map[string]string
		own            map[string]string // of the VMI
		model          string
		role           launcher.Role
		want           map[string]string // nil for an error
	}{
		"the model of the host":       {map[string]string{model: "true"}, map[string]string{"cpumanager": "true"}, nil, "host-model", launcher.Start, map[string]string{"cpumanager": "true", migration: "true"}},
		"a node without its label":    {nil, nil, nil, "", launcher.Start, nil},
		"a named model":               {nil, map[string]string{"zone": "a"}, nil, "Haswell", launcher.Start, map[string]string{"zone": "a"}},
		"the vendor":                  {map[string]string{"cpu-vendor.node.kubevirt.io/Intel": "true"}, nil, nil, "Haswell", launcher.Start, map[string]string{"cpu-vendor.node.kubevirt.io/Intel": "true"}},
		"where it was sent before":    {nil, map[string]string{corev1.LabelHostname: "n1", migration: "true", "zone": "a"}, map[string]string{"zone": "a"}, "host-model", launcher.MigrationTarget, map[string]string{migration: "true", "zone": "a"}},
		"the node that it asks for":   {nil, map[string]string{corev1.LabelHostname: "n1"}, map[string]string{corev1.LabelHostname: "n1"}, "Haswell", launcher.MigrationTarget, map[string]string{corev1.LabelHostname: "n1"}},
		"a node that the pod selects": {nil, map[string]string{corev1.LabelHostname: "n1"}, nil, "Haswell", launcher.Start, map[string]string{corev1.LabelHostname: "n1"}},
	} {
		node := &corev1.Node{}
		node.Labels = test.labels
		pod := &corev1.Pod{Spec: corev1.PodSpec{NodeSelector: test.source}}
		machine := &vmi.VMI{}
		machine.Spec.NodeSelector = test.own
		machine.Spec.Domain.CPU.Model = test.model
		town := &town{objects: map[string]*corev1.Node{"n1": node}}
		got, err := town.targetSelector(pod, machine, "n1", test.role)
		if (err != nil) != (test.want == nil) || err == nil && !maps.Equal(got, test.want) {
			t.Errorf("%s: got %v, error %v; want %v", name, got, err, test.want)
		}
	}
	town := &town{objects: map[string]*corev1.Node{}}
	got, err := town.targetSelector(&corev1.Pod{}, &vmi.VMI{}, "n1", launcher.Start)
	if err != nil || len(got) > 0 {
		t.Errorf("without Nodes: got %v, error %v", got, err)
	}
}

// A VM with two pods is on its way.
func TestAVMOfTwoPodsStays(t *testing.T) {
	pod := launcherOf("db", "4")
	pod.Labels["kubevirt.io/created-by"] = "vmi-db"
	town := &town{machines: map[types.UID]*vmi.VMI{"vmi-db": {}}, mobile: map[types.UID]*mobility{"vmi-db": {phase: "Running"}}}
	for launchers, want := range map[int]string{1: "", 2: "is being migrated"} {
		target, why := town.target(simulated(&pod), "n1", map[types.UID]int{"vmi-db": launchers}, false)
		if why != want || (target == nil) != (want != "") {
			t.Errorf("%d pods: %q, want %q", launchers, why, want)
		}
	}
}
