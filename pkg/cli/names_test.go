// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// What -o name, --selector and --all-namespaces make of the answers.
func TestNamesAndSelections(t *testing.T) {
	first := nodeOffering("14", "64Gi", "110")
	first.Status.Allocatable[corev1.ResourceEphemeralStorage] = resource.MustParse("100Gi")
	first.Labels = map[string]string{"pool": "vms", "kubevirt.io/cpumanager": "true", "kubevirt.io/schedulable": "true"}
	second := *first.DeepCopy()
	second.Name = "n2"
	second.Labels["pool"] = "other"
	db := launcherOf("db", "2")
	db.Labels["app"] = "db"
	web := launcherOf("web", "2")
	web.Namespace = "b"
	wants := podAsking("wants", "", "4")
	vast := podAsking("vast", "", "40")
	cluster := Cluster{
		Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "none", nil), reportOf(t, "n2", eightCores, "none", nil)},
		Nodes:   []corev1.Node{first, second}, Pods: []corev1.Pod{db, web, wants, vast},
	}
	pods := stream(t, podAsking("a", "", "4"), vast, podAsking("c", "", "2")) + plannedVMI
	for _, test := range []struct {
		args, input string
		code        int
		want        string // of standard output, or part of the error
	}{
		{"nodes -o name", "", exitOK, "node/n1\nnode/n2\n"},
		{"nodes -o name -l pool=vms", "", exitOK, "node/n1\n"},
		{"nodes -o names", "", exitError, `--output is "names"; want text, wide or name`},
		{"fit -f - -o name", pods, exitRefused, "pod/a\npod/c\nvirtualmachineinstance.kubevirt.io/new\n"},
		{"fit -f - -o names", pods, exitError, `--output is "names"; want text, json, yaml or name`},
		{"fit -f - -l pool=other", stream(t, podAsking("a", "", "4")), exitOK, "a: admitted by n2: c0 1-2,9-10\n\nn2\n"},
		{"fit -f - -l pool=none", pods, exitError, `--selector is "pool=none": no node with a NodeCPU has these labels`},
		{"fit -f - -l !=", pods, exitError, `--selector is "!=": `},
		{"explain pod wants -n default -o name", "", exitOK, "node/n1\nnode/n2\n"},
		{"explain pod wants -n default -o name -l pool=other", "", exitOK, "node/n2\n"},
		{"explain pod wants -n default -l pool=other", "", exitOK, "1 of 1 nodes have room for it.\n"},
		{"explain pod vast -n default -o name", "", exitRefused, ""},
		{"explain pod wants -n default -l pool=none", "", exitError, `--selector is "pool=none": no node has these labels`},
		{"pins -o name", "", exitRefused, "virtualmachineinstance.kubevirt.io/web\nvirtualmachineinstance.kubevirt.io/db\n"},
		{"pins -o name -n b", "", exitRefused, "virtualmachineinstance.kubevirt.io/web\n"},
		{"pins -o name -n b -A", "", exitRefused, "virtualmachineinstance.kubevirt.io/web\nvirtualmachineinstance.kubevirt.io/db\n"},
		{"pins -o name -l app=db", "", exitRefused, "virtualmachineinstance.kubevirt.io/db\n"},
		{"pins -o name -l app=none", "", exitOK, ""},
		{"pins -l app=none", "", exitOK, "no dedicated VM runs in the cluster with the labels app=none\n"},
		{"pins -l app=db -f - --cpus 2", minimalReport, exitError, "--selector chooses among the VMs of the cluster or of a dump"},
	} {
		code, out, errs := runIn(t, nil, cluster, test.input, strings.Fields(test.args)...)
		switch {
		case code != test.code:
			t.Errorf("%s: exit code %d, want %d: %s%s", test.args, code, test.code, out, errs)
		case code == exitError && !strings.Contains(errs, test.want):
			t.Errorf("%s: error %q, want %q", test.args, errs, test.want)
		case strings.Contains(test.args, "name") && code != exitError && out != test.want:
			t.Errorf("%s: got %q, want %q", test.args, out, test.want)
		case !strings.Contains(out+errs, test.want):
			t.Errorf("%s: want %q in\n%s%s", test.args, test.want, out, errs)
		}
	}
}
