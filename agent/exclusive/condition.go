// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/agent/pinning/ledger"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// Reasons of condition Exclusive.
const (
	ReasonNobodyElse        = "NobodyElse"
	ReasonHostServices      = "HostServices"
	ReasonCgroupsUnreadable = "CgroupsUnreadable"
)

// servicesPause is how long the condition names the same services, since sessions and timers come and go. Each change is a
// write at the API server.
const servicesPause = time.Hour

// setCondition brings the condition up to date. It is called with the lock held.
func (w *Watcher) setCondition(now time.Time) {
	if w.looked.IsZero() || !w.mounted {
		w.condition = nil
		return
	}
	c := &metav1.Condition{Type: v1alpha1.ConditionExclusive}
	w.condition = c
	if w.err != nil {
		c.Status = metav1.ConditionUnknown
		c.Reason = ReasonCgroupsUnreadable
		c.Message = ledger.Shorten("who may run on the CPUs of dedicated VMs is not known: " + w.err.Error())
		return
	}
	services := w.servicesNow(now)
	var shared []string
	for _, pod := range slices.Sorted(maps.Keys(w.records)) {
		r := w.records[pod]
		if r.lasting(w.patience()) {
			shared = append(shared, "CPUs "+r.guest.cpus.String()+" of VM "+r.guest.vm.String()+": "+describe(r.others, ""))
		}
	}
	c.Status = metav1.ConditionFalse
	switch {
	case len(shared) > 0:
		c.Reason = v1alpha1.ReasonContainers
		c.Message = "other containers may run on the CPUs of dedicated VMs: " + strings.Join(shared, "; ")
	case services != "":
		c.Reason = ReasonHostServices
		c.Message = "no other container may run on the CPUs of dedicated VMs, and by its cgroup the host's own software may: " + services +
			"; keep it off with AllowedCPUs of these slices, set to the reserved CPUs"
	default:
		c.Status = metav1.ConditionTrue
		c.Reason = ReasonNobodyElse
		c.Message = "nobody else may run on the CPUs of dedicated VMs, kernel threads aside"
	}
	c.Message = ledger.Shorten(c.Message)
}

// servicesNow says which services may run on the CPUs of some VM, in words that stay for a while. It is called with the
// lock held.
func (w *Watcher) servicesNow(now time.Time) string {
	var groups []string
	for _, r := range w.records {
		groups = append(groups, r.services...)
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	if len(groups) == 0 || w.services == "" || now.Sub(w.servicesAt) >= servicesPause {
		w.services = describeServices(groups)
		w.servicesAt = now
	}
	return w.services
}
