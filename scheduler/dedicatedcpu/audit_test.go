package dedicatedcpu

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodeview"
)

// bound takes a pod as far as Reserve.
func (b *fixture) bound(t *testing.T, pod *corev1.Pod, info fwk.NodeInfo) fwk.CycleState {
	t.Helper()
	state := b.preFilter(t, pod)
	if status := b.Filter(t.Context(), state, pod, info); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	b.Reserve(t.Context(), state, pod, info.Node().Name)
	onNode(pod, info.Node().Name)
	return state
}

func TestWhatBecomesOfPredictions(t *testing.T) {
	registerMetrics()
	legacyregistry.Reset()
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	b.listed(t)
	info, silent := b.node(t, "n1"), b.node(t, "n2")

	refused, moved, guessed := launcherPod("refused", "2"), launcherPod("moved", "2"), launcherPod("guessed", "2")
	for _, pod := range []*corev1.Pod{refused, moved, guessed} {
		where := info
		if pod == guessed {
			where = silent
		}
		state := b.bound(t, pod, where)
		if want := pod != guessed; b.view.Expects(pod) != want {
			t.Errorf("pod %s is expected: %t, want %t", pod.Name, !want, want)
		}
		if pod == moved {
			b.Unreserve(t.Context(), state, pod, "n1")
			if b.view.Expects(pod) {
				t.Error("a pod that was not bound after all is expected still")
			}
		}
	}
	ended := refused.DeepCopy()
	ended.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "TopologyAffinityError", Message: "Resources cannot be allocated with Topology locality"}
	b.client = fake.NewClientset(ended)
	about := b.view.Ended(refused)
	if about == nil || b.view.Ended(refused) != nil {
		t.Fatal("it is to be asked once how the pod ended")
	}
	b.inquire(t.Context(), refused, about)
	compared(logger(t), "n1", nodeview.Comparison{Pods: 3})
	compared(logger(t), "n1", nodeview.Comparison{Pods: 1, Scenario: "machine"})
	want := `
# HELP corepin_prediction_total [ALPHA] Pods bound on an exact prediction, by whether their kubelet did what was predicted: match or mismatch. Pods for which this is not known are not counted.
# TYPE corepin_prediction_total counter
corepin_prediction_total{result="match"} 3
corepin_prediction_total{result="mismatch"} 2
`
	if err := testutil.GatherAndCompare(legacyregistry.DefaultGatherer, strings.NewReader(want), "corepin_prediction_total"); err != nil {
		t.Error(err)
	}
}

// silent is an API server that does not answer. It records how long it was given.
type silent struct{ given chan time.Duration }

func (s silent) RoundTrip(request *http.Request) (*http.Response, error) {
	until, _ := request.Context().Deadline()
	s.given <- time.Until(until)
	return nil, context.DeadlineExceeded
}

// An API server that does not say how a pod ended is not asked for ever.
func TestInquireHasAnEnd(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	pod, server := launcherPod("ended", "2"), silent{make(chan time.Duration, 1)}
	b.bound(t, pod, b.node(t, "n1"))
	client, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: "http://nobody.invalid"}, &http.Client{Transport: server})
	if err != nil {
		t.Fatal(err)
	}
	b.client = client
	b.podEvents(t.Context()).OnDelete(pod)
	if given := <-server.given; given <= 0 || given > answerWithin {
		t.Errorf("the API server was given %s", given)
	}
	if b.view.Expects(pod) {
		t.Error("the pod is expected still")
	}
}

// While nothing is known a VM is kept out of the queue, and let in when the lists have come. Other pods do not wait.
func TestPreEnqueue(t *testing.T) {
	b, vm, plain := newFixture(config.DedicatedCPUArgs{}), launcherPod("vm", "2"), guaranteedPod("plain", "2")
	for _, pod := range []*corev1.Pod{vm, plain} {
		if err := b.podLister.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	if status := b.PreEnqueue(t.Context(), vm); status.Code() != fwk.Pending || status.Message() != listing {
		t.Errorf("a VM at the start: %s %q", status.Code(), status.Message())
	}
	if status := b.PreEnqueue(t.Context(), plain); !status.IsSuccess() {
		t.Errorf("another pod at the start: %q", status.Message())
	}
	b.wakeAll()
	b.expectWoken(t, "the lists have come", "vms/vm")
	b.listed(t)
	if status := b.PreEnqueue(t.Context(), vm); !status.IsSuccess() {
		t.Errorf("a VM when the reports are listed: %q", status.Message())
	}
}
