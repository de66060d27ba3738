// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"

	"corepin.dev/corepin/pkg/verdict"
)

// roomByCount reports whether a node that is refused has room by kube-scheduler's count. Autoscalers (Cluster Autoscaler,
// Karpenter) simulate scheduling with kube-scheduler's own plugins. They take the pod for one that the node will get, and add
// none.
func (q *question) roomByCount(v *verdict.Verdict) bool {
	switch v.Obstacle {
	case verdict.InFlight, verdict.Kept, verdict.Kubelet, verdict.Guest, verdict.Restart:
		return q.node.Amounts.Counting != verdict.NotCounted && q.node.Missing(&q.demand) == 0
	}
	return false
}

// AutoscalerNote says of a pod that fits nowhere what an autoscaler will not do, in a sentence: node is one of so many nodes
// that have room by count. It is "" if there are none.
func AutoscalerNote(node string, nodes int) string {
	switch nodes {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("By count %s has room, so an autoscaler adds no node.", node)
	}
	return fmt.Sprintf("By count %s and %d other nodes have room, so an autoscaler adds none.", node, nodes-1)
}

// WithRoomByCount counts the nodes that are refused and have room by count, and names the first; 0 if the pod fits on some
// node.
func WithRoomByCount(all []Explanation) (node string, nodes int) {
	for i := range all {
		switch {
		case all[i].Fits:
			return "", 0
		case all[i].RoomByCount && nodes == 0:
			node = all[i].Node
			nodes++
		case all[i].RoomByCount:
			nodes++
		}
	}
	return node, nodes
}
