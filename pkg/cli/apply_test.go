// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/simulation"
)

// podOfVM is a launcher pod in a simulation.
func podOfVM(vm, uid string) *simulation.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "virt-launcher-" + uid, Namespace: "vms", UID: types.UID(uid),
		Labels: map[string]string{"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "vmi-" + vm}, Annotations: map[string]string{"kubevirt.io/domain": vm}}}
	return simulated(pod)
}

// townWith has nodes n1 to n3 with pods, and reports that have CPUs of some pods.
func townWith(pods map[string][]*simulation.Pod, reported map[string][]types.UID) *town {
	t := &town{mobile: map[types.UID]*mobility{}, objects: map[string]*corev1.Node{}, arriving: map[types.UID]bool{}, gone: map[types.UID]bool{}}
	for _, name := range []string{"n1", "n2", "n3"} {
		report := &nodereport.Report{State: nodereport.Exact, Granted: map[types.UID][]admission.Grant{}}
		for _, uid := range reported[name] {
			report.Granted[uid] = []admission.Grant{{Container: "compute", CPUs: cpuset.Of(2, 3)}}
		}
		object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name + ".rack"}}}
		t.objects[name] = object
		node := simulation.NewNode(name, object, report, pods[name])
		for _, uid := range node.DropGone() {
			t.gone[uid] = true
		}
		t.nodes = append(t.nodes, node)
	}
	return t
}

// A VM that moves from n1 to n2 has landed when nothing of it is left to come or to go.
func TestLanded(t *testing.T) {
	old := podOfVM("b", "old")
	fresh := podOfVM("b", "fresh")
	migration := &simulation.Migration{Pod: old, From: "n1", To: "n2"}
	type pods = map[string][]*simulation.Pod
	type reports = map[string][]types.UID
	for name, test := range map[string]struct {
		vmi      *mobility
		pods     pods
		reports  reports
		arriving types.UID
		want     string
	}{
		"all is as planned":     {&mobility{node: "n2"}, pods{"n2": {fresh}}, reports{"n2": {"fresh"}}, "", ""},
		"the VMI is not known":  {nil, pods{"n2": {fresh}}, reports{"n2": {"fresh"}}, "", "VirtualMachineInstance of VM vms/b does not say that it is on n2"},
		"the VMI has not moved": {&mobility{node: "n1"}, pods{"n2": {fresh}}, reports{"n2": {"fresh"}}, "", "VirtualMachineInstance of VM vms/b does not say that it is on n2"},
		"it is on its way":      {&mobility{node: "n2", migrating: true}, pods{"n2": {fresh}}, reports{"n2": {"fresh"}}, "", "VirtualMachineInstance of VM vms/b does not say that it is on n2"},
		"the old pod runs":      {&mobility{node: "n2"}, pods{"n1": {old}, "n2": {fresh}}, reports{"n2": {"fresh"}}, "", "pod virt-launcher-old on n1 has not ended"},
		"the CPUs are not free": {&mobility{node: "n2"}, pods{"n2": {fresh}}, reports{"n1": {"old"}, "n2": {"fresh"}}, "", "the report of n1 still has the CPUs of VM vms/b"},
		"no CPUs are reported":  {&mobility{node: "n2"}, pods{"n2": {fresh}}, nil, "", "the report of n2 does not have the CPUs of VM vms/b"},
		"CPUs are predicted":    {&mobility{node: "n2"}, pods{"n2": {fresh}}, reports{"n2": {"fresh"}}, "fresh", "the report of n2 does not have the CPUs of VM vms/b"},
		"another VM's CPUs":     {&mobility{node: "n2"}, pods{"n2": {podOfVM("c", "fresh")}}, reports{"n2": {"fresh"}}, "", "the report of n2 does not have the CPUs of VM vms/b"},
	} {
		town := townWith(test.pods, test.reports)
		town.arriving[test.arriving] = true
		if test.vmi != nil {
			town.mobile["vmi-b"] = test.vmi
		}
		cpus, why := town.landed(migration)
		if why != test.want || (why == "") != (cpusOf(cpus) == "2-3") {
			t.Errorf("%s: CPUs %q, %q; want %q", name, cpusOf(cpus), why, test.want)
		}
	}
}

// A migration that is under way keeps others off its VM and off its nodes.
func TestUnderWay(t *testing.T) {
	migration := &simulation.Migration{Pod: podOfVM("b", "b"), From: "n1", To: "n2"}
	for name, test := range map[string]struct {
		namespace, vm, phase, selects string
		want                          string
	}{
		"it has succeeded":         {"vms", "b", "Succeeded", "", ""},
		"it has failed":            {"vms", "b", "Failed", "", ""},
		"the same VM":              {"vms", "b", "", "", "migration vms/m of VM vms/b has not ended, phase none"},
		"a VM of that name":        {"other", "b", "Running", "", ""},
		"a VM on the other node":   {"vms", "c", "Running", "", "migration vms/m of VM vms/c has not ended, phase Running"},
		"a VM on neither":          {"vms", "d", "Running", "", ""},
		"a VM that goes there":     {"vms", "d", "Pending", "n2.rack", "migration vms/m of VM vms/d has not ended, phase Pending"},
		"a VM that goes elsewhere": {"vms", "d", "Pending", "n3.rack", ""},
		"a VM that has no pod":     {"vms", "nobody", "Pending", "", ""},
	} {
		town := townWith(map[string][]*simulation.Pod{"n1": {migration.Pod}, "n2": {podOfVM("c", "c")}, "n3": {podOfVM("d", "d")}}, nil)
		object := map[string]any{"metadata": map[string]any{"name": "m", "namespace": test.namespace}, "spec": map[string]any{"vmiName": test.vm}, "status": map[string]any{"phase": test.phase}}
		if test.selects != "" {
			object["spec"].(map[string]any)["addedNodeSelector"] = map[string]any{corev1.LabelHostname: test.selects}
		}
		if got := town.underWay([]map[string]any{object}, migration); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
