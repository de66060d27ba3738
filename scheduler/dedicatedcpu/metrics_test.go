// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"maps"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-base/metrics/legacyregistry"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/test/harness/metrictable"
)

func TestMetrics(t *testing.T) {
	registerMetrics()
	registerMetrics() // once for each profile
	before := counts(t)
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(t, "n1", nil)
	info, fits, large := b.node(t, "n1"), launcherPod("fits", "2"), launcherPod("large", "10")
	state := b.preFilter(t, fits)
	b.Filter(t.Context(), state, fits, info)
	b.PostBind(t.Context(), state, fits, "n1")
	b.refuse(t, large, info, ReasonNeverAligned)
	simulated := b.preFilter(t, large).Clone()
	if got := b.Filter(t.Context(), simulated, large, info).Message(); got != ReasonNeverAligned {
		t.Errorf("a simulation for the large VM: %q", got)
	}
	// If a pod in flight can't be predicted, the pods after it can't be either.
	gpu, plain := guaranteedPod("gpu", "2"), guaranteedPod("plain", "2")
	gpu.Spec.Containers[0].Resources.Limits["example.com/gpu"] = resource.MustParse("1")
	info.AddPod(gpu)
	state = b.preFilter(t, plain)
	if status := b.Filter(t.Context(), state, plain, info); !status.IsSuccess() {
		t.Errorf("behind a pod with a GPU: %s", status.Message())
	}
	b.PostBind(t.Context(), state, plain, "n1")
	b.pend(t, large, b.podDemand(large))
	b.wakeAll()
	after := counts(t)
	for series, value := range before {
		if after[series] -= value; after[series] == 0 {
			delete(after, series)
		}
	}
	want := map[string]float64{
		"corepin_scheduler_bound_pods_total estimated":        1,
		"corepin_scheduler_bound_pods_total exact":            1,
		"corepin_scheduler_node_refusals_total never_aligned": 1,
		"corepin_scheduler_woken_pods_total":                  1,
	}
	if !maps.Equal(after, want) {
		t.Errorf("counted %v, want %v", after, want)
	}
}

// counts are the values of corepin's counters, by name and label value.
func counts(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "corepin_scheduler_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			series := family.GetName()
			for _, label := range metric.GetLabel() {
				series += " " + label.GetValue()
			}
			values[series] = metric.GetCounter().GetValue()
		}
	}
	return values
}

// Users read the table. Every metric that it has is there from the start with every label value, and no other is. An
// alert on the first increase needs a counter that was 0 before.
func TestMetricsAreThoseOfTheTable(t *testing.T) {
	table, err := metrictable.Read("../../manifests/monitoring/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	registerMetrics()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range table.Differences("corepin-scheduler", families) {
		t.Error(difference)
	}
}
