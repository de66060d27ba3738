package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/predicates"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
)

// mirrorAnnotation is on the API server's copy of a static pod. Its value is the UID that the pod has on its node
// (pkg/kubelet/types/pod_update.go, v1.36.3).
const mirrorAnnotation = "kubernetes.io/config.mirror"

// The labels of nodes that run the CPU manager; KubeVirt's launcher pods select one of them.
var managerLabels = []string{"cpumanager", "kubevirt.io/cpumanager"}

// view is a snapshot as corepin-scheduler sees it: nobody is admitted in advance.
type view struct {
	*snapshot
	// live reports that all pods are known, so that a pod that is missing has left.
	live bool
	// estimate reports that the count decides on a node whose kubelet cannot be predicted.
	estimate bool
	// vm is the one that is asked about, as far as it is known.
	vm launcher.VM
}

// view reads the input, and takes the nodes from the cluster, with all its pods, if it has none.
func (c *call) view(ctx context.Context) (*view, error) {
	input, asksCluster, err := c.input(nil)
	if err == nil {
		err = input.inputErrors() // a pod that is left out could be a neighbour
	}
	if err != nil {
		return nil, err
	}
	s := &view{snapshot: input}
	if !asksCluster {
		return s, nil
	}
	cluster, err := s.readCluster(ctx, c.host)
	if err != nil {
		return nil, err
	}
	s.live = true
	c.namespace = cmp.Or(c.namespace, cluster.Namespace)
	for i := range cluster.Pods {
		if pod := &cluster.Pods[i]; s.pod(pod.Namespace, pod.Name) == nil {
			s.pods = append(s.pods, pod)
		}
	}
	return s, nil
}

func (s *view) pod(namespace, name string) *corev1.Pod {
	for _, pod := range s.pods {
		if pod.Name == name && cmp.Or(pod.Namespace, "default") == namespace {
			return pod
		}
	}
	return nil
}

// launcherOf is the launcher pod of a VMI: the one that waits, or that runs, or that ended last.
func (s *view) launcherOf(vmi types.NamespacedName) *corev1.Pod {
	var found *corev1.Pod
	rank := func(pod *corev1.Pod) int {
		switch {
		case ended(pod):
			return 0
		case pod.Spec.NodeName != "":
			return 1
		}
		return 2
	}
	for _, pod := range s.pods {
		l, is := launcher.Of(pod)
		if !is || l.VMI.Name != vmi.Name || cmp.Or(pod.Namespace, "default") != vmi.Namespace {
			continue
		}
		if found == nil || cmp.Or(rank(pod)-rank(found), pod.CreationTimestamp.Compare(found.CreationTimestamp.Time)) > 0 {
			found = pod
		}
	}
	return found
}

// explain asks every node about a pod, those that fit first and then the nearest.
func (s *view) explain(pod *corev1.Pod) []explain.Explanation {
	var all []explain.Explanation
	for _, m := range s.machines {
		c := s.caseOf(m, pod)
		all = append(all, explain.Of(&c))
	}
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		if s.byName[name] == nil {
			c := s.caseOf(&machine{name: name}, pod)
			all = append(all, explain.Of(&c))
		}
	}
	return explain.Best(all, math.MaxInt)
}

// caseOf is a node and a pod as package explain wants them: as corepin-scheduler sees them.
func (s *view) caseOf(m *machine, pod *corev1.Pod) explain.Case {
	l, _ := launcher.Of(pod)
	c := explain.Case{NodeName: m.name, Pod: admission.PodOf(pod), Dedicated: s.vm.Dedicated, Guest: s.vm.Guest, Compute: l.Compute}
	residents := s.residents(m.name, pod)
	s.addNeighbours(&c, m, residents)
	node := s.nodes[m.name]
	if c.Unknown = m.unknown(node); c.Unknown != "" {
		c.Node = nil
	}
	if node == nil {
		return c // and nothing to count by
	}
	c.Unlabelled = !labelled(node)
	c.Excluded = excluded(node, residents, pod)
	if !c.Pod.PodLevelResources {
		c.Count = explain.NewCount(node.Status.Allocatable.Cpu().MilliValue(), requested(residents...), pod)
		c.Estimate = s.estimate
	}
	return c
}

// labelled reports whether a node has a label that says that its CPU manager runs.
func labelled(node *corev1.Node) bool {
	return slices.ContainsFunc(managerLabels, func(label string) bool { return node.Labels[label] == "true" })
}

// unknown says why the kubelet of a node cannot be predicted for any pod; "" if it can be. The Node object may be
// missing. A kubelet without CPU manager is predicted: it grants nothing.
func (m *machine) unknown(node *corev1.Node) string {
	switch {
	case m.node == nil && m.why == "":
		return "has no CPU report (NodeCPU); does corepin-agent run there?"
	case m.node == nil:
		return "has a CPU report that can't be read: " + strings.TrimPrefix(m.why, "reading node report of "+m.name+": ")
	case m.owner != "" && node != nil && node.UID != "" && m.owner != node.UID:
		return "has no CPU report (NodeCPU) but that of an earlier Node of its name; does corepin-agent run there?"
	case m.inexact != "" && m.node.CPUManager.Policy == cpumanager.PolicyStatic:
		return "cannot be predicted: " + m.inexact
	}
	return ""
}

// residents are the pods on a node that have not ended, without pod itself.
func (s *view) residents(node string, pod *corev1.Pod) []*corev1.Pod {
	var there []*corev1.Pod
	for _, other := range s.pods {
		if other.Spec.NodeName == node && other != pod && !ended(other) {
			there = append(there, other)
		}
	}
	return there
}

// addNeighbours sets the case's node and the pods on it: granted, in flight, or gone. A pod of which the report has only
// some containers is in flight, and what it has is free until it is admitted as a whole.
func (s *view) addNeighbours(c *explain.Case, m *machine, residents []*corev1.Pod) {
	if m.node == nil {
		return
	}
	node := *m.node
	granted := maps.Clone(m.granted)
	for _, pod := range residents {
		asks := admission.PodOf(pod)
		uid := uidOnNode(pod)
		neighbour := explain.Neighbour{Name: podOrVM(pod), Millicores: requested(pod)}
		switch held := granted[uid]; {
		case !m.node.Exclusive(&asks):
			continue
		case covers(held, m.node, &asks):
			neighbour.CPUs = union(held)
		default:
			node.Shared = node.Shared.Union(union(held))
			neighbour.InFlight = &asks
		}
		delete(granted, uid)
		c.Neighbours = append(c.Neighbours, neighbour)
	}
	for _, uid := range slices.Sorted(maps.Keys(granted)) {
		name := "pod " + string(uid)
		switch {
		case nodereport.StaticPod(uid):
			name = "static " + name // what is not there is its mirror
		case s.live:
			node.Shared, c.Left = node.Shared.Union(union(granted[uid])), true
			continue
		}
		c.Neighbours = append(c.Neighbours, explain.Neighbour{Name: name, CPUs: union(granted[uid])})
	}
	c.Node = &node
}

// uidOnNode is the UID that the pod has on its node, and so in the report.
func uidOnNode(pod *corev1.Pod) types.UID {
	return cmp.Or(types.UID(pod.Annotations[mirrorAnnotation]), pod.UID)
}

// covers reports whether a pod holds CPUs for each container that asks the kubelet of n for some.
func covers(held map[string]cpuset.Set, n *admission.Node, pod *admission.Pod) bool {
	return len(held) > 0 && !slices.ContainsFunc(asking(n, pod), func(c admission.Container) bool {
		return c.CPUs > 0 && held[c.Name].IsEmpty()
	})
}

// asking are the containers of a pod as the kubelet of n sees them: with the gate PodLevelResourceManagers those of a pod
// with pod-level resources may ask too.
func asking(n *admission.Node, pod *admission.Pod) []admission.Container {
	if n.PodLevelResourceManagers && pod.PodLevel != nil {
		return pod.PodLevel.Containers
	}
	return pod.Containers
}

func union(held map[string]cpuset.Set) cpuset.Set {
	var all cpuset.Set
	for _, cpus := range held {
		all = all.Union(cpus)
	}
	return all
}

// requested is what kube-scheduler counts for pods, in millicores.
func requested(pods ...*corev1.Pod) int64 {
	sum := int64(0)
	for _, pod := range pods {
		requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true})
		sum += requests.Cpu().MilliValue()
	}
	return sum
}

// plenty is more CPUs than any machine has.
var plenty = *resource.NewQuantity(1_000_000, resource.DecimalSI)

// excluded says why a node cannot take a pod however many CPUs it has, even if it had the labels for VMs; "" if it may.
func excluded(node *corev1.Node, residents []*corev1.Pod, pod *corev1.Pod) string {
	keepsAway := func(taint *corev1.Taint) bool { return taint.Effect != corev1.TaintEffectPreferNoSchedule }
	taint, tainted := corev1helpers.FindMatchingUntoleratedTaint(logr.Discard(), node.Spec.Taints, pod.Spec.Tolerations, keepsAway, false)
	switch {
	case node.Spec.Unschedulable:
		return "is cordoned (spec.unschedulable)"
	case tainted:
		return fmt.Sprintf("has taint %s, which the pod does not tolerate", taint.ToString())
	}
	ample := node.DeepCopy()
	ample.Status.Allocatable[corev1.ResourceCPU] = plenty
	if ample.Labels == nil {
		ample.Labels = map[string]string{}
	}
	for _, label := range managerLabels {
		ample.Labels[label] = "true"
	}
	fit := predicates.New(ample)
	for _, resident := range residents {
		fit.Add(resident)
	}
	unbound := *pod
	unbound.Spec.NodeName = ""
	if refusal := fit.Check(&unbound); refusal.Reason != "" {
		why := strings.TrimPrefix(refusal.Message, "Predicate "+refusal.Reason+" failed: ")
		return fmt.Sprintf("would not take the pod whatever CPUs it had: %s: %s", refusal.Reason, strings.TrimPrefix(why, "node(s) "))
	}
	return ""
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// podOrVM is the name of a pod: that of its VM where it has one.
func podOrVM(pod *corev1.Pod) string {
	if name := holderName(pod); name != nameOf(pod) {
		return name
	}
	return "pod " + nameOf(pod)
}

var (
	errBothSources = errors.New("the input has NodeCPU objects, and --kubeconfig or --context ask for those of a cluster; leave out the one or the other")
	errNodesOnly   = errors.New("reading input: there are Node objects in it and no NodeCPU objects; add them (kubectl get nodecpus -o yaml), or leave the Nodes out to ask the cluster")
)
