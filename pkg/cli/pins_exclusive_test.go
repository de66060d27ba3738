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
		containers = "other containers may run on the CPUs of dedicated VMs: CPUs 1,5 of VM vms/db: 2 containers of the shared pool (vms/web c, vms/web d)"
		unreadable = "who may run on the CPUs of dedicated VMs is not known: permission denied"
		shared     = "2 containers of the shared pool (vms/web c, vms/web d)"
	)
	for name, tc := range map[string]struct {
		status      metav1.ConditionStatus
		reason      string
		message     string
		its, others string // sharedWith of the VM and of another
		want        string
	}{
		"nobody":                  {metav1.ConditionTrue, "NobodyElse", nobody, "", "", nobody + ", on this node since 2026-11-23T12:00:00Z"},
		"the host's own software": {metav1.ConditionFalse, "HostServices", services, "", "", services},
		"containers":              {metav1.ConditionFalse, "Containers", containers, shared, "", "no: " + shared + " may run on its CPUs too"},
		"on two VMs":              {metav1.ConditionFalse, "Containers", containers, shared, "1 container", "no: " + shared + " may run on its CPUs too"},
		"on another VM":           {metav1.ConditionFalse, "Containers", containers, "", "1 container", "no other container may run on its CPUs"},
		"an older agent":          {metav1.ConditionFalse, "Containers", containers, "", "", containers},
		"not readable":            {metav1.ConditionUnknown, "CgroupsUnreadable", unreadable, "", "", unreadable},
		"not looked":              {},
	} {
		t.Run(name, func(t *testing.T) {
			report := reportOf(t, "small", "1 sockets x 1 numa x 4 cores x 2 threads", "none", map[types.UID]map[string]cpuset.Set{
				"db": {"c0": cpuset.Of(1, 5)}, "db2": {"c0": cpuset.Of(2, 6)},
			})
			for i := range report.Status.Granted {
				grant := &report.Status.Granted[i]
				grant.Pins = "0=1 1=5"
				grant.SharedWith = map[types.UID]string{"db": tc.its, "db2": tc.others}[grant.PodUID]
			}
			if tc.status != "" {
				report.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExclusive, Status: tc.status, Reason: tc.reason, Message: tc.message,
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
