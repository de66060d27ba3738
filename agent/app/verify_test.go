// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// installed is an API server with corepin on one node; a leader renews its lease before each look.
func installed(ready int32, exact string) *verifier {
	meta := metav1.ObjectMeta{Name: "corepin-scheduler", Namespace: "here"}
	client := fake.NewClientset(
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2)}, Status: appsv1.DeploymentStatus{ReadyReplicas: 2}},
		&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: daemonSet, Namespace: "here"}, Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 1, NumberReady: ready}},
	)
	renewed := time.Unix(0, 0)
	client.PrependReactor("get", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		renewed = renewed.Add(time.Second)
		spec := coordinationv1.LeaseSpec{HolderIdentity: ptr.To("one"), RenewTime: ptr.To(metav1.NewMicroTime(renewed))}
		return true, &coordinationv1.Lease{ObjectMeta: meta, Spec: spec}, nil
	})
	report := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.Kind, "metadata": map[string]any{"name": "n1"},
		"status": map[string]any{"conditions": []any{map[string]any{"type": v1alpha1.ConditionExact, "status": exact, "message": "policy none"}}},
	}}
	kinds := map[schema.GroupVersionResource]string{v1alpha1.Resource: "NodeCPUList"}
	reports := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, report)
	return &verifier{apps: client.AppsV1(), leases: client.CoordinationV1(), reports: reports, namespace: "here", lease: "here/corepin-scheduler"}
}

func TestVerifyInstallation(t *testing.T) {
	for name, tc := range map[string]struct {
		ready int32
		exact string
		err   error
		want  []string
	}{
		"all is right":        {1, "True", nil, []string{`ok       leader      "one" leads`, "ok       schedulers  2 of 2", "ok       agents      1 of 1", "ok       nodes       1 of 1"}},
		"an agent is missing": {0, "True", errNotInstalled, []string{"PROBLEM  agents      0 of 1 pods ready", "more: kubectl describe pods -n here"}},
		"no node is exact":    {1, "False", errNotInstalled, []string{`PROBLEM  nodes       0 of 1 predicted exactly; n1: "policy none"`, "more: kubectl describe nodecpus"}},
	} {
		var out strings.Builder
		if err := installed(tc.ready, tc.exact).run(t.Context(), &out, time.Millisecond, 300*time.Millisecond); !errors.Is(err, tc.err) {
			t.Errorf("%s: error %v, want %v", name, err, tc.err)
		}
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: it prints\n%swant %q", name, out.String(), want)
			}
		}
	}
}

// What cannot be read is an error that names it, and not an installation in which all is right.
func TestVerifyInstallationNamesWhatIsMissing(t *testing.T) {
	v := installed(1, "True")
	v.namespace = "elsewhere"
	err := v.run(t.Context(), &strings.Builder{}, time.Millisecond, 20*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "Deployment corepin-scheduler") {
		t.Errorf("without a Deployment: error %v", err)
	}
}
