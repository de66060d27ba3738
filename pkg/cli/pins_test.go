// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"testing/fstest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// launcherOf is the running launcher pod of a dedicated VM in namespace vms.
func launcherOf(vm string, amounts ...string) corev1.Pod {
	pod := podAsking(vm, "small", amounts...)
	pod.Namespace, pod.Name, pod.UID = "vms", "virt-launcher-"+vm, types.UID(vm)
	pod.Labels = map[string]string{"kubevirt.io": "virt-launcher"}
	pod.Annotations = map[string]string{"kubevirt.io/domain": vm}
	pod.Spec.NodeSelector = map[string]string{"kubevirt.io/cpumanager": "true"}
	pod.Status.Phase = corev1.PodRunning
	return pod
}

func TestPinsOfTheCluster(t *testing.T) {
	report := reportOf(t, "small", "1 sockets x 1 numa x 4 cores x 2 threads", "none", map[types.UID]map[string]cpuset.Set{
		"db": {"c0": cpuset.Of(1, 5)}, "drifted": {"c0": cpuset.Of(2, 6)}, "starting": {"c0": cpuset.Of(3, 7)},
	})
	for i := range report.Status.Granted {
		switch grant := &report.Status.Granted[i]; grant.PodUID {
		case "db":
			grant.Pins = "0=1 emulator=5 io1=5"
		case "drifted":
			grant.Pins = "0=0 1=6"
			grant.Waits = "0=12 1=3.1"
		}
	}
	report.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDrifted, Status: metav1.ConditionTrue, Message: "VM vms/drifted: vCPU 0: 0 → 2"}}
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{report}, Pods: []corev1.Pod{
		launcherOf("starting", "2"), launcherOf("db", "2"), launcherOf("shared", "1500m"), launcherOf("drifted", "2"), podAsking("web", "small", "1"),
	}}
	code, out, errs := runIn(t, fstest.MapFS{}, cluster, "", "pins", "-o", "json")
	want := []string{
		`{"vmi":"vms/db","vcpus":[{"vcpu":0,"cpus":"1"}],"emulator":"5","ioThreads":[{"id":1,"cpus":"5"}],"error":""}`,
		`{"vmi":"vms/drifted","vcpus":[{"vcpu":0,"cpus":"0"},{"vcpu":1,"cpus":"6"}],"emulator":"","ioThreads":[],"error":"vCPU 0 may run on CPU 0, which is not granted (2,6)","waits":[{"vcpu":0,"percent":12},{"vcpu":1,"percent":3.1}]}`,
		`{"vmi":"vms/shared","vcpus":[],"emulator":"","ioThreads":[],"error":"the VM asked dedicated CPUs, and its container c0 has none: `,
		`{"vmi":"vms/starting","vcpus":[],"emulator":"","ioThreads":[],"error":"nothing is pinned yet; the events of pod vms/virt-launcher-starting say why"}`,
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitRefused || errs != "" || len(lines) != len(want) {
		t.Fatalf("exit %d, %q, %q", code, out, errs)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d is\n%s\nwant\n%s", i, lines[i], want[i])
		}
	}
	_, out, _ = runIn(t, fstest.MapFS{}, cluster, "", "pins")
	// A vCPU is shown and drawn on the CPU that it runs on, not on the one where it should be.
	if !strings.Contains(out, "  vCPU 0       CPU 0        core 0") || !strings.Contains(out, "\ns0 n0  !R .. CB ..\n") {
		t.Errorf("text is\n%s", out)
	}
	if !strings.Contains(out, "\n  note: vCPU 0 waited 12 % of the last minute for its CPU\n  note: vCPU 1 waited 3.1 % of the last minute for its CPU\n") {
		t.Errorf("text is\n%s", out)
	}
	if !strings.Contains(out, "vms/db on small: granted CPUs 1,5\n  vCPU 0       CPU 1 ") {
		t.Errorf("text is\n%s", out)
	}
	if code, out, _ := runIn(t, fstest.MapFS{}, Cluster{Reports: cluster.Reports}, "", "pins"); code != exitOK || out != "no dedicated VM runs in the cluster\n" {
		t.Errorf("without VMs: exit %d, %q", code, out)
	}
	if code, _, errs := runIn(t, fstest.MapFS{}, Cluster{}, "", "pins"); code != exitError || !strings.Contains(errs, "no NodeCPU objects") {
		t.Errorf("without reports: exit %d, %q", code, errs)
	}
}
