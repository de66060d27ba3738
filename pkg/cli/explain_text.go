// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// explained is a pod and what the nodes say to it.
type explained struct {
	*view
	pod    *corev1.Pod
	misfit launcher.Misfit // why no node is asked
	attention
	notes []string
	all   []explain.Explanation
}

func (x *explained) fits() bool { return len(x.all) > 0 && x.all[0].Fits }

// placed is the node that the pod is on; nil for one that is looking for a node, or was refused.
func (x *explained) placed() *string {
	if x.pod.Spec.NodeName == "" || ended(x.pod) {
		return nil
	}
	return &x.pod.Spec.NodeName
}

// print writes the explanation for people.
func (x *explained) print(out *printer) {
	x.printHead(out)
	printGroups(out, x.all)
}

// printHead writes what does not depend on a single node.
func (x *explained) printHead(out *printer) {
	asks := verdict.DemandOf(x.pod)
	name := "pod " + nameOf(x.pod)
	who := podOrVM(x.pod)
	if who != name {
		name += " (" + who + ")"
	}
	node := x.placed()
	if node != nil {
		out.printf("%s is on node %s: %s\n", name, *node, x.grants(*node))
		return
	}
	if x.problem != "" {
		out.printf("Problem: %s.\n", x.problem)
	}
	if x.note != "" {
		out.printf("Note: %s.\n", x.note)
	}
	out.printf("%s asks for %s.\n", name, explain.Asks(&asks))
	for _, note := range x.notes {
		out.printf("Note: %s.\n", note)
	}
	if x.misfit.What != "" {
		out.printf("corepin-scheduler refuses it: %s.\n", x.misfit)
		return
	}
	out.printf("%s\n", x.sum())
	note := explain.AutoscalerNote(explain.WithRoomByCount(x.all))
	if note != "" {
		out.printf("%s\n", note)
	}
}

// printNames names the nodes that take the pod, or the one that it is on.
func (x *explained) printNames(out *printer) {
	node := x.placed()
	if node != nil {
		out.named(nodeKind.Kind, *node)
	}
	for _, e := range x.all {
		if e.Fits {
			out.named(nodeKind.Kind, e.Node)
		}
	}
}

// grants says which CPUs the pod has on its node.
func (x *explained) grants(node string) string {
	m := x.byName[node]
	if m == nil || m.report.Node == nil {
		return "there is no report of its CPUs"
	}
	d := demandOf(x.pod)
	grants, all := m.held(d)
	if !all && m.silent {
		return "the node is " + nodereport.NotHeard(m.since) + "; as of then its kubelet had not granted it CPUs of its own"
	}
	if !all {
		return "its kubelet has not granted it CPUs of its own"
	}
	asOf := ""
	if m.silent {
		asOf = " (the node is " + nodereport.NotHeard(m.since) + "; this is as of then)"
	}
	return strings.TrimPrefix(admission.Decision{Verdict: admission.Admitted, Grants: grants}.String(), "admitted: ") + asOf
}

func (x *explained) sum() string {
	fit := 0
	estimated := 0
	for _, e := range x.all {
		if e.Fits {
			fit++
			if e.Estimated {
				estimated++
			}
		}
	}
	text := fmt.Sprintf("%d of %d nodes have room for it", fit, len(x.all))
	if estimated > 0 {
		text += fmt.Sprintf(", %d of them as estimated", estimated)
	}
	return text + "."
}

// explainLine is a line of explain -o json: what one node says.
type explainLine struct {
	Pod string `json:"pod"`
	explain.Explanation
	// CPUs are those of a pod that fits, or that is there, by container.
	CPUs     map[string]string `json:"cpus,omitempty"`
	Problems []string          `json:"problems,omitempty"`
	Notes    []string          `json:"notes,omitempty"`
	// Unplaced is why no scheduler places the pod, whatever room there is.
	Unplaced string `json:"unplaced,omitempty"`
}

func (x *explained) encode(out *printer) {
	all := x.all
	if x.misfit.What != "" {
		all = []explain.Explanation{{Facts: x.misfit.What}}
	}
	node := x.placed()
	if node != nil {
		placed := explain.Explanation{Node: *node, Fits: true, Facts: "it is there: " + x.grants(*node)}
		m := x.byName[*node]
		if m != nil {
			placed.Grants, _ = m.held(demandOf(x.pod))
		}
		all = []explain.Explanation{placed}
	}
	for _, e := range all {
		line := explainLine{Pod: nameOf(x.pod), Explanation: e, CPUs: map[string]string{}, Problems: x.misfit.Problems, Notes: x.notes, Unplaced: x.problem}
		if x.note != "" {
			line.Notes = append([]string{x.note}, line.Notes...)
		}
		for _, grant := range e.Grants {
			line.CPUs[grant.Container] = grant.CPUs.String()
		}
		out.encode(line)
	}
}
