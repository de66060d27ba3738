// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// announceLimit is how long after a grant RestartSafe may not have told of it. The agent or the API server is away for at
// most a fault. The agent writes its report when it is back.
const announceLimit = longestFault + 5*time.Second

// restarting notes that a node's kubelet will be started again, and what it has granted until then.
func (w *watch) restarting(world *world, node string) {
	if c, err := readCheckpoint(world, node); err == nil {
		w.noteGrants(c)
	}
	w.noteAgent(world, node)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restarts[node] = time.Now()
	w.awayBefore[node] = w.away
	if w.agentAway[node].After(w.away) {
		w.awayBefore[node] = w.agentAway[node]
	}
}

// noteAgent notes whether a fault has a node's agent.
func (w *watch) noteAgent(world *world, node string) {
	if !world.hasFault("corepin-agent-" + node) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agentAway[node] = time.Now()
}

func (w *watch) noteGrants(c *checkpoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for uid := range c.Entries {
		if w.granted[uid].IsZero() {
			w.granted[uid] = time.Now()
		}
	}
}

// grantedJustBefore reports whether a pod had got its CPUs before a kubelet's start, but so late that nobody can have told
// that the start would fail it. An agent that was away meanwhile makes no report, and an API server takes none: away is when
// one of them was last seen to be so before the start. What a node's other pods did meanwhile is not told either. On a busy
// machine they need as long to come back.
func grantedJustBefore(granted, restart, away time.Time) bool {
	told := granted
	if away.After(granted) {
		told = away
	}
	return !granted.IsZero() && !granted.After(restart) && restart.Sub(told) < announceLimit
}

// A pod that has ended keeps its CPUs in the kubelet's checkpoint until the next admission or for ten seconds. A kubelet
// that starts in between gives them back only after it has admitted the pods of its first list: sourcesReady is set after
// HandlePodAdditions (syncLoopIteration in pkg/kubelet/kubelet.go, removeStaleState in
// pkg/kubelet/cm/cpumanager/cpu_manager.go, v1.36.3). So it refuses a pod that was bound meanwhile to those CPUs. Nobody
// who binds a pod can know that the kubelet will be started again before it sees the pod.

// noteLeftovers looks, right after a kubelet's start, whether its checkpoint has CPUs of pods that are gone or have ended.
func (w *world) noteLeftovers(ctx context.Context, node string, started time.Time) {
	c, err := readCheckpoint(w, node)
	if err != nil {
		w.watch.count("a checkpoint could not be read", err)
		return
	}
	pods, err := w.bed.Client().CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		w.watch.count("a kubelet started, and the API server was away again", err)
		return
	}
	if left := c.leftBy(pods.Items); len(left) > 0 {
		w.watch.count("kubelets that started with CPUs of pods that were gone", nil)
		w.watch.mu.Lock()
		w.watch.leftovers[node] = started
		w.watch.mu.Unlock()
	}
}

// leftBy are the pods of a checkpoint that are not among those that run, or will.
func (c *checkpoint) leftBy(pods []corev1.Pod) []string {
	var left []string
	for uid := range c.Entries {
		live := slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
			return string(pod.UID) == uid && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
		})
		if !live {
			left = append(left, fmt.Sprint(uid, " ", c.Entries[uid]))
		}
	}
	return left
}

// boundBefore reports whether a pod was bound before a kubelet had started, but so late that this start was the first to see it.
func boundBefore(pod *corev1.Pod, started time.Time) bool {
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			bound := c.LastTransitionTime.Time // whole seconds
			return !bound.After(started) && started.Sub(bound) < labelLimit
		}
	}
	return false
}
