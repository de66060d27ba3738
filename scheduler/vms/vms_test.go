// SPDX-License-Identifier: Apache-2.0

package vms

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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
)

var demo = types.NamespacedName{Namespace: "vms", Name: "demo"}

// object is VMI demo with so many cores.
func object(cores any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
		"metadata": map[string]any{
			"namespace": "vms", "name": "demo", "uid": "u1",
			"annotations": map[string]any{"alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity": "", "other": "x"},
			"labels":      map[string]any{"kubevirt.io/nodeName": "n1"},
		},
		"spec": map[string]any{"domain": map[string]any{"cpu": map[string]any{"cores": cores, "dedicatedCpuPlacement": true}}},
	}}
}

// running is a view that watches a fake API server.
type running struct {
	*View
	client           *fake.FakeDynamicClient
	log              ktesting.Buffer
	changed, settled atomic.Int32
}

func run(t *testing.T, prepare func(client *fake.FakeDynamicClient), vmis ...runtime.Object) *running {
	t.Helper()
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{Resource: "VirtualMachineInstanceList"}, vmis...)
	prepare(client)
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true), ktesting.Verbosity(2)))
	r := &running{View: New(client), client: client, log: logger.GetSink().(ktesting.Underlier).GetBuffer()}
	ctx, stop := context.WithCancel(klog.NewContext(t.Context(), logger))
	done := make(chan error)
	go func() {
		done <- r.Run(ctx, Events{
			Changed: func(types.NamespacedName) { r.changed.Add(1) },
			Settled: func() { r.settled.Add(1) },
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
		machine, ok, err := r.Get(demo, "")
		t.Fatalf("%s: not within 30 s; the view has %+v, %t, %v; changed %d, settled %d", what, machine, ok, err, r.changed.Load(), r.settled.Load())
	}
}

func (r *running) cores(want int64) func() bool {
	return func() bool {
		machine, ok, err := r.Get(demo, "u1")
		return ok && err == nil && machine.VCPUs() == want
	}
}

func TestRunFollowsTheVMIs(t *testing.T) {
	r := run(t, func(*fake.FakeDynamicClient) {}, object(int64(2)))
	r.await(t, "listed", func() bool { return r.settled.Load() == 1 && !r.Starting() })
	r.await(t, "the VMI that was there", r.cores(2))
	machine, _, _ := r.Get(demo, "")
	if len(machine.Annotations) != 1 || machine.Labels != nil {
		t.Errorf("kept %+v", machine)
	}
	if _, ok, _ := r.Get(demo, "u0"); ok {
		t.Error("a VMI of another UID was given")
	}
	client := r.client.Resource(Resource).Namespace("vms")
	update := func(o *unstructured.Unstructured) {
		t.Helper()
		if _, err := client.Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	running := object(int64(2))
	running.Object["status"] = map[string]any{"phase": "Running"}
	update(running)
	update(object(int64(4)))
	r.await(t, "a hotplug", r.cores(4))
	if got := r.changed.Load(); got != 1 {
		t.Errorf("%d changes were reported, want 1: a status asks for nothing new", got)
	}
	update(object("four"))
	r.await(t, "a VMI that cannot be read", func() bool {
		_, ok, err := r.Get(demo, "u1")
		return ok && err != nil && strings.Contains(err.Error(), "spec.domain.cpu.cores")
	})
	if err := client.Delete(t.Context(), "demo", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.await(t, "deleted", func() bool { _, ok, _ := r.Get(demo, ""); return !ok })
	told := r.changed.Load()
	if _, err := client.Create(t.Context(), object(int64(2)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.await(t, "a VMI that is created after its pod may have been judged", func() bool { return r.changed.Load() == told+1 })
}

func TestRunWithoutTheCRD(t *testing.T) {
	var missing atomic.Bool
	var tries atomic.Int32
	missing.Store(true)
	r := run(t, func(client *fake.FakeDynamicClient) {
		client.PrependReactor("list", Resource.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			tries.Add(1)
			return missing.Load(), nil, apierrors.NewNotFound(Resource.GroupResource(), "")
		})
	}, object(int64(2)))
	r.await(t, "settled without a list", func() bool { return r.settled.Load() == 1 && !r.Starting() })
	r.await(t, "another try", func() bool { return tries.Load() > 1 })
	missing.Store(false)
	r.await(t, "the CRD is there", r.cores(2))
	if got := r.settled.Load(); got != 1 {
		t.Errorf("settled %d times", got)
	}
	if said := strings.Count(r.log.String(), "cannot watch a custom resource"); said != 1 {
		t.Errorf("said %d times that there is no CRD, want once; the log:\n%s", said, r.log.String())
	}
}
