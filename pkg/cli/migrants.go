// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/pkg/simulation"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/pkg/vmi"
)

// mobility is what a VirtualMachineInstance says about live migration.
type mobility struct {
	phase, evictionStrategy string
	// node is the one that the VM runs on; "" where it is not known.
	node string
	// obstacle is the reason of a condition LiveMigratable that is False; "" for others.
	obstacle string
	// migrating reports that a migration has begun and not ended.
	migrating bool
}

// mobilityOf reads a VirtualMachineInstance. What does not have its type counts as not there.
func mobilityOf(object map[string]any) *mobility {
	m := &mobility{}
	m.phase, _, _ = unstructured.NestedString(object, "status", "phase")
	m.node, _, _ = unstructured.NestedString(object, "status", "nodeName")
	m.evictionStrategy, _, _ = unstructured.NestedString(object, "spec", "evictionStrategy")
	found, _, _ := unstructured.NestedFieldNoCopy(object, "status", "conditions")
	conditions, _ := found.([]any)
	for _, condition := range conditions {
		fields, _ := condition.(map[string]any)
		if fields["type"] == "LiveMigratable" && fields["status"] == string(corev1.ConditionFalse) {
			reason, _ := fields["reason"].(string)
			m.obstacle = cmp.Or(reason, "no reason given")
		}
	}
	found, _, _ = unstructured.NestedFieldNoCopy(object, "status", "migrationState")
	state, _ := found.(map[string]any)
	_, ended := state["endTimestamp"]
	m.migrating = len(state) > 0 && !ended && state["completed"] != true && state["failed"] != true
	return m
}

// stays says why the VM does not move, in words that are the same for equal causes; "" if it may. KubeVirt itself asks for what is
// here but the evictionStrategy, which says only what an eviction does. With External a controller of somebody else answers evictions,
// and may count on the VM's node.
func (m *mobility) stays(anyStrategy bool) string {
	switch {
	case m.phase != "Running":
		return "does not run"
	case m.obstacle != "":
		return "not LiveMigratable: " + m.obstacle
	case m.migrating:
		return migratingNow
	case !anyStrategy && m.evictionStrategy == "External":
		return "evictionStrategy External, see --any-eviction-strategy"
	}
	return ""
}

const (
	migratingNow = "is being migrated"
	noVMIKnown   = "no VirtualMachineInstance is known"
)

// migrants are the VMs of a town that may move.
type migrants struct {
	targets simulation.Targets
	// stay counts the pods with CPUs of their own that stay, by why.
	stay map[string]int
}

// migrants finds the VMs that may move. A pod of which no VMI is known stays.
func (t *town) migrants(anyStrategy bool) *migrants {
	launchers := map[types.UID]int{}
	for _, node := range t.nodes {
		for _, pod := range node.Pods() {
			if l, is := launcher.Of(pod.Spec); is && l.Role != launcher.Attachment {
				launchers[l.VMIUID]++
			}
		}
	}
	m := &migrants{targets: simulation.Targets{}, stay: map[string]int{}}
	for _, node := range t.nodes {
		for _, pod := range node.Pods() {
			if !node.Report().Has(pod.UID) || !pod.Demand.Pod.Exclusive() {
				continue
			}
			target, why := t.target(pod, node.Name, launchers, anyStrategy)
			if why != "" {
				m.stay[why]++
				continue
			}
			m.targets[pod] = target
		}
	}
	return m
}

// target is the pod that would come to another node in place of one, or why the one stays.
func (t *town) target(pod *simulation.Pod, node string, launchers map[types.UID]int, anyStrategy bool) (target *simulation.Pod, why string) {
	l, is := launcher.Of(pod.Spec)
	machine := t.machines[l.VMIUID]
	mobile := t.mobile[l.VMIUID]
	switch {
	case !pod.Movable():
		return nil, "is being deleted, or belongs to its node"
	case !is || machine == nil || mobile == nil:
		return nil, noVMIKnown
	case launchers[l.VMIUID] > 1:
		return nil, migratingNow
	}
	if why := mobile.stays(anyStrategy); why != "" {
		return nil, why
	}
	selector, err := t.targetSelector(pod.Spec, machine, node, l.Role)
	if err != nil {
		return nil, err.Error()
	}
	target = pod.Moved()
	spec := *target.Spec
	spec.Spec.NodeSelector = selector
	target.Spec = &spec
	target.Class = classOf(target)
	return target, ""
}

// targetSelector is the node selector of the pod that KubeVirt would make for a migration. It makes the pod of the VMI, so what an
// earlier migration added is not in it.
func (t *town) targetSelector(source *corev1.Pod, machine *vmi.VMI, node string, role launcher.Role) (map[string]string, error) {
	selector := maps.Clone(source.Spec.NodeSelector)
	if selector == nil {
		selector = map[string]string{}
	}
	if role == launcher.MigrationTarget {
		maps.DeleteFunc(selector, func(key, _ string) bool {
			_, own := machine.Spec.NodeSelector[key]
			return !own && key != verdict.LabelCPUManager && key != corev1.LabelArchStable && !strings.Contains(key, "kubevirt.io/")
		})
	}
	object := t.objects[node]
	if object == nil {
		return selector, nil // no label of any node is known
	}
	if err := launcherpod.SelectCPU(selector, machine.Spec.Domain.CPU.Model, object.Labels, source); err != nil {
		return nil, err
	}
	return selector, nil
}

// hostname is the value of the label by which a migration's target node is chosen.
func (t *town) hostname(node string) string {
	object := t.objects[node]
	if object == nil || object.Labels[corev1.LabelHostname] == "" {
		return node
	}
	return object.Labels[corev1.LabelHostname]
}

// staying lists why VMs stay, the most frequent first.
func (m *migrants) staying() []stay {
	all := []stay{}
	for _, why := range slices.Sorted(maps.Keys(m.stay)) {
		all = append(all, stay{m.stay[why], why})
	}
	slices.SortStableFunc(all, func(a, b stay) int { return b.Pods - a.Pods })
	return all
}

// stay is why some pods stay where they are.
type stay struct {
	Pods int    `json:"pods"`
	Why  string `json:"why"`
}

// text is how many may move and how many stay, with why.
func (m *migrants) text() string {
	text := fmt.Sprintf("%d VMs may move", len(m.targets))
	var causes []simulation.Cause
	stay := 0
	for _, s := range m.staying() {
		causes = append(causes, simulation.Cause{Nodes: s.Pods, Why: s.Why})
		stay += s.Pods
	}
	if stay == 0 {
		return text
	}
	return fmt.Sprintf("%s; %d pods stay: %s", text, stay, causesText(causes))
}
