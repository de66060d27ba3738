// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// start is what a kubelet found when it started.
type start struct {
	at   time.Time
	pods map[string]bool // by UID, those in its checkpoint
	// reported: the node's report in the API server said the same. So RestartSafe was of this checkpoint.
	reported bool
	said     string // by RestartSafe; "" if nothing is lost
}

const (
	// statusDelay is how long the API server may show a pod as running that its kubelet has refused at a start. API server and
	// etcd may each be away for a fault meanwhile, and need as long to come back.
	statusDelay = 60 * time.Second
	keptStarts  = 50
)

// starting notes what a kubelet that does not run will find, and what the node's report says of it.
func (w *watch) starting(ctx context.Context, world *world, node string) {
	found := start{at: time.Now(), pods: map[string]bool{}}
	c, err := readCheckpoint(world, node)
	if err != nil {
		w.count("a checkpoint could not be read", err)
		c = &checkpoint{}
	}
	for uid := range c.Entries {
		found.pods[uid] = true
	}
	within, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	report, err := world.bed.Report(within, node)
	if err == nil {
		found.reported = c.isReported(&report.Status)
		restart := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionRestartSafe)
		if restart != nil && restart.Status != metav1.ConditionTrue {
			found.said = restart.Message
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append([]start{found}, w.starts[node]...)
	w.starts[node] = all[:min(len(all), keptStarts)]
}

// since are the starts that a pod may have been lost at that was last seen running at a time.
func since(starts []start, ran time.Time) []start {
	if ran.IsZero() {
		return nil
	}
	var after []start
	for _, s := range starts {
		if s.at.After(ran.Add(-statusDelay)) {
			after = append(after, s)
		}
	}
	return after
}

// announced reports whether RestartSafe said that a pod would, or might, be lost. Five are named, and the others counted.
func (s start) announced(pod *corev1.Pod) bool {
	return strings.Contains(s.said, "/"+pod.Name+" ") || strings.Contains(s.said, " others")
}

// isReported reports whether a report has the pods and the shared pool of a checkpoint.
func (c *checkpoint) isReported(status *v1alpha1.NodeCPUStatus) bool {
	reported := map[string]bool{}
	for i := range status.Granted {
		reported[string(status.Granted[i].PodUID)] = true
	}
	for uid := range c.Entries {
		if !reported[uid] {
			return false
		}
	}
	return len(reported) == len(c.Entries) && status.SharedCPUs == c.Shared
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
