// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// machine has NUMA nodes 0-3,8-11 and 4-7,12-15, cores {0,8} {1,9} ...; CPUs 0 and 8 are reserved.
const machine = "2 sockets x 1 numa x 4 cores x 2 threads"

// reportOf is the report of a kubelet with full-pcpus-only and single-numa-node, whose pods' containers named compute
// hold CPUs.
func reportOf(t *testing.T, granted map[string]string) *nodereport.Report {
	t.Helper()
	topology := cputopology.MustParse(machine)
	node := &admission.Node{Topology: topology, Minor: 36, Reserved: cpuset.Of(0, 8),
		CPUManager:      cpumanager.Config{Policy: "static", Options: cpumanager.Options{FullPCPUsOnly: true}},
		TopologyManager: topologymanager.Config{Policy: topologymanager.PolicySingleNUMANode, Scope: topologymanager.ScopeContainer}}
	*node = node.Empty()
	r := &nodereport.Report{State: nodereport.Exact, Node: node, Granted: map[types.UID][]admission.Grant{}}
	for uid, list := range granted {
		cpus := cpus(t, list)
		r.Granted[types.UID(uid)] = []admission.Grant{{Container: "compute", CPUs: cpus}}
		node.Shared = node.Shared.Minus(cpus)
	}
	return r
}

func cpus(t *testing.T, list string) cpuset.Set {
	t.Helper()
	set, err := cpuset.Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func nodeObject() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node", Labels: map[string]string{"cpumanager": "true"}}}
}

// vm is a launcher pod as the kubelet sees it: compute with whole CPUs and a sidecar of 200m. It is bound.
func vm(name, cpus string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	pod.Spec.NodeName = "n1"
	pod.Spec.Containers = []corev1.Container{container("compute", cpus), container("hook", "200m")}
	pod.Status.QOSClass = corev1.PodQOSGuaranteed
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func container(name, cpus string) corev1.Container {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse("1Gi")}
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
}

// podsOf are the pods of a node that may hold CPUs.
func podsOf(pods []*corev1.Pod) []Pod {
	var list []Pod
	for _, pod := range pods {
		if MayHold(pod) {
			list = append(list, PodOf(pod))
		}
	}
	return list
}
