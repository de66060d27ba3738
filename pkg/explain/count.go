// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"

	"corepin.dev/corepin/pkg/verdict"
)

// left is what is left of a node's millicores by kube-scheduler's count.
func left(a verdict.Amounts) int64 { return max(0, a.Allocatable-a.Requested) }

// counted says what is left by count, and what is asked: "3800m of 8000m CPU left by count, of 4200m asked".
func (q *question) counted() string {
	return fmt.Sprintf("%dm of %dm CPU left by count, of %dm asked", left(q.node.Amounts), q.node.Amounts.Allocatable, q.demand.Millicores())
}

// Asks is what a demand asks for: "4 CPUs of its own + 200m in the shared pool".
func Asks(d *verdict.Demand) string {
	text := count(d.Pod.PeakCPUs(), "CPU") + " of its own"
	shared := d.Shared()
	if shared > 0 && !d.Pod.PodLevelResources {
		text += fmt.Sprintf(" + %dm in the shared pool", shared)
	}
	return text
}
