// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

func clusterWithout() *fake.FakeDynamicClient {
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{v1alpha1.Resource: "NodeCPUList"})
}

func reportNamed(name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion(v1alpha1.GroupVersion.String())
	object.SetKind(v1alpha1.Kind)
	object.SetName(name)
	return object
}

// Changed is called at first and for each change. Changes while it runs are one. The end of the context is no error.
func TestWatchUntil(t *testing.T) {
	reports := clusterWithout().Resource(v1alpha1.Resource)
	create := func(names ...string) {
		for _, name := range names {
			if _, err := reports.Create(t.Context(), reportNamed(name), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, interrupt := context.WithCancel(t.Context())
	calls := 0
	err := watchUntil(ctx, reports, func(ctx context.Context) error {
		calls++
		switch calls {
		case 1:
			create("n1")
		case 2:
			create("n2", "n3", "n4")
		case 3:
			interrupt()
			return ctx.Err()
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("%d calls, error %v; want 3 and none", calls, err)
	}
}

func TestWatchThatFails(t *testing.T) {
	client := clusterWithout()
	forbidden := apierrors.NewForbidden(v1alpha1.Resource.GroupResource(), "", errors.New("no right"))
	client.PrependWatchReactor("nodecpus", clienttesting.DefaultWatchReactor(nil, forbidden))
	err := watchUntil(t.Context(), client.Resource(v1alpha1.Resource), func(context.Context) error {
		t.Error("changed is called")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "watching NodeCPU objects") || !strings.Contains(err.Error(), "ClusterRole corepin-explain") {
		t.Errorf("error %v", err)
	}
	broken := errors.New("no space left")
	err = watchUntil(t.Context(), clusterWithout().Resource(v1alpha1.Resource), func(context.Context) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want that of changed", err)
	}
}
