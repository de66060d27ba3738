package label

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// heartbeat is the annotation in which virt-handler says when it was last there, as JSON
// (pkg/virt-handler/heartbeat/heartbeat.go, KubeVirt v1.9).
const heartbeat = "kubevirt.io/heartbeat"

// alive is how old a heartbeat may be. It comes every one to two minutes, and KubeVirt itself gives a node
// up after five. What KubeVirt has left behind on a node it is gone from is not alive.
const alive = 10 * time.Minute

// leftToKubeVirt tells whether virt-handler keeps the node's labels. A heartbeat that does not parse is one
// of a version we do not know, and alive.
func leftToKubeVirt(node *corev1.Node, now time.Time) bool {
	text, ok := node.Annotations[heartbeat]
	if !ok {
		return false
	}
	var last metav1.Time
	if err := json.Unmarshal([]byte(text), &last); err != nil {
		return true
	}
	return now.Sub(last.Time) < alive
}
