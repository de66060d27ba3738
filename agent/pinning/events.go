package pinning

import (
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/launcher"
)

// The reasons of the Events on a launcher pod; Warnings are told on its VMI too, where there is one. Each is written once for each change, not for each look.
const (
	// EventPinned: the guest's threads were pinned, for the first time or because its size changed; the message
	// has the map.
	EventPinned = "Pinned"
	// EventMoved: the kubelet changed the grant under the running guest, whose threads followed; the message has
	// both grants, and old and new of each thread.
	EventMoved = "Moved"
	// EventDriftRepaired: threads were found elsewhere and put back; the message has old and new.
	EventDriftRepaired = "DriftRepaired"
	// EventMisplaced: threads are not where they should be, and the mode is observe.
	EventMisplaced = "Misplaced"
	// EventCannotPin: the guest's threads are not (all) pinned; the message has the reason and what to do.
	EventCannotPin = "CannotPin"
	// EventNotExclusive: a VM that asked dedicated CPUs has none; the message has the cause.
	EventNotExclusive = "NotExclusive"
	// EventCPUConflict: two VMs that must each have their CPUs to themselves are on one; the message has the
	// CPUs and the other VM. It is told on the Node, too.
	EventCPUConflict = "CPUConflict"
)

// maxMessage is the longest message, in bytes: what the events.k8s.io API accepts is 1024.
const maxMessage = 1000

func (w *worker) tellPinned(a applied, guest *Guest, granted cpuset.Set) {
	message := fmt.Sprintf("%s; granted %s", pinMap(a.pins, guest), granted)
	if moves(a.steps) {
		message = "moved " + list(a.steps) + "; now " + message
	}
	switch {
	case a.drift:
		w.book.repaired(w.launcher.VMI, list(a.steps))
		w.event(corev1.EventTypeWarning, EventDriftRepaired, message)
	case !a.before.IsEmpty():
		w.event(corev1.EventTypeWarning, EventMoved, fmt.Sprintf("the kubelet granted CPUs %s in place of %s: %s", granted, a.before, message))
	default:
		w.event(corev1.EventTypeNormal, EventPinned, message)
	}
}

// tellMisplaced tells, in mode observe, what would be pinned; false means that it was told already.
func (w *worker) tellMisplaced(p plan, granted cpuset.Set) bool {
	return w.tellOnce(corev1.EventTypeWarning, EventMisplaced, "not where they should be: "+list(p.steps)+"; granted "+granted.String()+
		"; nothing is changed, since pinning.mode of the agent is observe")
}

func (w *worker) tellProblem(p *problem) {
	eventReason := EventCannotPin
	if p.reason == reasonNoGrant {
		eventReason = EventNotExclusive
	}
	w.tellOnce(corev1.EventTypeWarning, eventReason, p.Error()+"; "+p.nextStep())
}

// tellOnce writes an event unless it is what was told last; it returns whether it did.
func (w *worker) tellOnce(eventType, reason, message string) bool {
	if w.told == reason+message {
		return false
	}
	w.event(eventType, reason, message)
	w.told = reason + message
	return true
}

// tellConflict tells that other VMs are on CPUs of this one's.
func (w *worker) tellConflict(with string) {
	w.event(corev1.EventTypeWarning, EventCPUConflict, "critical: VM "+w.launcher.VMI.String()+" shares "+with+
		", and neither has it to itself; "+
		"compare the kubelet's cpu_manager_state with the containers' cpusets, and restart or migrate one of the VMs")
	if w.Node == nil {
		return
	}
	if node := w.Node(); node != nil {
		w.Recorder.Event(node, corev1.EventTypeWarning, EventCPUConflict,
			shorten("critical: two VMs on one CPU: VM "+w.launcher.VMI.String()+" shares "+with))
	}
}

func (w *worker) event(eventType, reason, message string) {
	message = shorten(message)
	w.Recorder.Event(w.pod, eventType, reason, message)
	if w.vm != nil && eventType == corev1.EventTypeWarning {
		w.Recorder.Event(w.vm, eventType, reason, message)
	}
}

// vmiOf refers to the VMI that owns a launcher pod; nil where none does.
func vmiOf(pod *corev1.Pod, of launcher.Launcher) *corev1.ObjectReference {
	for _, owner := range pod.OwnerReferences {
		if owner.UID == of.VMIUID && owner.Name == of.VMI.Name {
			return &corev1.ObjectReference{
				APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name, UID: owner.UID,
			}
		}
	}
	return nil
}

func list(steps []step) string {
	texts := make([]string, 0, len(steps))
	for _, s := range steps {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, ", ")
}

// shorten cuts a message for the API; the end of a long one is a list that goes on in the same way.
func shorten(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	cut := maxMessage - len("…")
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + "…"
}
