// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// Reasons of condition RestartSafe.
const (
	ReasonKeepsEverything = "KeepsEverything"
	ReasonWouldNotStart   = "WouldNotStart"
	ReasonWouldRefusePods = "WouldRefusePods"
	ReasonWouldMovePods   = "WouldMovePods"
	ReasonNotCertain      = "NotCertain"
)

// changedConfig begins a message about a configuration that waits for the kubelet's next start.
const changedConfig = "the kubelet's configuration was changed"

// namedPods is how many pods a message names; the others are counted.
const namedPods = 5

// restartSafe answers what the kubelet's next start does, with the configuration that it will have then: does it
// start, and does every pod keep its CPUs? A kubelet that starts admits the running pods once more, and fails those
// that it would not admit. What is not certain is Unknown. Nothing is said before every source has been read once and
// the pods are listed.
func restartSafe(s *v1alpha1.NodeCPUStatus, r *Resolved) (c metav1.Condition, known bool) {
	if r.Origin == kubelet.Nowhere || !readable(r.Kubelet.Checkpoint) || !readable(r.Host) {
		return c, false
	}
	why := uncertain(r)
	if why != "" {
		return metav1.Condition{
			Type: v1alpha1.ConditionRestartSafe, Status: metav1.ConditionUnknown, Reason: ReasonNotCertain, Message: why,
		}, true
	}
	c = metav1.Condition{
		Type: v1alpha1.ConditionRestartSafe, Status: metav1.ConditionTrue, Reason: ReasonKeepsEverything,
		Message: "started again, the kubelet leaves every pod its CPUs",
	}
	if r.Next.MemoryManagerPolicy == memoryStatic {
		c.Message = "started again, the kubelet leaves every pod its CPUs and its memory"
	}
	p := restartProblem(s, r)
	if p == nil {
		// Every pod is admitted again, and who they are is not known.
		return c, !r.PodsUnlisted
	}
	c.Status = metav1.ConditionFalse
	c.Reason = p.reason
	if p.reason == ReasonNotCertain {
		c.Status = metav1.ConditionUnknown
	}
	c.Message = "started again, the kubelet " + p.message
	if r.ConfigChanged {
		c.Message = changedConfig + ", and started again with it, the kubelet " + p.message
	}
	return c, true
}

// restartProblem is what goes wrong at the kubelet's next start; nil where nothing does.
func restartProblem(s *v1alpha1.NodeCPUStatus, r *Resolved) *problem {
	checkpoint := r.Kubelet.Checkpoint.Value
	next := r.Next
	if next.CPUManagerPolicy != checkpoint.Policy {
		return &problem{ReasonWouldNotStart, fmt.Sprintf(
			"will not start: its CPU manager's policy will be %s, and cpu_manager_state was written with %s; drain the node and remove that file first, or the %d pods with CPUs of their own lose them",
			next.CPUManagerPolicy, checkpoint.Policy, len(checkpoint.Granted))}
	}
	if why := startProblem(r); why != "" {
		return &problem{ReasonWouldNotStart, "will not start: " + why}
	}
	var node *started
	if checkpoint.Policy == cpumanager.PolicyStatic {
		var problem *problem
		if node, problem = takesItsState(s, r); problem != nil {
			return problem
		}
	}
	again := readmitted(node, r)
	also := ""
	if len(again.unsure) > 0 {
		also = fmt.Sprintf("; it may fail %d more: %s", len(again.unsure), shortened(again.unsure))
	}
	switch {
	case len(again.refused) > 0:
		return &problem{ReasonWouldRefusePods, fmt.Sprintf("will fail %d pods that run: %s", len(again.refused), shortened(again.refused)) + also}
	case len(again.moved) > 0:
		return &problem{ReasonWouldMovePods, fmt.Sprintf("will give %d pods other CPUs than they have: %s", len(again.moved), shortened(again.moved)) + also}
	case len(again.unsure) > 0:
		return &problem{ReasonNotCertain, fmt.Sprintf("may fail %d pods that run: %s", len(again.unsure), shortened(again.unsure))}
	}
	return nil
}

// started is a node whose kubelet has started again and has not admitted any pod yet, and what pods hold besides CPUs.
type started struct {
	*admission.Node
	held map[types.UID]admission.Held
}

// takesItsState is the node with its next configuration, or why its CPU manager would not start with the state that it has.
func takesItsState(s *v1alpha1.NodeCPUStatus, r *Resolved) (*started, *problem) {
	node, err := nodeAfterRestart(s, r)
	if err != nil {
		return nil, &problem{ReasonWouldNotStart, fmt.Sprintf("may not start: %v", err)}
	}
	checkpoint := r.Kubelet.Checkpoint.Value
	var all []admission.Grant
	for _, uid := range slices.Sorted(maps.Keys(checkpoint.Granted)) {
		all = append(all, grantsOf(checkpoint, uid)...)
	}
	why := node.Restarts(all)
	if why != "" {
		return nil, &problem{ReasonWouldNotStart, fmt.Sprintf(
			"will not start: %s; drain the node and remove cpu_manager_state first, or change the configuration back", why)}
	}
	return node, nil
}

// nodeAfterRestart is the node with its next configuration and its present state. No device plugin has registered yet, so
// devices give the topology manager no hint.
func nodeAfterRestart(s *v1alpha1.NodeCPUStatus, r *Resolved) (*started, error) {
	status := s.DeepCopy()
	status.CPUManager.Options = r.Next.CPUManagerOptions
	status.TopologyManager = topologyManagerOf(r.Next)
	status.MemoryManager.Policy = r.Next.MemoryManagerPolicy
	status.PodLevelResourceManagers = r.Next.PodLevelResourceManagers(r.Minor)
	if r.ReservedByNext != nil {
		status.ReservedCPUs = r.ReservedByNext.String()
	}
	report := nodereport.Read(&v1alpha1.NodeCPU{Status: *status})
	if report.Node == nil {
		return nil, errors.New(report.Why)
	}
	node := *report.Node
	node.Devices = nil
	return &started{Node: &node, held: report.Held}, nil
}

// grantsOf are the CPUs that a pod holds: those of the pod as a whole, where it has any, and those of its containers.
func grantsOf(checkpoint kubelet.Checkpoint, uid types.UID) []admission.Grant {
	var grants []admission.Grant
	whole, asOne := checkpoint.Pods[uid]
	if asOne {
		grants = append(grants, admission.Grant{CPUs: whole})
	}
	containers := checkpoint.Granted[uid]
	for _, name := range slices.Sorted(maps.Keys(containers)) {
		grants = append(grants, admission.Grant{Container: name, CPUs: containers[name], Part: asOne})
	}
	return grants
}

// again is what becomes of the pods that run when the kubelet admits them once more. It fails the refused, each with its
// reason. The moved hold CPUs as a whole, and get others. Of the unsure it is not certain. Each list is in order of age,
// the oldest first.
type again struct{ refused, moved, unsure []string }

// readmitted asks about every pod, in the order in which the kubelet admits them; node is nil where the CPU manager's policy
// grants no CPUs.
func readmitted(node *started, r *Resolved) again {
	pods := slices.Clone(r.Pods)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(string(a.UID), string(b.UID)))
	})
	var all again
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		name := pod.Namespace + "/" + pod.Name
		why, moved := refusedCPUs(node, pod, r.Kubelet.Checkpoint.Value)
		certain := true
		if why == "" {
			why, certain = refusedByNode(pod, r.Node)
		}
		if why == "" {
			why = unrecorded(node, pod, r.Kubelet.Checkpoint.Value)
			certain = why == ""
		}
		if why == "" {
			why = node.refusesMemory(pod, r.Kubelet.Checkpoint.Value)
			certain = why == ""
		}
		switch {
		case why != "" && certain:
			all.refused = append(all.refused, fmt.Sprintf("%s (%s)", name, why))
		case why != "":
			all.unsure = append(all.unsure, fmt.Sprintf("%s (%s)", name, why))
		case moved:
			all.moved = append(all.moved, name)
		}
	}
	return all
}

// refusedCPUs is why the kubelet would not admit a pod again with the CPUs that it holds, whatever its memory; "" where it
// would. It then reports whether the pod gets other CPUs.
func refusedCPUs(node *started, pod *corev1.Pod, checkpoint kubelet.Checkpoint) (why string, moved bool) {
	held := grantsOf(checkpoint, uidOnNode(pod))
	if node == nil || len(held) == 0 {
		return "", false
	}
	cpus := *node.Node
	cpus.MemoryManager = memoryNone
	demand := admission.PodOf(pod)
	d := admission.Readmit(&cpus, &demand, held, &admission.Held{})
	if d.Verdict == admission.Refused {
		return d.Reason, false
	}
	return "", d.Granted() != (admission.Decision{Grants: held}).Granted()
}

// refusesMemory is why the kubelet may not admit a pod again on account of its memory; "" where it does. The node is then
// as the pod leaves it: an init container whose memory was given back gets memory once more.
func (n *started) refusesMemory(pod *corev1.Pod, checkpoint kubelet.Checkpoint) string {
	if n == nil || n.MemoryManager != memoryStatic || n.Memory == nil {
		return ""
	}
	uid := uidOnNode(pod)
	demand := admission.PodOf(pod)
	held := n.held[uid]
	if pod.Status.Phase == corev1.PodRunning && !n.CoversBesides(&demand, &held) {
		return "memory_manager_state has not all of its memory, so the kubelet may grant it other memory, or refuse it"
	}
	d, after := n.Readmitting(&demand, grantsOf(checkpoint, uid), &held)
	if d.Verdict == admission.Refused {
		return d.Reason + " on account of its memory"
	}
	n.Node = &after
	return ""
}

// uidOnNode is the UID by which the kubelet knows a pod. A static pod has another one at the API server.
func uidOnNode(pod *corev1.Pod) types.UID {
	return types.UID(cmp.Or(pod.Annotations[corev1.MirrorPodAnnotationKey], string(pod.UID)))
}

// unrecorded is why it is not certain what becomes of a pod that runs and asks for CPUs of its own, where the state file has
// none for it; "" for other pods. A kubelet whose disk is full grants CPUs and cannot write them down. One that starts
// then takes the pod for a new one.
func unrecorded(node *started, pod *corev1.Pod, checkpoint kubelet.Checkpoint) string {
	if node == nil || pod.Status.Phase != corev1.PodRunning || len(grantsOf(checkpoint, uidOnNode(pod))) > 0 {
		return ""
	}
	demand := admission.PodOf(pod)
	if !node.Exclusive(&demand) {
		return ""
	}
	return "cpu_manager_state has no CPUs for it, so the kubelet may grant it others, or refuse it"
}

func shortened(names []string) string {
	if len(names) <= namedPods {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d others", strings.Join(names[:namedPods], ", "), len(names)-namedPods)
}
