// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"corepin.dev/corepin/test/harness/monitoring"
)

// severities are what an alert may have; prometheusrule.yaml says what each means.
var severities = []string{"critical", "warning", "info"}

// alertsAreComplete says what of an alert is missing: its severity, its texts, its runbook, its tests. It also names
// runbooks that no alert has.
func alertsAreComplete(rules []monitoring.Rule, tests string, runbooks []string) []string {
	var violations []string
	unused := slices.Clone(runbooks)
	for _, rule := range rules {
		complain := func(what string) { violations = append(violations, fmt.Sprintf("alert %s: %s", rule.Alert, what)) }
		file := path.Join("runbooks", rule.Alert+".md")
		if !slices.Contains(severities, rule.Labels["severity"]) {
			complain(fmt.Sprintf("severity is %q, and not one of %q", rule.Labels["severity"], severities))
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			complain("write a summary and a description")
		}
		if !slices.Contains(runbooks, file) || !strings.HasSuffix(rule.Annotations["runbook_url"], "/"+rule.Alert+".md") {
			complain("write " + file + ", and name it in runbook_url")
		}
		for _, name := range []string{rule.Alert + " fires", rule.Alert + " is quiet where all is well"} {
			if !strings.Contains(tests, "- name: "+name+"\n") {
				complain(fmt.Sprintf("write the test %q", name))
			}
		}
		unused = slices.DeleteFunc(unused, func(name string) bool { return name == file })
	}
	for _, file := range unused {
		violations = append(violations, file+": there is no such alert")
	}
	return violations
}

func TestAlertsAreCompleteCanFail(t *testing.T) {
	good := monitoring.Rule{
		Alert: "A", Labels: map[string]string{"severity": "info"},
		Annotations: map[string]string{"summary": "s", "description": "d", "runbook_url": "https://example/A.md"},
	}
	tests := "- name: A fires\n- name: A is quiet where all is well\n"
	if got := alertsAreComplete([]monitoring.Rule{good}, tests, []string{"runbooks/A.md"}); len(got) != 0 {
		t.Errorf("over a good alert: %q", got)
	}
	if got := alertsAreComplete([]monitoring.Rule{{Alert: "A"}}, "", []string{"runbooks/B.md"}); len(got) != 6 {
		t.Errorf("%d violations %q, want 6", len(got), got)
	}
}

// Whoever is woken by an alert reads its runbook, and each alert has been seen to fire.
func TestAlertsHaveRunbooksAndTests(t *testing.T) {
	rules := alerts(t)
	tests, err := fs.ReadFile(monitoringFiles, "tests/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	left, err := fs.Glob(monitoringFiles, "runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	obey(t, alertsAreComplete(rules, string(tests), left))
	for _, rule := range rules {
		text, err := fs.ReadFile(monitoringFiles, path.Join("runbooks", rule.Alert+".md"))
		if err != nil || !strings.Contains(string(text), "\n"+rule.Expr+"\n") {
			t.Errorf("the runbook of %s does not have the alert's expression, so it may be of another one (%v)", rule.Alert, err)
		}
	}
}
