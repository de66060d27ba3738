// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"

	"corepin.dev/corepin/agent/config"
)

func TestMetrics(t *testing.T) {
	count := func(name string, labels map[string]string) int {
		vec, err := testutil.GetHistogramVecFromGatherer(legacyregistry.DefaultGatherer, name, labels)
		if err != nil || len(vec) == 0 {
			return 0
		}
		return int(vec.GetAggregatedSampleCount())
	}
	b := newFixture(t, config.PinningEnforce)
	l := b.vm("db", "2,6", "!0-7 !0-7")
	pins, err := testutil.GetCounterMetricValue(pinsApplied.WithLabelValues(string(VCPU)))
	if err != nil {
		t.Fatal(err)
	}
	drift, err := testutil.GetCounterMetricValue(driftSeen)
	if err != nil {
		t.Fatal(err)
	}
	seconds := count("corepin_pinning_pin_duration_seconds", nil)
	b.run()
	b.awaitEvents("db", EventPinned)
	l.tell(func() { l.guest.VCPUs[0] = GuestThread{0, mustParse("1"), mustParse("1")} })
	b.awaitEvents("db", EventPinned, EventDriftRepaired)

	if after, err := testutil.GetCounterMetricValue(pinsApplied.WithLabelValues(string(VCPU))); err != nil || after < pins+3 {
		t.Errorf("pins_applied_total went from %v to %v (%v), want 3 more", pins, after, err)
	}
	if after, err := testutil.GetCounterMetricValue(driftSeen); err != nil || after < drift+1 {
		t.Errorf("drifts_total went from %v to %v (%v), want one more", drift, after, err)
	}
	if after := count("corepin_pinning_pin_duration_seconds", nil); after < seconds+1 {
		t.Errorf("seconds has %d samples after %d, want one more", after, seconds)
	}
}

// Every reason is counted from the start, so none may be missing in the list.
func TestReasonsAreComplete(t *testing.T) {
	syntax, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var constants []reason
	ast.Inspect(syntax, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		kind, ok := spec.Type.(*ast.Ident)
		if !ok || kind.Name != "reason" {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		constants = append(constants, reason(value))
		return true
	})
	if !slices.Equal(constants, reasons) || len(constants) == 0 {
		t.Errorf("the constants are %q, and the list has %q", constants, reasons)
	}
}
