// SPDX-License-Identifier: Apache-2.0

package explaining

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
)

// A scheduling cycle never waits, however many questions are open.
func TestAskDoesNotBlock(t *testing.T) {
	e := New(&events.FakeRecorder{}, testclock.NewFakePassiveClock(time.Unix(1000, 0)))
	for range 2 * maxQuestions {
		e.Ask(Question{Pod: &corev1.Pod{}})
	}
	if open := len(e.questions); open != maxQuestions {
		t.Errorf("%d questions are open, want %d", open, maxQuestions)
	}
}

// Texts are limited in number; equal texts are sent once, each with an action of its own.
func TestTell(t *testing.T) {
	recorder := events.NewFakeRecorder(20)
	clock := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	e := New(recorder, clock)
	pod := &corev1.Pod{}
	pod.UID = "uid"
	q := &Question{Pod: pod, About: []*corev1.ObjectReference{{Kind: "VirtualMachineInstance"}, {Kind: "VirtualMachine"}}}
	for i := range 10 {
		e.tell(q, "the same")
		e.tell(q, fmt.Sprint("text ", i))
	}
	if got := len(recorder.Events); got != 3*maxTold {
		t.Errorf("%d events, want %d on each of three objects", got, maxTold)
	}
	if got := <-recorder.Events; !strings.HasSuffix(got, "As of 00:16:40 UTC: the same") {
		t.Errorf("the event does not say as of when it is true: %s", got)
	}
	if e.Due(pod.UID) || !e.Due("another") {
		t.Error("a pod with enough events is due, or another is not")
	}
	clock.SetTime(clock.Now().Add(retellAfter))
	if !e.Due(pod.UID) {
		t.Error("the pod is not due when its events are old")
	}
}
