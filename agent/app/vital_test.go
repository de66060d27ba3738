// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// The agent is ready only while its report is what the kubelet has.
func TestVital(t *testing.T) {
	now := time.Unix(10_000, 0)
	failed := errors.New("input/output error")
	for name, test := range map[string]struct {
		change func(v *vital)
		want   string // "" is ready
	}{
		"all is well":           {func(*vital) {}, ""},
		"not published":         {func(v *vital) { v.published = func() bool { return false } }, "not published yet"},
		"a change just came":    {func(v *vital) { v.behind = func() time.Duration { return 20 * time.Second } }, ""},
		"a change waits":        {func(v *vital) { v.behind = func() time.Duration { return 21 * time.Second } }, "a change of 21s ago is not in the report"},
		"a read is late":        {func(v *vital) { v.looked = func() time.Time { return now.Add(-30 * time.Second) } }, ""},
		"a read does not end":   {func(v *vital) { v.looked = func() time.Time { return now.Add(-31 * time.Second) } }, "have not been read for 31s"},
		"no read ever ended":    {func(v *vital) { v.looked = func() time.Time { return time.Time{} } }, "have not been read for"},
		"reading failed now":    {checkpoint(true, failed, now.Add(-29*time.Second)), ""},
		"reading fails":         {checkpoint(true, failed, now.Add(-31*time.Second)), "has failed for 31s: input/output error"},
		"it could never read":   {checkpoint(false, failed, now.Add(-time.Hour)), ""}, // the report says so
		"a watch begins anew":   {func(v *vital) { v.line = &line{lost: now.Add(-3 * time.Second)} }, ""},
		"no watch can be made":  {func(v *vital) { v.line = &line{lost: now.Add(-4 * time.Second)} }, "API server has not been reached for 4s"},
		"a watch is open since": {func(v *vital) { v.line = &line{open: 1, lost: now.Add(-time.Hour)} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := &vital{
				published: func() bool { return true }, behind: func() time.Duration { return 0 }, looked: func() time.Time { return now },
				kubelet: func() *kubelet.State { return &kubelet.State{} }, line: &line{open: 1}, clock: testclock.NewFakePassiveClock(now),
			}
			test.change(v)
			err := v.Check()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func checkpoint(known bool, err error, since time.Time) func(*vital) {
	state := &kubelet.State{Checkpoint: source.Reading[kubelet.Checkpoint]{Known: known, Err: err, Since: since}}
	return func(v *vital) { v.kubelet = func() *kubelet.State { return state } }
}

// watches opens a watch, or fails.
type watches struct {
	listed[*unstructured.UnstructuredList]
	err  error
	last *watch.FakeWatcher
}

func (w *watches) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	w.last = watch.NewFake()
	return w.last, w.err
}

func TestLineFollowsTheWatch(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(0, 0))
	l := newLine(clock)
	inner := &watches{err: errors.New("connection refused")}
	from := listening[*unstructured.UnstructuredList]{inner, l}
	after := func(d time.Duration) time.Duration {
		clock.SetTime(clock.Now().Add(d))
		return l.Down(clock.Now())
	}
	if _, err := from.Watch(t.Context(), metav1.ListOptions{}); err == nil || after(time.Second) != time.Second {
		t.Errorf("a watch that could not be opened: %v", err)
	}
	inner.err = nil
	w, err := from.Watch(t.Context(), metav1.ListOptions{})
	if err != nil || after(time.Hour) != 0 {
		t.Errorf("an open watch: %v", err)
	}
	w.Stop()
	w.Stop()
	if down := after(time.Minute); down != time.Minute || !inner.last.IsStopped() {
		t.Errorf("a minute after the end of a watch it is down for %s", down)
	}
	if _, err := from.Watch(t.Context(), metav1.ListOptions{}); err != nil || after(time.Second) != 0 {
		t.Error("a watch that is opened again")
	}
}

func TestSelf(t *testing.T) {
	bound := map[string]any{
		"username": "system:serviceaccount:other:corepin-agent",
		"extra": map[string]any{
			"authentication.kubernetes.io/pod-name": []any{"agent-x7k2p"}, "authentication.kubernetes.io/pod-uid": []any{"uid-1"},
		},
	}
	forbidden := apierrors.NewForbidden(authenticationv1.Resource("selfsubjectreviews"), "", nil)
	down := errors.New("connection refused")
	for name, test := range map[string]struct {
		user map[string]any
		err  error
		want *v1alpha1.AgentPod
	}{
		"a pod":                {bound, nil, &v1alpha1.AgentPod{Namespace: "other", Name: "agent-x7k2p", UID: "uid-1"}},
		"a token of no pod":    {map[string]any{"username": "system:serviceaccount:other:corepin-agent"}, nil, nil},
		"a person":             {map[string]any{"username": "admin", "extra": bound["extra"]}, nil, nil},
		"it is forbidden":      {nil, forbidden, nil},
		"the API does not say": {nil, down, nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
			asked := 0
			client.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
				asked++
				return true, &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"userInfo": test.user}}}, test.err
			})
			s := &self{client: client}
			for range 2 {
				pod, err := s.Pod(t.Context())
				if (err != nil) != errors.Is(test.err, down) {
					t.Errorf("error %v", err)
				}
				if (pod == nil) != (test.want == nil) || pod != nil && *pod != *test.want {
					t.Errorf("got %v, want %v", pod, test.want)
				}
			}
			if want := map[bool]int{true: 2, false: 1}[errors.Is(test.err, down)]; asked != want {
				t.Errorf("asked %d times, want %d", asked, want)
			}
		})
	}
}
