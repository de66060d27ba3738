// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/cpuset"

	"corepin.dev/corepin/test/harness/testbed"
)

// The limits in time of what is looked at.
const (
	lookPeriod  = 500 * time.Millisecond
	lookTimeout = 5 * time.Second
	// labelLimit is how long a label may be wrong: an agent is away for at most a fault, and the API server as well.
	labelLimit = 60 * time.Second
	// diskAftermath is how long a full disk excuses guests that did not start.
	diskAftermath = 30 * time.Second
)

// admissionReasons are the status.reason of pods that a kubelet refused.
var admissionReasons = []string{"TopologyAffinityError", "SMTAlignmentError", "UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory", "OutOfpods", "NodeAffinity", "TaintToleration"}

// observe looks at everything until ctx ends.
func (w *watch) observe(ctx context.Context, world *world) {
	for ctx.Err() == nil {
		w.look(ctx, world)
		pause(ctx, lookPeriod)
	}
}

// look looks once. Where the API server is away there is nothing to be seen of it.
func (w *watch) look(ctx context.Context, world *world) {
	within, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for _, node := range world.names {
		w.lookAtCheckpoint(world, node)
	}
	pods, err := world.bed.Client().CoreV1().Pods(testbed.VMNamespace).List(within, metav1.ListOptions{})
	if err != nil {
		w.count("looks without an API server", nil)
		return
	}
	w.mu.Lock()
	w.looks++
	w.mu.Unlock()
	w.lookAtPromises(world, pods.Items)
	for _, node := range world.names {
		w.lookAtNode(within, world, node)
	}
	for i := range pods.Items {
		w.lookAtPod(within, world, &pods.Items[i])
	}
}

// checkpoint is cpu_manager_state.
type checkpoint struct {
	Policy  string                       `json:"policyName"`
	Shared  string                       `json:"defaultCpuSet"`
	Entries map[string]map[string]string `json:"entries"`
}

func readCheckpoint(world *world, node string) (*checkpoint, error) {
	data, err := os.ReadFile(filepath.Join(world.bed.Nodes[node].Sim.KubeletRootDir(), "cpu_manager_state"))
	if err != nil {
		return nil, err
	}
	c := &checkpoint{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("reading cpu_manager_state of %s: %w", node, err)
	}
	return c, nil
}

// lookAtCheckpoint: no CPU is in two containers, or in a container and in the shared pool.
func (w *watch) lookAtCheckpoint(world *world, node string) {
	c, err := readCheckpoint(world, node)
	if err != nil {
		w.count("a checkpoint could not be read", err)
		return
	}
	if err := c.twice(); err != nil {
		w.violated("no CPU twice", "%s: %v", node, err)
	}
}

// twice is a CPU that two containers have, or a container and the shared pool; nil where there is none.
func (c *checkpoint) twice() error {
	taken, err := cpuset.Parse(c.Shared)
	if err != nil {
		return fmt.Errorf("the shared pool is %q: %w", c.Shared, err)
	}
	for pod, containers := range c.Entries {
		for name, list := range containers {
			cpus, err := cpuset.Parse(list)
			if err != nil {
				return fmt.Errorf("%s/%s has %q: %w", pod, name, list, err)
			}
			if !taken.Intersection(cpus).IsEmpty() {
				return fmt.Errorf("CPUs %s of %s/%s are somebody else's too", list, pod, name)
			}
			taken = taken.Union(cpus)
		}
	}
	return nil
}

// promises are the CPUs of the pods that are bound to each node and have not ended.
func promises(pods []corev1.Pod) map[string]int64 {
	promised := map[string]int64{}
	for i := range pods {
		pod := &pods[i]
		if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded || pod.DeletionTimestamp != nil {
			continue
		}
		promised[pod.Spec.NodeName] += computeCPUs(pod)
	}
	return promised
}

// lookAtPromises: the CPUs of the pods that are bound to a node are no more than the kubelet may grant.
func (w *watch) lookAtPromises(world *world, pods []corev1.Pod) {
	promised := promises(pods)
	for _, node := range world.names {
		machine := world.bed.Nodes[node].Machine
		reserved, err := cpuset.Parse(machine.Kubelet.ReservedSystemCPUs)
		if err != nil {
			w.violated("no CPU promised twice", "%v", err)
			continue
		}
		has := int64(machine.Topology.CPUs().Len() - reserved.Size())
		if promised[node] > has {
			w.violated("no CPU promised twice", "%s has %d CPUs to grant, and pods with %d are bound", node, has, promised[node])
		}
	}
}

func computeCPUs(pod *corev1.Pod) int64 {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == "compute" {
			return pod.Spec.Containers[i].Resources.Requests.Cpu().Value()
		}
	}
	return 0
}

// lookAtNode: the label stays, since every CPU manager's policy is static all the time.
func (w *watch) lookAtNode(ctx context.Context, world *world, name string) {
	node, err := world.bed.Client().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return
	}
	w.mu.Lock()
	since := w.label[name]
	switch {
	case node.Labels["cpumanager"] == "true":
		w.label[name] = time.Time{}
		since = time.Time{}
	case since.IsZero():
		w.label[name] = time.Now()
	}
	w.mu.Unlock()
	if !since.IsZero() && time.Since(since) > labelLimit {
		w.violated("the label is right within a minute", "%s has cpumanager=%q since %s", name, node.Labels["cpumanager"], since.Format(time.TimeOnly))
		w.mu.Lock()
		w.label[name] = time.Now()
		w.mu.Unlock()
	}
}

// lookAtPod: a kubelet that refuses a pod was expected to.
func (w *watch) lookAtPod(ctx context.Context, world *world, pod *corev1.Pod) {
	w.mu.Lock()
	seen := w.pods[string(pod.UID)]
	if seen == nil {
		seen = &seenPod{name: pod.Name}
		w.pods[string(pod.UID)] = seen
	}
	seen.node = pod.Spec.NodeName
	if pod.Status.Phase == corev1.PodRunning {
		seen.ran = time.Now()
	}
	first := pod.Status.Phase == corev1.PodFailed && !seen.over
	full := time.Since(w.full[seen.node]) < diskAftermath
	leftover := w.leftovers[seen.node]
	starts := since(w.starts[seen.node], seen.ran)
	w.mu.Unlock()
	if !first {
		return
	}
	refused := slices.Contains(admissionReasons, pod.Status.Reason)
	estimated, err := hasEvent(ctx, world, pod, "CPUsEstimated")
	if err != nil {
		return // looked at again
	}
	w.mu.Lock()
	seen.over = true
	w.mu.Unlock()
	said := fmt.Sprintf("%s on %s: %s: %s", pod.Name, seen.node, pod.Status.Reason, pod.Status.Message)
	switch {
	case !refused && (full || world.isHostile(pod)):
		w.count("guests that did not start on a full disk, or were hostile", nil)
	case !refused:
		w.violated("guests run", "%s (%s)", said, terminations(pod))
	case slices.ContainsFunc(starts, func(s start) bool { return s.announced(pod) }):
		w.count("pods lost at a kubelet's restart, as RestartSafe announced", nil)
	case slices.ContainsFunc(starts, func(s start) bool { return !s.reported || full && !s.pods[string(pod.UID)] }):
		w.count("pods lost at a kubelet's restart whose last grants or ends nobody had been told", nil)
	case !seen.ran.IsZero():
		w.violated("no pod is lost at a kubelet's restart", "%s; it was last seen running at %s, and the kubelet was started with %v", said, seen.ran.Format(time.TimeOnly), starts)
	case estimated:
		w.count("pods refused that were judged by counting", nil)
	case boundBefore(pod, leftover):
		w.count("pods refused by a kubelet that started with CPUs of pods that were gone", nil)
	default:
		w.violated("no kubelet refuses a pod", "%s", said)
	}
}

func terminations(pod *corev1.Pod) string {
	var all []string
	for i := range pod.Status.ContainerStatuses {
		if t := pod.Status.ContainerStatuses[i].State.Terminated; t != nil && t.Message != "" {
			all = append(all, t.Message)
		}
	}
	return strings.Join(all, "; ")
}

func hasEvent(ctx context.Context, world *world, pod *corev1.Pod, reason string) (bool, error) {
	// An agent may tell any event about any pod, but in its own name only.
	events, err := world.bed.Client().CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fmt.Sprintf("involvedObject.uid=%s,reason=%s,reportingComponent!=corepin-agent", pod.UID, reason)})
	if err != nil {
		return false, err
	}
	return len(events.Items) > 0, nil
}
