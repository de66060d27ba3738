package cli

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/predicates"
	"corepin.dev/corepin/pkg/launcher"
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
	// decision and before, the node before it, are set where it was the kubelet's to decide.
	decision admission.Decision
	before   *admission.Node
}

// try is what m would do with a pod; nothing is changed by it.
func (m *machine) try(d *demand) trial {
	t := trial{machine: m}
	if m.node == nil {
		t.reason = reasonUnreadable
		t.message = m.why
		return t
	}
	if grants, all := m.heldBy(d); all {
		t.admitted = true
		t.grants = grants
		t.message = "it has them already"
		return t
	} else if len(grants) > 0 { // the kubelet is in the middle of it, and will come to the same end
		before := m.node.Releasing(grants)
		t.before = &before
	} else {
		before := *m.node
		t.before = &before
	}
	if why := t.before.Inexact(d.pod); why != "" {
		t.reason = reasonNotExact
		t.message = why
		return t
	}
	t.decision = admission.AdmitAfter(t.before, nil, &d.pod)
	t.admitted = t.decision.Verdict == admission.Admitted
	t.grants = t.decision.Grants
	t.reason = t.decision.Reason
	t.message = t.decision.Message
	if t.admitted && m.misfit(d, &t) {
		return t
	}
	switch {
	case !t.admitted:
	case len(t.grants) == 0 && t.before.Exclusive(&d.pod):
		t.message = "no CPUs of its own: the kubelet's CPU manager policy is " + m.node.CPUManager.Policy
	default:
		t.message = cmp.Or(strings.Join(d.problems, "; "), t.message)
	}
	return t
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

// heldBy are the CPUs that the report says the pod has. all reports whether it has all that it asks for.
func (m *machine) heldBy(d *demand) (grants []admission.Grant, all bool) {
	held := m.granted[d.uid]
	if d.uid == "" || len(held) == 0 {
		return nil, false
	}
	all = m.node.Exclusive(&d.pod)
	for _, c := range asking(m.node, &d.pod) {
		if cpus, has := held[c.Name]; has {
			grants = append(grants, admission.Grant{Container: c.Name, CPUs: cpus})
		} else if c.CPUs > 0 {
			all = false
		}
	}
	return grants, all
}

// admit tries, and if the pod is admitted takes its CPUs from what the next ones find free.
func (m *machine) admit(d *demand) trial {
	t := m.try(d)
	if t.admitted && m.fit != nil {
		m.add(d.spec)
	}
	if t.before != nil && t.admitted && len(t.grants) > 0 {
		after := t.before.Granting(t.grants)
		m.node = &after
		delete(m.granted, d.uid) // what it had of them before is among them
		m.holders = append(m.holders, holder{d.holder, t.decision.Granted()})
	}
	return t
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
