// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/page"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/pkg/vmi"
)

// What one page explains, so that it takes seconds in a cluster of thousands of nodes.
const (
	// maxWaiting is for how many kinds of waiting pods the nodes are asked.
	maxWaiting = 20
	// nearestExplained is how many nodes are asked what would help.
	nearestExplained = maxGroups
)

// waitingKind is pods that wait and to which every node gives the same answer.
type waitingKind struct {
	pods []*corev1.Pod
	// explained is the first pod, and vm what is known of its VM.
	explained *explained
	vm        launcher.VM
}

// pageWaiting are the pods without a node that ask for CPUs of their own, and what the nodes say to them.
func (c *call) pageWaiting(ctx context.Context, s *view, strictness vmi.Strictness) []page.Waiting {
	index := map[string]int{}
	for i, m := range s.everyNode() {
		index[m.name] = i
	}
	var all []page.Waiting
	for i, kind := range c.waitingKinds(ctx, s, strictness) {
		w := page.Waiting{Command: explainCommandFor(kind.pods[0])}
		var first metav1.Time
		for _, pod := range kind.pods {
			w.Names = append(w.Names, harmless(podOrVM(pod)))
			if first.IsZero() || pod.CreationTimestamp.Before(&first) {
				first = pod.CreationTimestamp
			}
		}
		if !first.IsZero() {
			w.Since = nodereport.Moment(first.Time)
		}
		if i < maxWaiting {
			s.vm = kind.vm
			kind.explained.ask(nearestExplained)
			kind.explained.fill(&w, index)
		} else {
			w.Head = []string{fmt.Sprintf("Not explained here: %d other kinds of pods come first.", maxWaiting)}
		}
		all = append(all, w)
	}
	return all
}

// waitingKinds are the pods that wait by the answer that they get, those of most pods first.
func (c *call) waitingKinds(ctx context.Context, s *view, strictness vmi.Strictness) []*waitingKind {
	var list []*waitingKind
	byKey := map[string]*waitingKind{}
	for _, pod := range s.pods {
		l, _ := launcher.Of(pod)
		if pod.Spec.NodeName != "" || ended(pod) || len(pod.Spec.SchedulingGates) > 0 || !l.Dedicated && !verdict.AsksCPUs(pod) {
			continue
		}
		if len(list) == 0 {
			c.listVMIs(ctx, s)
		}
		x := &explained{view: s, pod: pod}
		c.judge(ctx, x, strictness)
		asking := simulated(pod)
		asking.Demand = s.demand(pod, nil)
		key := jsonOf([]any{classOf(asking), x.misfit, s.vm.Dedicated, s.vm.Warnings, pod.Status.NominatedNodeName, pod.Spec.SchedulerName})
		kind := byKey[key]
		if kind == nil {
			kind = &waitingKind{explained: x, vm: s.vm}
			byKey[key] = kind
			list = append(list, kind)
		}
		kind.pods = append(kind.pods, pod)
	}
	slices.SortStableFunc(list, func(a, b *waitingKind) int { return len(b.pods) - len(a.pods) })
	return list
}

// listVMIs reads all VMIs of a cluster at once, where many would be read one by one.
func (c *call) listVMIs(ctx context.Context, s *view) {
	if !s.live || c.host.List == nil {
		return
	}
	list, err := c.host.List(ctx, ResourceVMIs)
	byName := map[types.NamespacedName]map[string]any{}
	for _, object := range list {
		u := unstructured.Unstructured{Object: object}
		byName[types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}] = object
	}
	c.host.VMI = func(_ context.Context, name types.NamespacedName) (map[string]any, error) {
		object := byName[name]
		switch {
		case object != nil:
			return object, nil
		case err != nil:
			return nil, err
		}
		return nil, NoVMI(name)
	}
}

// fill writes what explain says. index are the places of the nodes.
func (x *explained) fill(w *page.Waiting, index map[string]int) {
	w.Head = printed(x.printHead)
	list := merged(groups(x.all))
	for _, g := range list[:min(len(list), maxGroups)] {
		shown := page.Group{Text: printed(g.print)}
		for _, name := range g.nodes {
			shown.Nodes = append(shown.Nodes, index[name])
		}
		w.Groups = append(w.Groups, shown)
	}
	for _, g := range list[min(len(list), maxGroups):] {
		w.More += len(g.nodes)
	}
}

// printed are the lines that are printed.
func printed(print func(*printer)) []string {
	var text strings.Builder
	print(&printer{out: &text})
	return strings.Split(strings.Trim(text.String(), "\n"), "\n")
}

// explainCommandFor is the command that explains a pod.
func explainCommandFor(pod *corev1.Pod) string {
	kind := "pod"
	name := pod.Name
	l, is := launcher.Of(pod)
	if is && l.VMI.Name != "" {
		kind = "vmi"
		name = l.VMI.Name
	}
	return harmless(fmt.Sprintf("kubectl corepin explain %s %s -n %s", kind, name, cmp.Or(pod.Namespace, metav1.NamespaceDefault)))
}
