// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// machine is every node's: 128 CPUs, of which reserved are kept back.
const machine = "2 sockets x 1 numa x 32 cores x 2 threads"

var (
	topology = cputopology.MustParse(machine)
	reserved = cpuset.Of(0, 64)
)

// reportedNode is a node as its kubelet has it.
type reportedNode struct {
	admission.Node
	granted map[types.UID]map[string]cpuset.Set
	held    map[types.UID]admission.Held
}

// newReportedNode is an empty node for one kind of pods.
func newReportedNode(pods string) *reportedNode {
	n := &reportedNode{
		Node: admission.Node{Topology: topology, Minor: 36,
			CPUManager:      cpumanager.Config{Policy: cpumanager.PolicyStatic, Options: cpumanager.Options{FullPCPUsOnly: true}},
			TopologyManager: topologymanager.Config{Policy: topologymanager.PolicySingleNUMANode, Scope: topologymanager.ScopeContainer},
			Reserved:        reserved, Shared: topology.CPUs()},
		granted: map[types.UID]map[string]cpuset.Set{}, held: map[types.UID]admission.Held{},
	}
	if pods == furnished {
		n.furnish()
	}
	return n
}

// admit is the kubelet's decision about a pod; an admitted one has its CPUs from then on.
func (n *reportedNode) admit(uid types.UID, asks *admission.Pod) admission.Decision {
	decision, after := n.Admitting(asks)
	if decision.Verdict != admission.Admitted {
		return decision
	}
	n.Node = after
	n.held[uid] = decision.Held
	n.granted[uid] = map[string]cpuset.Set{}
	for _, grant := range decision.Grants {
		n.granted[uid][grant.Container] = grant.CPUs
	}
	return decision
}

// report is the node's NodeCPU as its agent would write it.
func (n *reportedNode) report(node *corev1.Node) (*unstructured.Unstructured, error) {
	report := &v1alpha1.NodeCPU{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID},
		}},
		Status: v1alpha1.NodeCPUStatus{
			Format: v1alpha1.FormatVersion, KubeletVersion: "v1.36.3",
			CPUManager:      v1alpha1.CPUManager{Policy: cpumanager.PolicyStatic, Options: map[string]string{"full-pcpus-only": "true"}},
			TopologyManager: v1alpha1.TopologyManager{Policy: topologymanager.PolicySingleNUMANode, Scope: topologymanager.ScopeContainer},
			ReservedCPUs:    n.Reserved.String(), SharedCPUs: n.Shared.String(),
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue, Reason: "Exact", LastTransitionTime: metav1.Now()}},
		},
	}
	nodereport.SetTopology(&report.Status, n.Topology)
	nodereport.SetGranted(&report.Status, n.granted)
	if n.Devices != nil {
		report.Status.MemoryManager = n.memoryReport()
		report.Status.Devices = n.deviceReport()
		report.Status.Conditions = append(report.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionDevicesKnown, Status: metav1.ConditionTrue, Reason: "DevicesRead", LastTransitionTime: metav1.Now(),
		})
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(report)
	if err != nil {
		return nil, fmt.Errorf("writing the report of %s: %w", node.Name, err)
	}
	return &unstructured.Unstructured{Object: content}, nil
}
