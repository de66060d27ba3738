// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// TestPodLevelPodsHoldTheirCPUs: what a pod with pod-level resources holds under the gate is taken for explain, and it
// is not in flight for nodes.
func TestPodLevelPodsHoldTheirCPUs(t *testing.T) {
	const oneThread = "1 sockets x 1 numa x 8 cores x 1 threads" // CPU 0 is reserved
	holder := podAsking("holder", "n1", "5")
	holder.Spec.Resources = holder.Spec.Containers[0].Resources.DeepCopy()
	holder.Status.Phase = corev1.PodRunning
	report := reportOf(t, "n1", oneThread, "none", map[types.UID]map[string]cpuset.Set{"holder": {"c0": cpuset.Of(1, 2, 3, 4, 5)}})
	report.Status.PodLevelResourceManagers = true
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{report}, Pods: []corev1.Pod{holder, podAsking("new", "", "6")}}
	code, out, errs := runIn(t, nil, cluster, "", "explain", "pod", "new")
	if code != exitRefused || !strings.Contains(out, "n1: 2 free CPUs; needs 6 CPUs\n  fits if the pod asks for 4 CPUs fewer (2 instead of 6)\n  fits if pod holder (5 CPUs) moves\n") {
		t.Errorf("exit code %d, error %q, got\n%s", code, errs, out)
	}
	_, out, _ = runIn(t, nil, cluster, "", "nodes")
	if want := "s0 n0  R A A A A A . .\nR reserved  A holder  . shared pool\n"; !strings.HasSuffix(out, want) {
		t.Errorf("want %q, got\n%s", want, out)
	}
}

// TestFitTakesTheGateFromTheReport: the node's kubelet decides whether a pod with pod-level resources gets exclusive
// CPUs, and its NodeCPU says how.
func TestFitTakesTheGateFromTheReport(t *testing.T) {
	whole := podAsking("whole", "n1", "2", "1")
	whole.Spec.Resources = whole.Spec.Containers[0].Resources.DeepCopy()
	for name, both := range whole.Spec.Containers[1].Resources.Requests {
		sum := whole.Spec.Resources.Requests[name].DeepCopy()
		sum.Add(both)
		whole.Spec.Resources.Requests[name], whole.Spec.Resources.Limits[name] = sum, sum
	}
	for name, test := range map[string]struct {
		change func(*v1alpha1.NodeCPUStatus)
		want   string
	}{
		"off":                     {func(*v1alpha1.NodeCPUStatus) {}, "n1[]"},
		"on, container by itself": {func(s *v1alpha1.NodeCPUStatus) { s.PodLevelResourceManagers = true }, "n1[c0=1,9 c1=2]"},
	} {
		report := reportOf(t, "n1", eightCores, "restricted", nil)
		test.change(&report.Status)
		_, out, errs := run(t, stream(t, report, whole), "fit", "-f", "-", "-o", "json")
		if got := brief(t, out); got != test.want || errs != "" {
			t.Errorf("%s: got %q, want %q; error %q; %s", name, got, test.want, errs, out)
		}
	}
}
