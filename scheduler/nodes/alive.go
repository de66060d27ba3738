// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"time"

	"corepin.dev/corepin/pkg/nodereport"
)

// silence is that a node is not heard from. Package heard decides that. Nothing is predicted from its report then: the node
// is estimated, and no pod waits for its next report.
type silence struct {
	silent bool
	since  time.Time
	latest *nodereport.Report // as it came
}

// asHeard is a report as predictions are made from it.
func (n *node) asHeard(report *nodereport.Report) *nodereport.Report {
	n.silence.latest = report
	if n.silence.silent {
		return report.AsOf(n.silence.since)
	}
	return report
}

// Silence takes that a node has not been heard from since a moment. It reports whether that changes a verdict.
func (v *View) Silence(name string, since time.Time) (changed bool) {
	return v.hear(name, silence{silent: true, since: since})
}

// Hear takes that a node is heard from again. It reports whether that changes a verdict.
func (v *View) Hear(name string) (changed bool) { return v.hear(name, silence{}) }

func (v *View) hear(name string, s silence) (changed bool) {
	n := v.node(name)
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.report == nil {
		return false
	}
	s.latest = n.silence.latest
	n.silence = s
	return n.set(n.asHeard(s.latest), v.clock.Now(), false).Changed
}
