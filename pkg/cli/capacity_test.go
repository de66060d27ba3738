// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

func TestCapacity(t *testing.T) {
	cordoned := nodeOffering("14", "64Gi", "110")
	cordoned.Spec.Unschedulable = true
	bare := nodeOffering("14", "64Gi", "110")
	vague := reportOf(t, "n1", eightCores, "restricted", nil)
	vague.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionFalse, Message: "too new"}}
	none := reportOf(t, "n1", eightCores, "none", nil)
	none.Status.CPUManager.Policy = "none"
	twoNUMA := stream(t, reportOf(t, "n1", "2 sockets x 1 numa x 4 cores x 2 threads", "single-numa-node", nil))
	for name, test := range map[string]struct{ input, args, want string }{
		"by the kubelet's decision and not by sums": {twoNUMA, "--shape cpus=5",
			"cpus=5: 2 more fit, on 1 of 1 nodes; 4 CPUs stay free in 2 NUMA nodes, none with 5\n  2 on n1: then TopologyAffinityError: Resources cannot be allocated with Topology locality\n"},
		"pods on the node hold theirs": {twoNUMA + stream(t, podAsking("a", "n1", "6")), "--shape cpus=6", "cpus=6: 1 more fit, on 1 of 1 nodes; 2 CPUs stay free in 1 NUMA nodes, none with 6\n"},
		"memory counts":                {nodesOf(t, "n1"), "--shape cpus=2,memory=30Gi", "cpus=2,memory=30Gi: 2 more fit, on 1 of 1 nodes; 10 CPUs stay free in 1 NUMA nodes, at most 10 in one\n  2 on n1: then OutOfmemory"},
		"the usual sizes": {nodesOf(t, "n1", "n2"), "", "cpus=2: 14 more fit, on 2 of 2 nodes; no CPU stays free\ncpus=4: 6 more fit, on 2 of 2 nodes; 4 CPUs stay free in 2 NUMA nodes, none with 4\n" +
			"cpus=8: 2 more fit, on 2 of 2 nodes; 12 CPUs stay free in 2 NUMA nodes, none with 8\ncpus=16: 0 more fit, on 0 of 2 nodes; 28 CPUs stay free in 2 NUMA nodes, none with 16\n"},
		"equal nodes":         {nodesOf(t, "n1", "n2", "n3", "n4", "n5"), "--shape cpus=4", "\n  3 on n1, n2, n3 and 2 more nodes: then TopologyAffinityError"},
		"a new VM":            {nodesOf(t, "n1") + plannedVMI, "", "VM vms/new: 2 more fit, on 1 of 1 nodes; 4 CPUs stay free in 1 NUMA nodes, none with 5\n"},
		"a cordoned node":     {stream(t, reportOf(t, "n1", eightCores, "none", nil), cordoned), "--shape cpus=4", "  0 on n1: is cordoned (spec.unschedulable)\n"},
		"a node of no label":  {stream(t, reportOf(t, "n1", eightCores, "none", nil), bare), "--shape cpus=4", "  0 on n1: has no label cpumanager=true\n"},
		"no such device":      {stream(t, reportOf(t, "n1", eightCores, "none", nil), bare), "--shape cpus=4,example.com/vf=1", "  0 on n1: has no example.com/vf, which the pod asks for\n"},
		"a node not exact":    {stream(t, vague), "--shape cpus=4", "  0 on n1: NotExact: too new\n"},
		"no CPU manager":      {stream(t, none), "--shape cpus=4", "  0 on n1: no CPUs of its own: the kubelet's CPU manager policy is none\n"},
		"a fraction":          {twoNUMA, "--shape cpus=1500m", "--shape is \"cpus=1500m\": want cpus=N with a whole number"},
		"no CPUs":             {twoNUMA, "--shape memory=1Gi", "want cpus=N with a whole number"},
		"no amount":           {twoNUMA, "--shape cpus", "want NAME=AMOUNT, such as cpus=8 or memory=32Gi"},
		"a vast amount":       {twoNUMA, "--shape cpus=1e999999999", "--shape is \"cpus=1e999999999\""},
		"in JSON":             {twoNUMA, "--shape cpus=5 -o json", `{"shape":"cpus=5","fit":2,"nodes":[{"node":"n1","fit":2,"freeCPUs":4,"why":"TopologyAffinityError: Resources cannot be allocated with Topology locality"}],"freeCPUs":4,"numaNodes":2,"largestNUMANode":3}` + "\n"},
		"an object that lies": {twoNUMA + "---\n7\n", "--shape cpus=5", "standard input:3: want an object"},
	} {
		_, out, errs := run(t, test.input, strings.Fields("capacity -f - "+test.args)...)
		if !strings.Contains(out+errs, test.want) {
			t.Errorf("%s: want %q in\n%s%s", name, test.want, out, errs)
		}
	}
}
