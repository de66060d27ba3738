// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/simulation"
)

func migrationPhase(object map[string]any) string {
	phase, _, _ := unstructured.NestedString(object, "status", "phase")
	return phase
}

func migrationEnded(phase string) bool { return phase == phaseSucceeded || phase == phaseFailed }

// underWay says which migration of a list has not ended and concerns the VM or a node of m; "" where none does. Its nodes are those
// on which its VM has pods, and the one that it selects.
func (t *town) underWay(list []map[string]any, m *simulation.Migration) string {
	own, _ := launcher.Of(m.Pod.Spec)
	ends := t.ends(m)
	for _, fields := range list {
		object := unstructured.Unstructured{Object: fields}
		name, _, _ := unstructured.NestedString(fields, "spec", "vmiName")
		vm := types.NamespacedName{Namespace: object.GetNamespace(), Name: name}
		phase := migrationPhase(fields)
		if migrationEnded(phase) {
			continue
		}
		selected, _, _ := unstructured.NestedString(fields, "spec", addedNodeSelector, corev1.LabelHostname)
		concerns := func(node *simulation.Node) bool {
			there := slices.ContainsFunc(node.Pods(), func(pod *simulation.Pod) bool { return runs(pod).VMI == vm })
			return there || selected != "" && t.hostname(node.Name) == selected
		}
		if vm == own.VMI || slices.ContainsFunc(ends, concerns) {
			return fmt.Sprintf("migration %s/%s of VM %s has not ended, phase %s", object.GetNamespace(), object.GetName(), vm, cmp.Or(phase, noPhase))
		}
	}
	return ""
}

// ends are the nodes between which a VM moves, as far as they are there.
func (t *town) ends(m *simulation.Migration) []*simulation.Node {
	var ends []*simulation.Node
	for _, name := range []string{m.From, m.To} {
		node, err := t.node(name)
		if err == nil {
			ends = append(ends, node)
		}
	}
	return ends
}

// runs is the launcher of a pod in which a VM runs or to which it moves; the zero value for other pods.
func runs(pod *simulation.Pod) launcher.Launcher {
	l, is := launcher.Of(pod.Spec)
	if !is || l.Role == launcher.Attachment {
		return launcher.Launcher{}
	}
	return l
}

// nodeOf is the node that a VM is on by its VirtualMachineInstance; "" where that is not known.
func (t *town) nodeOf(m *simulation.Migration) string {
	mobile := t.mobile[runs(m.Pod).VMIUID]
	if mobile == nil {
		return ""
	}
	return mobile.node
}

// landed gives the CPUs of a VM by the report of the node to which it has moved. why says what is not as it will be yet; "" where the
// VM is there, and nothing of it is left on the node that it has left.
func (t *town) landed(m *simulation.Migration) (cpus []admission.Grant, why string) {
	vmi := runs(m.Pod).VMIUID
	mobile := t.mobile[vmi]
	if mobile == nil || mobile.node != m.To || mobile.migrating {
		return nil, fmt.Sprintf("VirtualMachineInstance of %s does not say that it is on %s", m.Pod.Name, m.To)
	}
	for _, node := range t.ends(m) {
		for _, pod := range node.Pods() {
			switch {
			case runs(pod).VMIUID != vmi:
			case node.Name == m.From:
				return nil, fmt.Sprintf("pod %s on %s has not ended", pod.Spec.Name, m.From)
			case !t.arriving[pod.UID]:
				cpus = node.Report().Granted[pod.UID]
			}
		}
	}
	if t.gone[m.Pod.UID] {
		return nil, fmt.Sprintf("the report of %s still has the CPUs of %s", m.From, m.Pod.Name)
	}
	if len(cpus) == 0 {
		return nil, fmt.Sprintf("the report of %s does not have the CPUs of %s", m.To, m.Pod.Name)
	}
	return cpus, ""
}

// aim tries what the plan is for on the cluster as it was read last. done is set where it is reached. Else why says why the rest
// of the plan does not reach it any more; "" where it does.
func (a *application) aim() (done *progress, why string) {
	t := a.town
	cluster := simulation.New(t.nodes, scoring.LeastFragmentation, 1)
	rest := a.plan.Migrations[a.step+1:]
	targets := t.migrants(a.flags.anyStrategy).targets
	wanted := a.plan.Then.Pod
	if a.plan.goal != "" {
		return a.room(cluster, rest, targets)
	}
	node := t.placeOf(wanted.UID)
	if node != "" {
		return &progress{Event: "done", VM: wanted.Name, Node: node, bound: true}, ""
	}
	candidates := append(slices.Clone(t.planned), t.waiting...)
	at := slices.IndexFunc(candidates, func(pod *simulation.Pod) bool { return pod.UID == wanted.UID })
	if at < 0 {
		return nil, wanted.Name + " neither waits nor is on a node"
	}
	now, _ := cluster.FitAfter(candidates[at], nil, targets)
	if now.Found && !now.Then.Estimated {
		return &progress{Event: "done", VM: wanted.Name, Node: now.Then.Node, grants: now.Then.Grants}, ""
	}
	then, broken := cluster.FitAfter(candidates[at], rest, targets)
	switch {
	case broken != "":
		return nil, "the rest of the plan is not possible: " + broken
	case !then.Found:
		return nil, fmt.Sprintf("%s would fit nowhere after the plan: %s", wanted.Name, causesText(then.Then.Causes))
	case then.Then.Estimated:
		return nil, fmt.Sprintf("%s would fit on %s after the plan only by an estimate", wanted.Name, then.Then.Node)
	}
	return nil, ""
}

// room is aim for a plan with a goal.
func (a *application) room(cluster *simulation.Cluster, rest []simulation.Migration, targets simulation.Targets) (done *progress, why string) {
	planned := a.plan.after()
	then, broken := cluster.WinAfter(a.plan.Then.Pod, rest, targets)
	switch {
	case then.Room >= planned:
		return &progress{Event: "done", Shape: a.plan.goal, Fit: &then.Room}, ""
	case broken != "":
		return nil, "the rest of the plan is not possible: " + broken
	}
	last := then.Room
	if len(rest) > 0 {
		last = then.Migrations[len(rest)-1].Room
	}
	if last < planned {
		return nil, fmt.Sprintf("%d more of %s would fit after the plan, and %d were planned", last, a.plan.goal, planned)
	}
	return nil, ""
}

// placeOf is the node that a pod is on; "" where it is on none.
func (t *town) placeOf(uid types.UID) string {
	for _, node := range t.nodes {
		if slices.ContainsFunc(node.Pods(), func(pod *simulation.Pod) bool { return pod.UID == uid }) {
			return node.Name
		}
	}
	return ""
}
