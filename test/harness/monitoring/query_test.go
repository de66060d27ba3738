// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"reflect"
	"slices"
	"testing"
)

func TestSelectors(t *testing.T) {
	for query, want := range map[string][]string{
		`a == 0`: {"a"},
		`sum by (node, le) (rate(a_bucket{x="y"}[5m])) > bool 1`:            {"a_bucket"},
		`histogram_quantile(0.99, sum by (le) (rate(a_bucket[1h])))`:        {"a_bucket"},
		`(a > 0) unless on (node) (b{c=~"d|e"} > 0) or vector(0)`:           {"a", "b"},
		`absent(up{job="corepin-scheduler"} == 1)`:                          {"up"},
		`label_replace(a, "b", "$1", "c", "d.*") * on (b) group_left (e) f`: {"a", "f"},
		`vector(1)`: nil,
	} {
		selectors, err := Selectors(query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
		}
		var got []string
		for _, s := range selectors {
			got = append(got, s.Metric)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s selects %q, want %q", query, got, want)
		}
	}
	got, err := Selectors(`a{b="c", d=~"e|f", node="$node"}`)
	want := []Selector{{Metric: "a", Labels: map[string][]string{"b": {"c"}, "d": {"e", "f"}, "node": nil}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := Selectors(`a{b}`); err == nil {
		t.Error("a condition that cannot be read was read")
	}
}

func TestMissing(t *testing.T) {
	series := Series{"a_total": {"result": {"good", "bad"}}, "a_seconds": {}}
	for query, want := range map[string]int{
		`a_total{result="good", node="n1"}`: 0,
		`rate(a_seconds_bucket[5m])`:        0,
		`a_totals`:                          1,
		`a_total{result="odd"}`:             1,
		`a_total{reason="odd"}`:             1,
		`a_total{result=~"good|odd"}`:       1,
		`vector(0)`:                         1,
		`a_total{result}`:                   1,
	} {
		if got := series.Missing(query); len(got) != want {
			t.Errorf("%s: %q, want %d", query, got, want)
		}
	}
}
