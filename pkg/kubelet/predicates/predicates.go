// SPDX-License-Identifier: Apache-2.0

// Package predicates is the check that a kubelet makes of a pod after it has given it CPUs (pkg/kubelet/admission). It
// asks whether the pod's requests fit into the node's allocatable amounts beside the pods that are there, and whether
// the pod may be on the node at all. A pod that is refused here fails for good, too.
//
// The order is the kubelet's. Of several reasons it gives only the first:
//
//  1. eviction and sysctls, which are not looked at here
//  2. the topology manager, which grants CPUs: pkg/kubelet/admission
//  3. amounts: OutOfpods, OutOfcpu, OutOfmemory, OutOfephemeral-storage, then the other resources
//  4. NodeAffinity, NodeName, NodePorts, and TaintToleration for taints with effect NoExecute
//
// (pkg/kubelet/kubelet.go, pkg/kubelet/lifecycle/predicate.go, and AdmissionCheck in pkg/scheduler/eventhandlers.go;
// the same in v1.34.0, v1.35.0, v1.36.3, v1.37.2 and v1.38.0-beta.0.) So a pod that is too large for the node fails with
// TopologyAffinityError under a topology manager that finds no room for it. It fails with OutOfcpu only where the CPU
// manager grants it CPUs, or has none to grant. What a pod requests is counted as the scheduler does: overhead counts,
// and an init container counts only as far as it asks for more than the containers after it.
package predicates

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// ReasonEvicts is not a kubelet's reason. For a critical pod the kubelet evicts other pods, and which ones is not
// modelled.
const ReasonEvicts = "EvictsOthers"

// Node is a node and the pods on it.
type Node struct {
	node        *corev1.Node
	allocatable amounts
	requested   amounts
	ports       []hostPort
}

// amounts are in the kubelet's units: CPUs in thousandths, everything else in ones.
type amounts map[corev1.ResourceName]int64

// New gives the node with no pod on it.
func New(node *corev1.Node) *Node {
	return &Node{node: node, allocatable: amountsOf(node.Status.Allocatable), requested: amounts{}}
}

func amountsOf(list corev1.ResourceList) amounts {
	a := make(amounts, len(list))
	for name, quantity := range list {
		a[name] = quantity.Value()
		if name == corev1.ResourceCPU {
			a[name] = quantity.MilliValue()
		}
	}
	return a
}

// Add puts a pod on the node.
func (n *Node) Add(pod *corev1.Pod) {
	for name, amount := range amountsOf(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true})) {
		n.requested[name] += amount
	}
	n.requested[corev1.ResourcePods]++
	n.ports = append(n.ports, hostPorts(pod)...)
}

// Refusal is why the kubelet refuses a pod, in its own words. The zero value means that it does not refuse.
type Refusal struct{ Reason, Message string }

// Check says whether and why the kubelet would refuse the pod, which the node does not have yet.
func (n *Node) Check(pod *corev1.Pod) Refusal {
	short, isShort := n.short(pod)
	if isShort && !critical(pod) {
		return short
	}
	misplaced, is := n.misplaced(pod)
	if is {
		return misplaced
	}
	if isShort {
		return Refusal{ReasonEvicts, "the kubelet would evict other pods to make room for this one, which is critical: " + short.Message}
	}
	return Refusal{}
}

// inOrder are the resources that the kubelet looks at first. It goes through the others in no order.
var inOrder = []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// short says which resource is too small (fitsRequest in pkg/scheduler/framework/plugins/noderesources/fit.go,
// v1.36.3).
func (n *Node) short(pod *corev1.Pod) (Refusal, bool) {
	requests := n.asked(pod)
	var others []corev1.ResourceName
	for name := range requests {
		if !slices.Contains(inOrder, name) && counted(name) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	for _, name := range append(slices.Clone(inOrder), others...) {
		asked := requests[name]
		used := n.requested[name]
		capacity := n.allocatable[name]
		if asked > 0 && asked > capacity-used {
			return Refusal{"OutOf" + string(name), fmt.Sprintf(
				"Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, asked, used, capacity)}, true
		}
	}
	return Refusal{}, false
}

// asked are the amounts that a new pod asks for.
func (n *Node) asked(pod *corev1.Pod) amounts {
	requests := amountsOf(resourcehelper.PodRequests(n.withoutUnknown(pod), resourcehelper.PodResourcesOptions{}))
	requests[corev1.ResourcePods] = 1
	return requests
}

// Missing is an extended resource that the pod asks for and the node does not have; "" for none. The kubelet does not look at it, and
// kube-scheduler binds no such pod to the node (fitsRequest in pkg/scheduler/framework/plugins/noderesources/fit.go, v1.36.3). KubeVirt's
// own devices do not count: where it emulates, pods do not ask for KVM, and nodes without the others are not schedulable to it.
func (n *Node) Missing(pod *corev1.Pod) corev1.ResourceName {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		_, known := n.allocatable[name]
		amount := requests[name]
		if !known && extended(name) && !strings.HasPrefix(string(name), "devices.kubevirt.io/") && !amount.IsZero() {
			return name
		}
	}
	return ""
}

// Room is how many pods like one the amounts are enough for: as often as Check takes it if each of them is added. The pod has no
// host ports.
func (n *Node) Room(pod *corev1.Pod) int {
	if n.Check(pod).Reason != "" {
		return 0
	}
	room := math.MaxInt
	for name, asked := range n.asked(pod) {
		if asked > 0 && (slices.Contains(inOrder, name) || counted(name)) {
			room = min(room, int((n.allocatable[name]-n.requested[name])/asked))
		}
	}
	return room
}

// withoutUnknown is the pod without requests of extended resources that the node does not have. The kubelet takes them
// for resources of the cluster (removeMissingExtendedResources in pkg/kubelet/lifecycle/predicate.go, v1.36.3).
func (n *Node) withoutUnknown(pod *corev1.Pod) *corev1.Pod {
	unknown := func(name corev1.ResourceName) bool {
		_, known := n.allocatable[name]
		return !known && extended(name)
	}
	asks := func(c corev1.Container) bool {
		for name := range c.Resources.Requests {
			if unknown(name) {
				return true
			}
		}
		return false
	}
	if !slices.ContainsFunc(pod.Spec.Containers, asks) && !slices.ContainsFunc(pod.Spec.InitContainers, asks) {
		return pod
	}
	without := pod.DeepCopy()
	for _, containers := range [][]corev1.Container{without.Spec.Containers, without.Spec.InitContainers} {
		for i := range containers {
			for name := range containers[i].Resources.Requests {
				if unknown(name) {
					delete(containers[i].Resources.Requests, name)
				}
			}
		}
	}
	return without
}

// counted reports whether a resource other than those of inOrder counts (IsScalarResourceName in
// pkg/scheduler/util/utils.go, v1.36.3).
func counted(name corev1.ResourceName) bool {
	text := string(name)
	return extended(name) || strings.Contains(text, corev1.ResourceDefaultNamespacePrefix) ||
		strings.HasPrefix(text, corev1.ResourceHugePagesPrefix) || strings.HasPrefix(text, corev1.ResourceAttachableVolumesPrefix)
}

// extended reports whether a resource comes from a device plugin or the cluster's administrator.
func extended(name corev1.ResourceName) bool {
	text := string(name)
	return strings.Contains(text, "/") && !strings.Contains(text, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(text, corev1.DefaultResourceRequestsPrefix)
}

// misplaced says why the pod may not be on the node, whatever is free.
func (n *Node) misplaced(pod *corev1.Pod) (Refusal, bool) {
	if matches, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(n.node); err != nil || !matches {
		return failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"), true
	}
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != n.node.Name {
		return failed("NodeName", "node(s) didn't match the requested node name"), true
	}
	for _, want := range hostPorts(pod) {
		if slices.ContainsFunc(n.ports, want.conflicts) {
			return failed("NodePorts", "node(s) didn't have free ports for the requested pod ports"), true
		}
	}
	noExecute := func(taint *corev1.Taint) bool { return taint.Effect == corev1.TaintEffectNoExecute }
	if untolerated(n.node, pod, noExecute) && !static(pod) {
		return failed("TaintToleration", "node(s) had taints that the pod didn't tolerate"), true
	}
	return Refusal{}, false
}

func failed(predicate, why string) Refusal {
	return Refusal{predicate, fmt.Sprintf("Predicate %s failed: %s", predicate, why)}
}

// critical reports whether the kubelet evicts others for the pod (IsCriticalPod in
// pkg/kubelet/types/pod_update.go, v1.36.3).
func critical(pod *corev1.Pod) bool {
	const systemCritical = 2_000_000_000 // SystemCriticalPriority in pkg/apis/scheduling/types.go
	_, mirror := pod.Annotations["kubernetes.io/config.mirror"]
	return static(pod) || mirror || pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical
}

// static reports whether the pod comes from a file of the node.
func static(pod *corev1.Pod) bool {
	source, told := pod.Annotations["kubernetes.io/config.source"]
	return told && source != "api"
}
