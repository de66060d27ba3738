// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// absence is since when a node has no report that can be used. The zero value is that of a node that never had one, or
// has one.
type absence struct {
	// lost is when the last good report was deleted or replaced by one that cannot be read.
	lost time.Time
	// contradicted is when the Node was first seen to say otherwise than the report.
	contradicted time.Time
	// boot is the Node's boot ID as first seen beside a report that has none, which is an older agent's.
	boot string
}

// since is the latest of its times.
func (a *absence) since() time.Time { return later(a.lost, a.contradicted) }

// replaced takes a report, or that there is none: after is nil then.
func (a *absence) replaced(before, after *nodereport.Report, now time.Time) {
	a.boot = ""
	switch {
	case usable(after):
		a.lost = time.Time{}
	case usable(before):
		a.lost = now
	}
}

// usable reports whether a report tells what its kubelet does, or did when it was last heard from.
func usable(r *nodereport.Report) bool {
	return r != nil && (r.State == nodereport.Exact || r.State == nodereport.Inexact || r.State == nodereport.NoCPUManager ||
		r.State == nodereport.Silent)
}

// judged takes a node with a report, and its Node object. It finds out what the report alone cannot tell: that the machine
// has booted since.
func (a *absence) judged(n *verdict.Node, on *corev1.Node, report *nodereport.Report, now time.Time) {
	boot := on.Status.NodeInfo.BootID
	switch {
	case !usable(report) || report.State == nodereport.Silent || report.Machine.BootID != "" || boot == "":
	case a.boot == "":
		a.boot = boot
	case a.boot != boot && n.State != nodereport.Replaced:
		n.State = nodereport.Contradicted
		n.Why = "the machine has booted since the report was written"
		n.Kubelet = nil
		n.Pods = nil
	}
	switch {
	case n.State != nodereport.Contradicted:
		a.contradicted = time.Time{}
	case a.contradicted.IsZero():
		a.contradicted = now
	}
}

// await makes a node starting whose report is expected soon: it is young, or it had a report not long ago. It
// returns until when that holds, and the zero time for other nodes.
func (v *View) await(n *verdict.Node, on *corev1.Node, a absence) time.Time {
	now := v.clock.Now()
	var until time.Time
	why := verdict.NodeIsNew
	since := a.since()
	if verdict.Labelled(on) {
		until = nodereport.YoungUntil(on, now)
		since = later(since, v.relistedAt())
	}
	if !since.IsZero() {
		until = later(until, since.Add(nodereport.FirstReport))
		why = verdict.ReportLost
	}
	if !now.Before(until) || !n.Await(why) {
		return time.Time{}
	}
	return until
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// relistedAt is when reports could be listed that could not be before, for example because the CRD was missing. The
// agents have not written theirs yet then.
func (v *View) relistedAt() time.Time {
	moment := v.relisted.Load()
	if moment == nil {
		return time.Time{}
	}
	return *moment
}

// list says that the reports are listed.
func (v *View) list() {
	if v.unlisted.Load() && !v.listed.Load() {
		now := v.clock.Now()
		v.relisted.Store(&now)
	}
	v.listed.Store(true)
}

// forgetLost drops nodes that have had no report for long: most of them are gone. The caller holds v.mu.
func (v *View) forgetLost() {
	now := v.clock.Now()
	for name, n := range v.nodes {
		n.mu.Lock()
		gone := n.report == nil && !n.absence.lost.IsZero() && now.Sub(n.absence.lost) > nodereport.FirstReport
		n.mu.Unlock()
		if gone {
			delete(v.nodes, name)
		}
	}
}
