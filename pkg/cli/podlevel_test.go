package cli

import (
	"testing"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// TestFitTakesTheGateFromTheReport: whether a pod with pod-level resources gets CPUs of its own depends on the
// node's kubelet, and its NodeCPU says how.
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
