// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"strings"
	"testing"

	"corepin.dev/corepin/test/harness/metrictable"
	"corepin.dev/corepin/test/harness/monitoring"
)

// foreign are series that the alerts and dashboards use and that are not corepin's: Prometheus' own, and those that
// kube-scheduler, client-go and the Go client library serve. The integration suite looks for them in the programs.
var foreign = monitoring.Series{
	"up":                                {},
	"leader_election_master_status":     {"name": nil},
	"scheduler_pending_pods":            {"queue": nil},
	"scheduler_schedule_attempts_total": {"result": nil},
	"scheduler_scheduling_attempt_duration_seconds": {"result": nil},
	"process_resident_memory_bytes":                 {},
	"process_cpu_seconds_total":                     {},
	"go_memstats_heap_inuse_bytes":                  {},
}

// knownSeries are all series that a query may select.
func knownSeries(t *testing.T) monitoring.Series {
	t.Helper()
	table, err := metrictable.Read("../../manifests/monitoring/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := monitoring.Series{}
	for _, metrics := range table {
		for name, metric := range metrics {
			known[name] = map[string][]string{}
			for _, label := range metric.Labels {
				known[name][label] = metric.Values[label]
			}
		}
	}
	for name, labels := range foreign {
		known[name] = labels
	}
	return known
}

var monitoringFiles = os.DirFS("../../manifests/monitoring")

func alerts(t *testing.T) []monitoring.Rule {
	t.Helper()
	rules, err := monitoring.Rules(monitoringFiles, "prometheusrule.yaml")
	if err != nil || len(rules) == 0 {
		t.Fatalf("%d alerts, %v", len(rules), err)
	}
	return rules
}

func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	queries, err := monitoring.DashboardQueries(monitoringFiles, "dashboards")
	if err != nil || len(queries) == 0 {
		t.Fatalf("%d queries, %v", len(queries), err)
	}
	return queries
}

func TestAlertsSelectSeriesThatExist(t *testing.T) {
	known := knownSeries(t)
	for _, rule := range alerts(t) {
		for _, missing := range known.Missing(rule.Expr) {
			t.Errorf("%s: %s", rule.Alert, missing)
		}
	}
}

func TestDashboardsSelectSeriesThatExist(t *testing.T) {
	known := knownSeries(t)
	for where, query := range dashboardQueries(t) {
		for _, missing := range known.Missing(query) {
			t.Errorf("%s: %s", where, missing)
		}
	}
}

// Every metric is of use to somebody who looks: each is in an alert or a dashboard.
func TestEveryMetricIsLookedAt(t *testing.T) {
	all := ""
	for _, rule := range alerts(t) {
		all += rule.Expr + "\n"
	}
	for _, query := range dashboardQueries(t) {
		all += query + "\n"
	}
	for name := range knownSeries(t) {
		if !strings.Contains(all, name) {
			t.Errorf("no alert and no dashboard asks for %s", name)
		}
	}
}
