// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2/ktesting"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// A pod is compared once, and a pod that went unseen leaves doubt about one report only.
func TestComparedOnce(t *testing.T) {
	f := newFixture(t, nil)
	f.report(nodeCPU(nil))
	unseen := vm("unseen", "2")
	f.expect(vm("a", "2"), unseen)
	if got := f.report(nodeCPU(grants{"a": compute("1,9")})).pods; got != 1 {
		t.Errorf("compared %d pods, want a", got)
	}
	if got := f.report(nodeCPU(nil)).pods; got != 0 {
		t.Errorf("a has gone: compared %d", got)
	}
	f.Forget(unseen.UID)
	f.expect(vm("b", "2"))
	if got := f.report(nodeCPU(grants{"b": compute("2,10")})).pods; got != 0 {
		t.Errorf("the one unseen may have held 1,9 for a while: compared %d", got)
	}
	f.expect(vm("c", "2"))
	if got := f.report(nodeCPU(grants{"b": compute("2,10"), "c": compute("1,9")})).pods; got != 1 {
		t.Errorf("compared %d pods, want c", got)
	}
	if len(f.nodes)+len(f.where) > 0 {
		t.Errorf("expected still: %v, %v", f.nodes, f.where)
	}
}

// A pod that the view saw go may have held CPUs, even before its end is known.
func TestNotComparedAfterAPodWentUnseen(t *testing.T) {
	f := newFixture(t, nil)
	f.report(nodeCPU(nil))
	f.see()
	gone := vm("gone", "2")
	f.expect(gone)
	f.see(gone)
	f.see()
	f.expect(vm("b", "2"))
	if got := f.report(nodeCPU(grants{"b": compute("2,10")})).pods; got != 0 {
		t.Errorf("the one that has gone may have held CPUs 1,9 for a while: compared %d", got)
	}
}

func refusedPod() *corev1.Pod {
	pod := vm("a", "2")
	pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "TopologyAffinityError", Message: "Resources cannot be allocated with Topology locality"}
	return pod
}

const refusalScenario = `# kubelet 1.36
machine 2 sockets x 1 numa x 4 cores x 2 threads
cpu-manager full-pcpus-only
topology-manager single-numa-node container
reserved 0,8
add held-1: compute 2
add a: compute 2, hook shared
= refused: TopologyAffinityError: Resources cannot be allocated with Topology locality
`

// What the API server says of a pod that ended before its report, and in which state kube-scheduler last saw it.
func TestRefused(t *testing.T) {
	succeeded := vm("a", "2")
	succeeded.Status.Phase = corev1.PodSucceeded
	another := refusedPod()
	another.UID = "another"
	unbound := vm("a", "2")
	unbound.Spec.NodeName = "" // the watch missed the rest (DeletedFinalStateUnknown)
	ran := vm("a", "2")
	ran.Status.Phase = corev1.PodRunning
	deleted := vm("a", "2")
	deleted.DeletionTimestamp = &metav1.Time{}
	for name, test := range map[string]struct {
		now      *corev1.Pod
		seen     *corev1.Pod
		expected bool
		inexact  bool
		want     string
	}{
		"refused":                        {now: refusedPod(), seen: vm("a", "2"), expected: true, want: refusalScenario},
		"last seen without node":         {now: refusedPod(), seen: unbound, expected: true, want: refusalScenario},
		"nobody expected it":             {now: refusedPod(), seen: vm("a", "2")},
		"it ran, so nobody is asked":     {now: refusedPod(), seen: ran, expected: true},
		"it was about to be deleted":     {now: refusedPod(), seen: deleted, expected: true},
		"it ended well":                  {now: succeeded, seen: vm("a", "2"), expected: true},
		"there is another now":           {now: another, seen: vm("a", "2"), expected: true},
		"there is none now":              {seen: vm("a", "2"), expected: true},
		"the node is not exact any more": {now: refusedPod(), seen: vm("a", "2"), expected: true, inexact: true},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			if test.now != nil {
				client = fake.NewClientset(test.now)
			}
			f := newFixture(t, client)
			f.report(nodeCPU(grants{"x": compute("1,9")}))
			if test.expected {
				f.expect(vm("a", "2"))
			}
			if test.inexact {
				f.report(nodeCPU(nil, func(nc *v1alpha1.NodeCPU) { nc.Status.Format = v1alpha1.FormatVersion + 1 }))
			}
			if got := f.Expects("a"); got != test.expected {
				t.Errorf("expected: %t", got)
			}
			if got := f.end(test.seen); got.scenario != test.want {
				t.Errorf("scenario:\n%s\nwant:\n%s", got.scenario, test.want)
			}
			if f.Expects("a") || f.end(test.seen).pods > 0 {
				t.Error("the pod is expected still")
			}
		})
	}
}

// silent is an API server that does not answer. It notes how long it was given.
type silent struct{ given chan time.Duration }

func (s silent) RoundTrip(request *http.Request) (*http.Response, error) {
	until, _ := request.Context().Deadline()
	s.given <- time.Until(until)
	return nil, context.DeadlineExceeded
}

// An API server that does not answer holds up nothing for long, and no more than a bounded number of questions wait for it.
func TestTheAPIServerIsSilent(t *testing.T) {
	server := silent{make(chan time.Duration, 1)}
	client, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: "http://nobody.invalid"}, &http.Client{Transport: server})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, client)
	f.report(nodeCPU(nil))
	for i := range 2 * maxQueued {
		pod := vm(fmt.Sprint(i), "2")
		f.expect(pod)
		f.Ended(pod)
	}
	if got := len(f.queue); got != maxQueued {
		t.Errorf("%d inquiries wait", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	if given := <-server.given; given <= 0 || given > answerWithin {
		t.Errorf("the API server was given %s", given)
	}
	stop()
	go func() {
		for range server.given {
		}
	}()
	<-done
	close(server.given)
}

func TestMetrics(t *testing.T) {
	RegisterMetrics()
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	count(logger, "n1", 3, "")
	count(logger, "n1", 1, "machine x")
	want := `
# HELP corepin_scheduler_predictions_total [ALPHA] Pods bound on an exact prediction, by whether their kubelet then did what was predicted: match or mismatch. A pod is not counted where that cannot be compared.
# TYPE corepin_scheduler_predictions_total counter
corepin_scheduler_predictions_total{result="match"} 3
corepin_scheduler_predictions_total{result="mismatch"} 1
`
	if err := testutil.GatherAndCompare(legacyregistry.DefaultGatherer, strings.NewReader(want), "corepin_scheduler_predictions_total"); err != nil {
		t.Error(err)
	}
	if text := logger.GetSink().(ktesting.Underlier).GetBuffer().String(); strings.Count(text, "machine x") != 1 {
		t.Errorf("the log says %q", text)
	}
}
