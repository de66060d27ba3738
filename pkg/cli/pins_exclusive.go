// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// exclusiveIn says whether anybody else may run on a VM's granted CPUs, by its grant in the report of its node and condition
// Exclusive there; "" where there is none. The condition speaks of all VMs of the node, sharedWith of one.
func exclusiveIn(report *v1alpha1.NodeCPU, grant v1alpha1.PodGrant) string {
	c := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionExclusive)
	told := slices.ContainsFunc(report.Status.Granted, func(other v1alpha1.PodGrant) bool { return other.SharedWith != "" })
	switch {
	case c == nil:
		return ""
	case c.Status == metav1.ConditionTrue:
		return c.Message + ", on this node since " + c.LastTransitionTime.UTC().Format(time.RFC3339)
	case c.Reason != v1alpha1.ReasonContainers:
		return c.Message
	case grant.SharedWith != "":
		return "no: " + grant.SharedWith + " may run on its CPUs too"
	case told:
		return "no other container may run on its CPUs"
	}
	return c.Message // of an agent that does not tell it for each VM
}
