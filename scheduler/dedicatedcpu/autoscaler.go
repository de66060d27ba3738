// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// heldPods are pending pods for which a node has room by kube-scheduler's count, and its kubelet would refuse them. An
// autoscaler adds no node for them. Their number is a gauge.
type heldPods struct {
	mu   sync.Mutex
	pods map[types.UID]bool
}

// set says whether a pod is one of them.
func (h *heldPods) set(uid types.UID, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pods[uid] == held {
		return
	}
	if h.pods == nil {
		h.pods = map[types.UID]bool{}
	}
	if held {
		h.pods[uid] = true
	} else {
		delete(h.pods, uid)
	}
	withRoomByCount.Set(float64(len(h.pods)))
}
