// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
)

func logger(t testing.TB) klog.Logger { return ktesting.NewLogger(t, ktesting.NewConfig()) }

// running is a view that watches a fake API server.
type running struct {
	*View
	client   *fake.FakeDynamicClient
	log      ktesting.Buffer
	changed  atomic.Int32
	settled  atomic.Int32
	reported atomic.Int32
}

func run(t *testing.T, prepare func(client *fake.FakeDynamicClient), reports ...runtime.Object) *running {
	t.Helper()
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{v1alpha1.Resource: "NodeCPUList"}, reports...)
	if prepare != nil {
		prepare(client)
	}
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true), ktesting.Verbosity(2)))
	r := &running{View: newView(), client: client, log: logger.GetSink().(ktesting.Underlier).GetBuffer()}
	ctx, stop := context.WithCancel(klog.NewContext(t.Context(), logger))
	done := make(chan error)
	go func() {
		done <- r.Run(ctx, client, Events{
			Changed:  func(string, bool) { r.changed.Add(1) },
			Reported: func(string, Change) { r.reported.Add(1) },
			Settled:  func() { r.settled.Add(1) },
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return r
}

func (r *running) await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 30*time.Second, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("%s: not within 30 s; state %s, changed %d, settled %d", what,
			r.now(), r.changed.Load(), r.settled.Load())
	}
}

// now is what the view knows of node n1.
func (r *running) now() nodereport.State { return r.predict(demand(vm("new", "2")), nodeInfo()).State }

func (r *running) state(want nodereport.State) func() bool {
	return func() bool { return r.now() == want }
}

func TestRunFollowsTheReports(t *testing.T) {
	r := run(t, nil, object(t, nodeCPU(nil)))
	r.await(t, "listed", func() bool { return r.settled.Load() == 1 })
	if !r.state(nodereport.Exact)() {
		t.Fatal("the report that was there is not in the view")
	}
	reports := r.client.Resource(v1alpha1.Resource)
	update := func(o *unstructured.Unstructured) {
		t.Helper()
		if _, err := reports.Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	torn := nodeCPU(nil)
	torn.Status.SharedCPUs = "0-"
	update(object(t, torn))
	r.await(t, "an unreadable report", r.state(nodereport.Awaited))
	update(object(t, nodeCPU(grants{"a": compute("1,9")})))
	r.await(t, "a good one again", r.state(nodereport.Exact))
	if err := reports.Delete(t.Context(), "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.await(t, "deleted", r.state(nodereport.Awaited))
	if got := r.changed.Load(); got != 3 {
		t.Errorf("told %d changes, want 3: of the first list, that it is settled", got)
	}
}

func TestRunWithoutTheCRD(t *testing.T) {
	var missing atomic.Bool
	missing.Store(true)
	var tries atomic.Int32
	r := run(t, func(client *fake.FakeDynamicClient) {
		client.PrependReactor("list", "nodecpus", func(clienttesting.Action) (bool, runtime.Object, error) {
			tries.Add(1)
			return missing.Load(), nil, apierrors.NewNotFound(v1alpha1.Resource.GroupResource(), "")
		})
	}, object(t, nodeCPU(nil)))
	r.await(t, "settled without a list", func() bool { return r.settled.Load() == 1 && r.state(nodereport.Unlisted)() })
	r.await(t, "another try", func() bool { return tries.Load() > 1 })
	missing.Store(false)
	r.await(t, "the CRD is there", func() bool { return r.state(nodereport.Exact)() })
	if got := r.settled.Load(); got != 1 {
		t.Errorf("settled %d times", got)
	}
	if said := strings.Count(r.log.String(), "cannot watch a custom resource"); said != 1 {
		t.Errorf("said %d times that there is no CRD, want once; the log:\n%s", said, r.log.String())
	}
	if !strings.Contains(r.log.String(), "apply the NodeCPU CRD") {
		t.Errorf("the log does not say what to do:\n%s", r.log.String())
	}
}
