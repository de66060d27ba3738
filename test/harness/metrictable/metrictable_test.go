// SPDX-License-Identifier: Apache-2.0

package metrictable

import (
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

const text = "# Metrics\n## corepin-agent\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n" +
	"| `corepin_a_total` | counter | `result`: `good` `bad` | Counts. |\n| `corepin_bees` | gauge | | Is. |\n"

func family(name string, kind dto.MetricType, labels ...string) *dto.MetricFamily {
	help := "Says something."
	f := &dto.MetricFamily{Name: &name, Type: &kind, Help: &help}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		f.Metric = append(f.Metric, &dto.Metric{Label: []*dto.LabelPair{{Name: &key, Value: &value}}})
	}
	if len(labels) == 0 {
		f.Metric = []*dto.Metric{{}}
	}
	return f
}

func TestDifferences(t *testing.T) {
	table, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	counter, gauge := dto.MetricType_COUNTER, dto.MetricType_GAUGE
	b := family("corepin_bees", gauge)
	silent := family("corepin_bees", gauge)
	silent.Help = nil
	for name, tc := range map[string]struct {
		served []*dto.MetricFamily
		want   string // part of the one difference; "" where there is none
	}{
		"equal":              {[]*dto.MetricFamily{family("corepin_a_total", counter, "result=good", "result=bad"), b, family("go_x", gauge)}, ""},
		"not documented":     {[]*dto.MetricFamily{family("corepin_a_total", counter, "result=good", "result=bad"), b, family("corepin_c", gauge)}, "corepin_c"},
		"not served":         {[]*dto.MetricFamily{b}, "corepin_a_total"},
		"another type":       {[]*dto.MetricFamily{family("corepin_a_total", gauge, "result=good", "result=bad"), b}, "is a gauge"},
		"another label":      {[]*dto.MetricFamily{family("corepin_a_total", counter, "reason=good"), b}, "labels"},
		"a value more":       {[]*dto.MetricFamily{family("corepin_a_total", counter, "result=good", "result=bad", "result=odd"), b}, "odd"},
		"promtool objects":   {[]*dto.MetricFamily{family("corepin_a_total", counter, "result=good", "result=bad"), silent}, "corepin_bees: no help text"},
		"a value not served": {[]*dto.MetricFamily{family("corepin_a_total", counter, "result=good"), b}, "values"},
	} {
		got := table.Differences("corepin-agent", tc.served)
		if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)) {
			t.Errorf("%s: %q, want one with %q", name, got, tc.want)
		}
	}
	if got := table.Differences("corepin-scheduler", nil); len(got) != 1 {
		t.Errorf("a program that the table does not have: %q", got)
	}
}

func TestParseRefusesWhatIsNoTable(t *testing.T) {
	for name, bad := range map[string]string{
		"no program": "| `corepin_bees` | gauge | | Is. |\n",
		"no meaning": "## corepin-agent\n| `corepin_bees` | gauge | |\n",
		"twice":      "## corepin-agent\n| `corepin_bees` | gauge | | Is. |\n| `corepin_bees` | gauge | | Is. |\n",
	} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
