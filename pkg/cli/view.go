// SPDX-License-Identifier: Apache-2.0

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
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/kubelet/predicates"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// The labels of nodes that run the CPU manager; KubeVirt's launcher pods select one of them.
var managerLabels = []string{verdict.LabelCPUManager, verdict.LabelKubeVirtCPUManager}

// view is a snapshot as corepin-scheduler sees it: nobody is admitted in advance.
type view struct {
	// In a live snapshot all pods are known, so a pod that is missing has left.
	*snapshot
	// read is when the cluster was read; zero for input.
	read time.Time
	// estimate reports that the count decides on a node whose kubelet cannot be predicted.
	estimate bool
	// vm is the one that is asked about, as far as it is known.
	vm launcher.VM
	// on are the pods by the node that they are on or nominated to; nil before it is asked for.
	on map[string][]*corev1.Pod
}

// view reads the input, and takes the nodes from the cluster, with all its pods, if it has none.
func (c *call) view(ctx context.Context) (*view, error) {
	input, asksCluster, err := c.input(ctx, nil)
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
	s.read = c.host.Now()
	c.namespace = cmp.Or(c.namespace, cluster.Namespace)
	for i := range cluster.Pods {
		pod := &cluster.Pods[i]
		if !s.listed[nameOf(pod)] { // one of the input stands for that of the cluster
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

// explain asks every node about a pod, those that fit first and then the nearest. Only the nearest, no more than so many, are asked
// what would help: that takes a hundred times as long.
func (s *view) explain(pod *corev1.Pod, nearest int) []explain.Explanation {
	var all []explain.Explanation
	machines := s.everyNode()
	for _, m := range machines {
		n, d := s.question(m, pod)
		if len(machines) <= nearest {
			all = append(all, explain.Of(&n, &d))
		} else {
			all = append(all, explain.Outline(&n, &d))
		}
	}
	all = explain.Best(all, math.MaxInt)
	if len(machines) <= nearest {
		return all
	}
	byName := map[string]*machine{}
	for _, m := range machines {
		byName[m.name] = m
	}
	for i := range all[:nearest] {
		n, d := s.question(byName[all[i].Node], pod)
		all[i] = explain.Of(&n, &d)
	}
	return explain.Best(all, math.MaxInt)
}

// question is a node and a pod as explain is asked about them.
func (s *view) question(m *machine, pod *corev1.Pod) (verdict.Node, verdict.Demand) {
	return s.nodeFor(m, pod), s.demand(pod, s.nodes[m.name])
}

// demand is what a pod asks of a node, as corepin-scheduler reads it. Without a Node object there is nothing to estimate by.
func (s *view) demand(pod *corev1.Pod, node *corev1.Node) verdict.Demand {
	l, _ := launcher.Of(pod)
	d := verdict.DemandOf(pod)
	d.Dedicated = s.vm.Dedicated
	d.NeedsLabel = s.vm.Dedicated && node != nil
	d.Estimate = s.estimate && node != nil
	d.Guest = s.vm.Guest
	d.Compute = l.Compute
	return d
}

// nodeFor is a node as corepin-scheduler sees it for a pod.
func (s *view) nodeFor(m *machine, pod *corev1.Pod) verdict.Node {
	node := s.nodes[m.name]
	residents := s.residents(m.name, pod)
	n := verdict.New(node, m.heard(), s.holders(m, residents))
	n.Name = m.name
	if node == nil {
		return n
	}
	now := s.asOf()
	if verdict.Labelled(node) && now.Before(nodereport.YoungUntil(node, now)) {
		n.Await(verdict.NodeIsNew)
	}
	n.Excluded = excluded(node, residents, pod)
	n.Amounts = verdict.Amounts{Allocatable: node.Status.Allocatable.Cpu().MilliValue(), Requested: requested(residents...), Counting: verdict.CountedAlways}
	return n
}

// heard is the report as corepin-scheduler takes it: of a node that is not heard from it is one of the past.
func (m *machine) heard() *nodereport.Report {
	if m.silent {
		return m.report.AsOf(m.since)
	}
	return m.report
}

// holders are the pods that may have exclusive CPUs: those of the input or the cluster, and those that only the report
// knows. Where all pods are known, the latter have gone, except static pods: of those only the mirror pod is not there.
func (s *view) holders(m *machine, residents []*corev1.Pod) []verdict.Pod {
	var pods []verdict.Pod
	known := map[types.UID]bool{}
	for _, pod := range residents {
		p := verdict.PodOf(pod)
		p.Name = podOrVM(pod)
		p.Millicores = requested(pod)
		pods = append(pods, p)
		known[p.UID] = true
	}
	for _, uid := range slices.Sorted(maps.Keys(m.report.Granted)) {
		static := nodereport.StaticPod(uid)
		if known[uid] || s.live && !static {
			continue
		}
		name := "pod " + string(uid)
		if static {
			name = "static " + name
		}
		pods = append(pods, verdict.Pod{UID: uid, Name: name})
	}
	return pods
}

// residents are the pods on a node that have not ended, without pod itself. As for kube-scheduler, a pod that is nominated to
// the node counts for those that are not more important.
func (s *view) residents(node string, pod *corev1.Pod) []*corev1.Pod {
	if s.on == nil {
		s.on = map[string][]*corev1.Pod{}
		for _, other := range s.pods {
			at := cmp.Or(other.Spec.NodeName, other.Status.NominatedNodeName)
			s.on[at] = append(s.on[at], other)
		}
	}
	var there []*corev1.Pod
	for _, other := range s.on[node] {
		nominated := other.Spec.NodeName == "" && other.Status.NominatedNodeName == node &&
			corev1helpers.PodPriority(other) >= corev1helpers.PodPriority(pod)
		if (other.Spec.NodeName == node || nominated) && other != pod && !ended(other) {
			there = append(there, other)
		}
	}
	return there
}

// asOf is the time that the objects are of. Files do not say when they were written: the latest time in them is the
// nearest to that.
func (s *view) asOf() time.Time {
	if !s.read.IsZero() {
		return s.read
	}
	var latest metav1.Time
	see := func(moments ...metav1.Time) {
		for _, moment := range moments {
			if latest.Before(&moment) {
				latest = moment
			}
		}
	}
	for _, node := range s.nodes {
		see(node.CreationTimestamp)
		for i := range node.Status.Conditions {
			see(node.Status.Conditions[i].LastHeartbeatTime, node.Status.Conditions[i].LastTransitionTime)
		}
	}
	for _, pod := range s.pods {
		see(pod.CreationTimestamp)
		for i := range pod.Status.Conditions {
			see(pod.Status.Conditions[i].LastTransitionTime)
		}
	}
	return latest.Time
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
	missing := fit.Missing(pod)
	if missing != "" {
		return fmt.Sprintf("has no %s, which the pod asks for", missing)
	}
	for _, resident := range residents {
		fit.Add(resident)
	}
	unbound := *pod
	unbound.Spec.NodeName = ""
	refusal := fit.Check(&unbound)
	if refusal.Reason != "" {
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
	name := holderName(pod)
	if name != nameOf(pod) {
		return name
	}
	return "pod " + nameOf(pod)
}

var (
	errBothSources  = errors.New("the input has NodeCPU objects, and --kubeconfig or --context ask for those of a cluster; leave out the one or the other")
	errBothClusters = errors.New("the input has a dump, and NodeCPU objects, --kubeconfig or --context mean another cluster; leave out the one or the other")
	errNodesOnly    = errors.New("reading input: there are Node objects in it and no NodeCPU objects; add them (kubectl get nodecpus -o yaml), or leave the Nodes out to ask the cluster")
)
