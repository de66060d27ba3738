// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/agent/exclusive"
	"corepin.dev/corepin/pkg/cpuset"
)

const (
	// EventExclusive: no other container may run on the VM's CPUs. The message has since when, and who might before.
	EventExclusive = "Exclusive"
	// EventOthersMayRun: other containers may run on the VM's CPUs, and have for longer than the kubelet takes to confine
	// them. The message has who they are.
	EventOthersMayRun = "OthersMayRun"
	// EventCPUTimeLost: for three minutes in a row, much of the time of the VM's CPUs went elsewhere. The message has how much,
	// and where.
	EventCPUTimeLost = "CPUTimeLost"
	// EventMemoryAway: much of the VM's memory is on NUMA nodes where it has no CPU. The message has how much.
	EventMemoryAway = "MemoryAway"
	// EventInterrupted: interrupts of devices go to CPUs of a VM with realtime. The message has which.
	EventInterrupted = "Interrupted"
	// EventVCPUWaits: for three minutes in a row, a vCPU was ready to run and waited for its CPU for more than the
	// configuration's waitLimitPercent. The message has which, and how much of the last minute.
	EventVCPUWaits = "VCPUWaits"
)

// proof is what a worker has told of who else may run on its guest's CPUs.
type proof struct {
	// pinned is the message of an event Pinned that waits for the proof; "" where none does.
	pinned string
	// shared is the last message of EventOthersMayRun; "" once the VM is alone.
	shared string
	// loss, away and interrupts are the last messages of EventCPUTimeLost, EventMemoryAway and EventInterrupted.
	loss, away, interrupts string
	// alone is the grant of which EventExclusive was written.
	alone cpuset.Set
}

// tellExclusive tells who else may run on the guest's CPUs. An event Pinned waits until nobody may, since readers take granted
// CPUs for CPUs that nobody else uses. A verdict that was there before the agent began is not told.
func (w *worker) tellExclusive(v exclusive.Verdict, granted cpuset.Set) {
	w.tellChanged(&w.proof.loss, EventCPUTimeLost, v.Loss, "of the time of CPUs "+granted.String()+", ")
	w.tellChanged(&w.proof.away, EventMemoryAway, v.Away, "")
	w.tellChanged(&w.proof.interrupts, EventInterrupted, v.Interrupts, "the VM asks for realtime, and interrupts go to its CPUs: ")
	switch v.State {
	case exclusive.Pending:
		return
	case exclusive.Shared:
		if v.Lasting {
			w.tellShared(v, granted)
		}
		return
	case exclusive.Alone:
		news := v.Witnessed && w.proof.alone != granted || w.proof.shared != ""
		if news && w.state.phase == pinned {
			w.proof.alone = granted
			w.proof.shared = ""
			w.event(corev1.EventTypeNormal, EventExclusive, aloneSince(v, granted))
		}
	}
	if w.proof.pinned != "" {
		w.event(corev1.EventTypeNormal, EventPinned, w.proof.pinned)
		w.proof.pinned = ""
	}
}

// tellChanged writes a Warning when its words have changed, and none when there are none any more.
func (w *worker) tellChanged(last *string, reason, text, before string) {
	if text == *last {
		return
	}
	*last = text
	if text != "" {
		w.event(corev1.EventTypeWarning, reason, before+text)
	}
}

// tellShared tells, once for each change, that others may run on the guest's CPUs.
func (w *worker) tellShared(v exclusive.Verdict, granted cpuset.Set) {
	message := "CPUs " + granted.String() + " are granted to this VM, and since " + v.Since.UTC().Format(time.RFC3339) + " also " + v.Others +
		" may run there; the kubelet confines containers each time it reconciles: see its log for updates that fail, and find what else writes cpusets"
	if message == w.proof.shared {
		return
	}
	w.proof.shared = message
	w.event(corev1.EventTypeWarning, EventOthersMayRun, message)
}

func aloneSince(v exclusive.Verdict, granted cpuset.Set) string {
	message := "no other container may run on CPUs " + granted.String() + " since " + v.Since.UTC().Format(time.RFC3339)
	if v.Others != "" {
		message += "; until then also " + v.Others
	}
	if v.Siblings != "" {
		message += "; of the other hardware threads of its cores, " + v.Siblings + ": set full-pcpus-only in the kubelet's configuration, or give the VM whole cores"
	}
	return message
}
