// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// maxCompared is how many pods may come with one report for a comparison, and how many may go. They are tried in every order.
const maxCompared = 4

// comparison is pods that came with a report, and what the kubelet granted them.
type comparison struct {
	before, after *nodereport.Report
	pods          []*admission.Pod
	grants        [][]admission.Grant
	// came are their UIDs. The earlier report may have a part of what they hold, where it was made while their kubelet
	// admitted them.
	came []types.UID
}

func covers(r *nodereport.Report, uid types.UID, asks *admission.Pod) bool {
	return verdict.Covers(r, uid, asks)
}

// mismatch is empty if the kubelet did what was predicted. A report shows the outcome, and not the order of what happened since
// the one before. So every order counts as predicted. Else it is what happened, as a scenario.
func (c *comparison) mismatch() string {
	gone := c.gone()
	for _, node := range c.nodes() {
		if grantedInSomeOrder(&node, c.pods, c.grants, gone) {
			return ""
		}
	}
	results := make([]string, len(c.grants))
	for i := range c.grants {
		results[i] = admission.Decision{Verdict: admission.Admitted, Grants: c.grants[i]}.String()
	}
	return scenario(c.before.Without(c.came), c.pods, results)
}

// gone are pods of the earlier report that the later one has no longer. Each may have gone before or after each of the pods came.
// A kubelet takes back the memory and the devices of pods that have gone only when the next one comes. What it writes of devices
// may even then have them. So a pod of which no more than devices is reported may have gone.
func (c *comparison) gone() []admission.Leaving {
	var gone []admission.Leaving
	for uid := range c.before.Pods() {
		if len(c.after.Granted[uid]) == 0 && len(c.after.Held[uid].Memory) == 0 {
			gone = append(gone, admission.Leaving{Grants: c.before.Granted[uid], Held: c.before.Held[uid]})
		}
	}
	return gone
}

// nodes are the node as it may have been at first. The earlier report may have been made between the two writes of a kubelet
// that grants CPUs (package nodereport). Those CPUs were still in the shared pool.
func (c *comparison) nodes() []admission.Node {
	first := c.before.Without(c.came)
	nodes := []admission.Node{*first}
	empty := first.Empty()
	between := empty.Shared.Minus(first.Shared)
	for _, grants := range c.before.Granted {
		for _, grant := range grants {
			between = between.Minus(grant.CPUs)
		}
	}
	if between.IsEmpty() {
		return nodes
	}
	node := *first
	node.Shared = node.Shared.Union(between)
	return append(nodes, node)
}

// grantedInSomeOrder reports whether the kubelet, admitting the pods in some order while others go, would make these grants.
func grantedInSomeOrder(node *admission.Node, pods []*admission.Pod, grants [][]admission.Grant, gone []admission.Leaving) bool {
	if len(pods) == 0 {
		return true
	}
	for i, pod := range pods {
		d, next := node.Admitting(pod)
		if d.Verdict != admission.Admitted || !sameGrants(d.Grants, grants[i]) {
			continue
		}
		if grantedInSomeOrder(&next, without(pods, i), without(grants, i), gone) {
			return true
		}
	}
	for i := range gone {
		next := node.Releasing(gone[i].Grants, &gone[i].Held)
		if grantedInSomeOrder(&next, pods, grants, without(gone, i)) {
			return true
		}
	}
	return false
}

func without[T any](list []T, i int) []T { return slices.Delete(slices.Clone(list), i, i+1) }

// sameGrants compares, whatever the order of the containers.
func sameGrants(a, b []admission.Grant) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(g admission.Grant) bool { return !slices.Contains(b, g) })
}
