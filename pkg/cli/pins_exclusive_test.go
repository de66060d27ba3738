// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

func TestPinsSayWhoElseMayRunThere(t *testing.T) {
	const (
		nobody     = "nobody else may run on the CPUs of dedicated VMs, kernel threads aside"
		services   = "no other container may run on the CPUs of dedicated VMs, and by its cgroup the host's own software may: system.slice: crond.service; keep it off"
		containers = "other containers may run on the CPUs of dedicated VMs: "
		db         = "CPUs 1,5 of VM vms/db: 2 containers of the shared pool (vms/web c, vms/web d)"
		another    = "CPUs 2,6 of VM vms/db2: 1 container of the shared pool (vms/web c)"
	)
	for name, tc := range map[string]struct {
		status  metav1.ConditionStatus
		message string
		want    string
	}{
		"nobody":                  {metav1.ConditionTrue, nobody, nobody + ", on this node since 2026-11-23T12:00:00Z"},
		"the host's own software": {metav1.ConditionFalse, services, services},
		"containers":              {metav1.ConditionFalse, containers + db, "no: 2 containers of the shared pool (vms/web c, vms/web d) may run on its CPUs too"},
		"on two VMs":              {metav1.ConditionFalse, containers + db + "; " + another, "no: 2 containers of the shared pool (vms/web c, vms/web d) may run on its CPUs too"},
		"on another VM":           {metav1.ConditionFalse, containers + another, "no other container may run on its CPUs"},
		"the list is cut":         {metav1.ConditionFalse, containers + another[:30] + cut, "not known: the list of VMs in condition Exclusive of the node is cut off"},
		"not readable":            {metav1.ConditionUnknown, "who may run on the CPUs of dedicated VMs is not known: permission denied", "who may run on the CPUs of dedicated VMs is not known: permission denied"},
		"not looked":              {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			report := reportOf(t, "small", "1 sockets x 1 numa x 4 cores x 2 threads", "none", map[types.UID]map[string]cpuset.Set{"db": {"c0": cpuset.Of(1, 5)}})
			report.Status.Granted[0].Pins = "0=1 1=5"
			if tc.status != "" {
				report.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExclusive, Status: tc.status, Message: tc.message,
					LastTransitionTime: metav1.NewTime(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))}}
			}
			cluster := Cluster{Reports: []v1alpha1.NodeCPU{report}, Pods: []corev1.Pod{launcherOf("db", "2")}}
			code, out, _ := runIn(t, fstest.MapFS{}, cluster, "", "pins")
			line := "\n  exclusive: " + tc.want + "\n"
			if code != exitOK || strings.Contains(out, line) != (tc.want != "") || strings.Contains(out, "exclusive:") != (tc.want != "") {
				t.Errorf("exit %d,\n%s\nwant a line %q", code, out, line)
			}
			_, out, _ = runIn(t, fstest.MapFS{}, cluster, "", "pins", "-o", "json")
			if strings.Contains(out, `"exclusive":"`) != (tc.want != "") {
				t.Errorf("JSON is %s", out)
			}
		})
	}
}
