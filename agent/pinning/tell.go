// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/agent/pinning/ledger"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/launcher"
)

// The reasons of the Events on a launcher pod. Warnings are written on its VMI too, where there is one. Each is written
// once for each change, not for each look, and none once the pod is being deleted.
const (
	// EventPinned: the guest's threads were pinned, for the first time or because its size changed. The message has the
	// pins. Where the host's cgroups are seen, it comes once no other container may run there.
	EventPinned = "Pinned"
	// EventMoved: the kubelet changed the grant under the running guest, whose threads followed. The message has both
	// grants, and old and new CPUs of each thread.
	EventMoved = "Moved"
	// EventDriftRepaired: threads were found elsewhere and put back. The message has old and new CPUs.
	EventDriftRepaired = "DriftRepaired"
	// EventMisplaced: threads are not where they belong, and the mode is observe.
	EventMisplaced = "Misplaced"
	// EventCannotPin: not all threads of the guest are pinned. The message has the reason and what to do.
	EventCannotPin = "CannotPin"
	// EventNotExclusive: a VM that asked for dedicated CPUs has none. The message has the cause.
	EventNotExclusive = "NotExclusive"
	// EventConfined: KubeVirt's housekeeping cgroup keeps an IO thread or the emulator off the CPUs that it belongs on.
	EventConfined = "Confined"
	// EventVCPUConfined: KubeVirt's housekeeping cgroup keeps a vCPU off its own CPU.
	EventVCPUConfined = "VCPUConfined"
	// EventInvalidPeriod: the VMI's PeriodAnnotation is not understood. The message has it and what is wanted.
	EventInvalidPeriod = "InvalidPeriod"
	// EventCPUConflict: two VMs that must each have their CPUs to themselves may run on the same one. The message has the
	// CPUs, and the other VM where it is of the same namespace. It is written on the Node too, with both names.
	EventCPUConflict = "CPUConflict"
)

// tellPinned tells of pins that were read back.
func (w *worker) tellPinned(made *change, granted cpuset.Set) {
	message := fmt.Sprintf("%s; granted %s", made.pins, granted)
	if moves(made.steps) {
		message = "moved " + list(made.steps) + "; now " + message
	}
	if made.cause == placed || w.proof.pinned != "" {
		w.proof.pinned = message // to be told with its proof
	}
	switch made.cause {
	case repaired:
		w.event(corev1.EventTypeWarning, EventDriftRepaired, message)
	case regranted:
		w.event(corev1.EventTypeWarning, EventMoved, fmt.Sprintf("the kubelet granted CPUs %s in place of %s: %s", granted, made.before, message))
	}
}

// tellMisplaced tells, in mode observe, which threads would be pinned.
func (w *worker) tellMisplaced(drift string, granted cpuset.Set) {
	w.tellOnce(EventMisplaced, "not where they should be: "+drift+"; granted "+granted.String()+
		"; nothing is changed, since pinning.mode of the agent is observe")
}

// tellProblem tells a problem that has lasted for its patience.
func (w *worker) tellProblem(p *problem, text string) {
	eventReason := EventCannotPin
	switch p.reason {
	case reasonNoGrant:
		eventReason = EventNotExclusive
	case reasonHousekeeping:
		eventReason = EventVCPUConfined
	}
	w.tellOnce(eventReason, text+"; "+p.nextStep())
}

// tellConfined tells, once, which threads KubeVirt confines. They stay there, so that nothing is retried.
func (w *worker) tellConfined(confined []stuckThread) {
	text := list(confined)
	if text == w.confined {
		return
	}
	w.confined = text
	if text != "" {
		w.event(corev1.EventTypeWarning, EventConfined, text+
			"; it is left there; run the VM without isolateEmulatorThread or with another ioThreadsPolicy to give it that CPU")
	}
}

// tellOnce writes a Warning unless it is what was told last.
func (w *worker) tellOnce(reason, message string) {
	if w.complaints.told == reason+message {
		return
	}
	w.event(corev1.EventTypeWarning, reason, message)
	w.complaints.told = reason + message
}

// tellConflicts writes the events about other VMs that may run on CPUs of this one. This VM's owner reads their names only
// within the own namespace; the Node's event has every name.
func (w *worker) tellConflicts(conflicts []ledger.Conflict) {
	if len(conflicts) == 0 {
		return
	}
	var own, all []string
	for _, c := range conflicts {
		all = append(all, c.String())
		if c.With.Namespace != w.launcher.VMI.Namespace {
			own = append(own, fmt.Sprintf("CPU %s with a VM of another namespace", c.CPUs))
			continue
		}
		own = append(own, c.String())
	}
	vm := w.launcher.VMI.String()
	w.event(corev1.EventTypeWarning, EventCPUConflict, "critical: VM "+vm+" shares "+strings.Join(own, ", ")+
		", and neither has it to itself; "+
		"compare the kubelet's cpu_manager_state with the containers' cpusets, and restart or migrate one of the VMs")
	if w.options.Node == nil || w.deleted {
		return
	}
	node := w.options.Node()
	if node != nil {
		w.options.Recorder.Event(node, corev1.EventTypeWarning, EventCPUConflict,
			ledger.Shorten("critical: two VMs on one CPU: VM "+vm+" shares "+strings.Join(all, ", ")))
	}
}

// event writes an Event on the pod, and a Warning on its VMI too. It writes none about a pod that only the node knows.
func (w *worker) event(eventType, reason, message string) {
	if w.deleted || w.pod.Name == "" {
		return
	}
	message = ledger.Shorten(message)
	w.options.Recorder.Event(w.pod, eventType, reason, message)
	if w.vmRef != nil && eventType == corev1.EventTypeWarning {
		w.options.Recorder.Event(w.vmRef, eventType, reason, message)
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
