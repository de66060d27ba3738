// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// cut is at the end of a condition's message that was too long.
const cut = "…"

// exclusiveIn says whether anybody else may run on a VM's granted CPUs, by condition Exclusive of its node; "" where there is none.
// The condition names the VMs of which other containers share the CPUs, as "CPUs 2-3 of VM vms/db: who; CPUs 4 of VM ...".
func (p *pinning) exclusiveIn(report *v1alpha1.NodeCPU) string {
	c := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionExclusive)
	switch {
	case c == nil:
		return ""
	case c.Status == metav1.ConditionTrue:
		return c.Message + ", on this node since " + c.LastTransitionTime.UTC().Format(time.RFC3339)
	case c.Status == metav1.ConditionUnknown || !strings.Contains(c.Message, " of VM "):
		return c.Message
	}
	_, others, shared := strings.Cut(c.Message, "CPUs "+p.granted.String()+" of VM "+fullName(p.vm)+": ")
	switch {
	case shared:
		others, _, _ = strings.Cut(others, "; CPUs ")
		return "no: " + others + " may run on its CPUs too"
	case strings.HasSuffix(c.Message, cut):
		return "not known: the list of VMs in condition Exclusive of the node is cut off"
	}
	return "no other container may run on its CPUs"
}
