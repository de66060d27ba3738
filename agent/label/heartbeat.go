// SPDX-License-Identifier: Apache-2.0

package label

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// heartbeat is the annotation in which virt-handler says when it was last there. It is plain RFC 3339 (KubeVirt
// pkg/virt-handler/heartbeat/heartbeat.go, v1.9); older versions wrote the time as a JSON string.
const heartbeat = "kubevirt.io/heartbeat"

// alive is how old a heartbeat may be. It comes every one to two minutes, and KubeVirt itself gives a node
// up after five. What KubeVirt has left behind on a node it is gone from is not alive.
const alive = 10 * time.Minute

// leftToKubeVirt reports whether virt-handler keeps the node's labels. A heartbeat that is no time is one of a version
// that is not known, and alive. One from the future was written before the node's clock was set back.
func leftToKubeVirt(node *corev1.Node, now time.Time) bool {
	text, ok := node.Annotations[heartbeat]
	if !ok {
		return false
	}
	last, ok := parseHeartbeat(text)
	if !ok {
		return true
	}
	return now.Sub(last).Abs() < alive
}

// parseHeartbeat reads a heartbeat in either form.
func parseHeartbeat(text string) (last time.Time, ok bool) {
	var quoted string
	if json.Unmarshal([]byte(text), &quoted) == nil {
		text = quoted
	}
	last, err := time.Parse(time.RFC3339, text)
	return last, err == nil
}
