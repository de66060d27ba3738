// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/predicates"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// Reasons that are not a kubelet's.
const (
	reasonNoReport    = "NoReport"         // of the node that the pod is bound to
	reasonUnreadable  = "ReportUnreadable" // so nothing is known of the node
	reasonNotExact    = "NotExact"         // what the kubelet will do cannot be promised
	reasonNoExclusive = "NoExclusiveCPUs"  // the kubelet would admit the pod, and give it no CPUs of its own
	reasonNoNode      = "NoNode"           // several nodes, for several reasons
	reasonBadInput    = "BadInput"         // so that no kubelet is asked
)

// demand is a pod that wants to be admitted.
type demand struct {
	name string
	// holder is how it is called once it holds CPUs.
	holder string
	uid    types.UID
	pod    admission.Pod
	spec   *corev1.Pod // on no node yet
	// problems say why the guest of a dedicated VM would get no CPUs of its own on any node, and which containers
	// besides it would get some.
	problems []string
}

func demandOf(pod *corev1.Pod) *demand {
	spec := *pod
	spec.Spec.NodeName = ""
	return &demand{name: nameOf(pod), holder: holderName(pod), uid: verdict.UIDOnNode(pod), pod: admission.PodOf(pod), spec: &spec,
		problems: append(launcher.Problems(pod), launcher.SupportProblems(pod)...)}
}

// trial is what a node would do with a pod.
type trial struct {
	machine  *machine
	admitted bool
	grants   []admission.Grant
	// reason and message are the kubelet's or ours. An admitted pod has no reason, and a message only if something
	// about it is unusual.
	reason, message string
	// node is the one that was asked, and verdict its answer. Both are empty for a pod that has its CPUs already.
	node    verdict.Node
	verdict verdict.Verdict
}

// try is what m would do with a pod; nothing is changed by it. If the node is not heard from, the message says so.
func (m *machine) try(d *demand) trial {
	t := m.ask(d)
	if m.silent {
		asOf := fmt.Sprintf("the node is %s, and this is as of then", nodereport.NotHeard(m.since))
		t.message = strings.TrimPrefix(t.message+"; "+asOf, "; ")
	}
	return t
}

func (m *machine) ask(d *demand) trial {
	t := trial{machine: m}
	grants, all := m.held(d)
	if all {
		t.admitted = true
		t.grants = grants
		t.message = "it has them already"
		return t
	}
	t.node = m.without(d)
	t.verdict = verdict.Of(&t.node, &verdict.Demand{Pod: d.pod})
	t.reason, t.message = reasonOf(&t.verdict)
	if t.reason != "" {
		return t
	}
	t.admitted = true
	t.grants = t.verdict.Decision.Grants
	t.message = t.verdict.Decision.Message
	if m.misfit(d, &t) {
		return t
	}
	if len(t.grants) == 0 && t.node.Kubelet.Exclusive(&d.pod) {
		t.message = "no CPUs of its own: the kubelet's CPU manager policy is " + t.node.Kubelet.CPUManager.Policy
		return t
	}
	t.message = cmp.Or(strings.Join(d.problems, "; "), t.message)
	return t
}

// reasonOf is why a verdict is no, and its words. Both are empty where the kubelet admits the pod.
func reasonOf(v *verdict.Verdict) (reason, message string) {
	switch {
	case v.State < nodereport.NoCPUManager:
		return reasonUnreadable, v.Why
	case v.State == nodereport.Inexact, v.Obstacle == verdict.InFlight:
		return reasonNotExact, v.Why
	case v.Obstacle != verdict.None:
		return v.Decision.Reason, v.Decision.Message
	}
	return "", ""
}

// without is the node as it would be if the pod had none of its CPUs yet. A kubelet that has granted some of them
// comes to the same end.
func (m *machine) without(d *demand) verdict.Node {
	var pods []verdict.Pod
	for _, uid := range m.holders() {
		if uid != d.uid {
			pods = append(pods, verdict.Pod{UID: uid, Name: m.nameOf(uid)})
		}
	}
	n := verdict.New(m.object, m.report, pods)
	n.Name = m.name
	return n
}

// misfit reports whether the kubelet refuses a pod although it has CPUs for it, and writes that into t. The check comes
// after the grant, so a refusal by the topology manager comes first.
func (m *machine) misfit(d *demand, t *trial) bool {
	if m.fit == nil {
		return false
	}
	refusal := m.fit.Check(d.spec)
	if refusal.Reason == "" {
		return false
	}
	t.admitted = false
	t.grants = nil
	t.reason = refusal.Reason
	t.message = refusal.Message
	if refusal.Reason == predicates.ReasonEvicts {
		t.reason = reasonNotExact
	}
	return true
}

// held are the CPUs that the report says the pod has. all reports whether it has all that it asks for.
func (m *machine) held(d *demand) (grants []admission.Grant, all bool) {
	if !m.report.Has(d.uid) {
		return nil, false
	}
	return m.report.Granted[d.uid], verdict.Covers(m.report, d.uid, &d.pod)
}

// admit tries, and if the pod is admitted takes its CPUs from what the next ones find free.
func (m *machine) admit(d *demand) trial {
	t := m.try(d)
	if t.admitted && m.fit != nil {
		m.add(d.spec)
	}
	decision := &t.verdict.Decision
	if t.admitted && t.node.Kubelet != nil && (len(decision.Grants) > 0 || !decision.Held.IsEmpty()) {
		m.grant(d, &t)
	}
	return t
}

// grant is the report that the node's agent would write after an admission.
func (m *machine) grant(d *demand, t *trial) {
	uid := d.uid
	if uid == "" {
		uid = types.UID("the input's " + d.name)
	}
	_, kubelet := t.node.Kubelet.Admitting(&d.pod)
	after := *m.report
	after.Node = &kubelet
	after.Granted = maps.Clone(m.report.Granted)
	after.Granted[uid] = t.grants
	after.Held = maps.Clone(m.report.Held)
	if !t.verdict.Decision.Held.IsEmpty() {
		if after.Held == nil {
			after.Held = map[types.UID]admission.Held{}
		}
		after.Held[uid] = t.verdict.Decision.Held
	}
	m.report = &after
	m.admitted = append(m.admitted, uid)
	m.names[uid] = d.holder
}

// answer is what becomes of a pod.
type answer struct {
	demand *demand
	// trials are those of the nodes that were asked; only the last can have admitted the pod.
	trials []trial
	// node is the one that the pod is bound to; "" where fit chooses.
	node string
}

// place finds the pod's node: the one that it is bound to, or the first, in the order of the input, that
// admits it, with exclusive CPUs if it asks for some.
func (s *snapshot) place(d *demand, boundTo string) *answer {
	a := &answer{demand: d, node: boundTo}
	if boundTo != "" {
		if m := s.byName[boundTo]; m != nil {
			a.trials = []trial{m.admit(d)}
		}
		return a
	}
	for _, m := range s.machines {
		t := m.try(d)
		if t.admitted && d.pod.Exclusive() && len(t.grants) == 0 {
			t.admitted = false
			t.reason = reasonNoExclusive
		}
		if t.admitted {
			a.trials = append(a.trials, m.admit(d))
			break
		}
		a.trials = append(a.trials, t)
	}
	return a
}

// admitted is the trial that admitted the pod; nil if none did.
func (a *answer) admitted() *trial {
	n := len(a.trials)
	if n > 0 && a.trials[n-1].admitted {
		return &a.trials[n-1]
	}
	return nil
}
