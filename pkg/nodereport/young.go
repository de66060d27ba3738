// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// FirstReport is how long the report of a node is awaited that is new, or whose report was lost. An agent on a new node
// has its image to pull. On a node that had a report it writes within seconds.
const FirstReport = 5 * time.Minute

// YoungUntil is until when the first report of a new Node is awaited: for a while after its creation. A Node that claims to be
// of the future is not new. The zero time is never.
func YoungUntil(node *corev1.Node, now time.Time) time.Time {
	created := node.CreationTimestamp.Time
	if created.IsZero() || created.After(now.Add(FirstReport)) {
		return time.Time{}
	}
	return created.Add(FirstReport)
}
