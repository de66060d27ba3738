// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// Reasons of condition CPUManagerRunning.
const (
	ReasonPolicyStatic    = "PolicyStatic"
	ReasonPolicyNone      = "PolicyNone"
	ReasonStateUnreadable = "StateUnreadable"
)

// Reasons of condition Exact; ReasonStateUnreadable is one as well.
const (
	ReasonPredictable        = "Predictable"
	ReasonPredictableByFile  = "PredictableByFile"
	ReasonConfigUnreadable   = "ConfigUnreadable"
	ReasonTopologyUnreadable = "TopologyUnreadable"
	ReasonConfigPending      = "ConfigPending"
	ReasonContradiction      = "Contradiction"
	ReasonNotModelled        = v1alpha1.ReasonNotModelled
)

// Reasons of condition SourcesComplete; those of unreadable sources above are as well.
const (
	ReasonAllRead                = "AllRead"
	ReasonConfigzUnreadable      = "ConfigzUnreadable"
	ReasonPodResourcesUnreadable = "PodResourcesUnreadable"
	ReasonMemoryUnreadable       = "MemoryStateUnreadable"
	ReasonFilesNotWatched        = "FilesNotWatched"
)

// setConditions sets the conditions of a report that is otherwise complete.
func setConditions(s *v1alpha1.NodeCPUStatus, r *Resolved, now metav1.Time) {
	conditions := []metav1.Condition{running(s, r), exact(s, r), complete(s, r)}
	restart, known := restartSafe(s, r)
	if known {
		conditions = append(conditions, restart)
	}
	for _, other := range []*metav1.Condition{r.Labelled, r.Drifted, r.Exclusive} {
		if other != nil {
			conditions = append(conditions, *other)
		}
	}
	for _, condition := range conditions {
		condition.LastTransitionTime = now // kept where the status stays
		meta.SetStatusCondition(&s.Conditions, condition)
	}
	setDevicesKnown(s, r, now)
}

func running(s *v1alpha1.NodeCPUStatus, r *Resolved) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionCPUManagerRunning}
	checkpoint := r.Kubelet.Checkpoint
	switch {
	case checkpoint.Err != nil || !checkpoint.Known:
		c.Status = metav1.ConditionUnknown
		c.Reason = ReasonStateUnreadable
		last := find(s.Conditions, c.Type)
		if last.Status != "" {
			c.Status = last.Status
		}
		c.Message = failing("the kubelet's CPU manager state", checkpoint, last.Message)
	case checkpoint.Value.Policy == cpumanager.PolicyStatic:
		c.Status = metav1.ConditionTrue
		c.Reason = ReasonPolicyStatic
		c.Message = "the kubelet's CPU manager runs with policy static"
	default:
		c.Status = metav1.ConditionFalse
		c.Reason = ReasonPolicyNone
		c.Message = "the kubelet's CPU manager runs with policy " + checkpoint.Value.Policy + ", which grants no exclusive CPUs"
	}
	return c
}

// problem is one reason why a condition does not hold.
type problem struct{ reason, message string }

func exact(s *v1alpha1.NodeCPUStatus, r *Resolved) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue, Reason: ReasonPredictable,
		Message: "predicted by what the kubelet says of its configuration",
	}
	if r.Origin == kubelet.FromFile {
		c.Reason = ReasonPredictableByFile
		c.Message = "predicted by the kubelet's configuration file, since the kubelet cannot be asked; options given as flags or in drop-in files are not seen"
	}
	problems := problemsOfReading(r, find(s.Conditions, c.Type).Message)
	if len(problems) == 0 {
		problems = problemsOfMeaning(s, r)
	}
	if len(problems) == 0 {
		return c
	}
	return unmet(c, problems)
}

// unmet makes a condition False because of problems. The first one gives the reason.
func unmet(c metav1.Condition, problems []problem) metav1.Condition {
	c.Status = metav1.ConditionFalse
	c.Reason = problems[0].reason
	c.Message = joined(problems)
	return c
}

func joined(problems []problem) string {
	var messages []string
	for _, p := range problems {
		messages = append(messages, p.message)
	}
	return strings.Join(messages, "; ")
}

// problemsOfReading are the sources that cannot be read, and without which nothing is exact.
func problemsOfReading(r *Resolved, last string) []problem {
	var problems []problem
	checkpoint := r.Kubelet.Checkpoint
	if !readable(checkpoint) {
		problems = append(problems, problem{ReasonStateUnreadable, failing("the kubelet's CPU manager state", checkpoint, last)})
	}
	if r.Origin == kubelet.Outdated || r.Origin == kubelet.Nowhere {
		problems = append(problems, problem{ReasonConfigUnreadable, unconfigured(r, last)})
	}
	if r.Host.Err != nil || !r.Host.Known {
		problems = append(problems, problem{ReasonTopologyUnreadable, failing("the CPU topology", r.Host, last)})
	}
	return problems
}

// unconfigured says why the configuration is not known for sure.
func unconfigured(r *Resolved, last string) string {
	if r.Kubelet.Configz.Known && r.Kubelet.File.Known && r.Kubelet.File.Err == nil {
		return failing("the kubelet's own word on its configuration", r.Kubelet.Configz, last) + "; its configuration file says something else"
	}
	return failing("the kubelet's configuration file", r.Kubelet.File, last)
}

// problemsOfMeaning are the problems of facts that were all read.
func problemsOfMeaning(s *v1alpha1.NodeCPUStatus, r *Resolved) []problem {
	var problems []problem
	checkpoint := r.Kubelet.Checkpoint.Value
	if r.Origin == kubelet.FromFile && r.outranked() {
		return append(problems, problem{ReasonConfigUnreadable, fmt.Sprintf(
			"the kubelet's state file says CPU manager policy %s and its configuration file does not: flags or drop-in files stand above it, and are not seen; let the agent ask the kubelet (/configz), or put the policy into that file",
			checkpoint.Policy)})
	}
	if checkpoint.Policy != r.Config.CPUManagerPolicy {
		problems = append(problems, problem{ReasonConfigPending, fmt.Sprintf(
			"the kubelet's configuration (by %s) says CPU manager policy %s, but its state file says %s; restart the kubelet as the Kubernetes documentation says for a change of the policy",
			r.Origin, r.Config.CPUManagerPolicy, checkpoint.Policy)})
	}
	if r.Origin == kubelet.FromFile && r.Kubelet.FileIsNewer() {
		problems = append(problems, problem{ReasonConfigPending,
			"the kubelet's configuration file was changed after the kubelet started, and the kubelet cannot be asked which of the two it runs with; restart it"})
	}
	if r.Origin == kubelet.FromKubelet && len(checkpoint.Pods) > 0 && !r.Config.PodLevelResourceManagers(r.Minor) {
		problems = append(problems, problem{ReasonContradiction,
			"the kubelet's state file has CPUs of whole pods, but the kubelet says that its feature gate PodLevelResourceManagers is off; restart the kubelet as the Kubernetes documentation says for a change of the policy"})
	}
	problems = append(problems, contradictions(r)...)
	problems = append(problems, unusable(r)...)
	// This is the report as the scheduler will read it.
	node, err := nodereport.Node(&v1alpha1.NodeCPU{Status: *s})
	if err != nil {
		return append(problems, problem{ReasonContradiction, err.Error()})
	}
	demand := admission.Pod{Guaranteed: true, Containers: []admission.Container{{CPUs: 1}}}
	why := node.Inexact(demand)
	if why != "" {
		problems = append(problems, problem{ReasonNotModelled, why})
	}
	return problems
}

// contradictions are where the kubelet's sources disagree with each other or with the machine. A kubelet looks at the
// machine only when it starts, so the machine may have changed since.
func contradictions(r *Resolved) []problem {
	var problems []problem
	online := r.Host.Value.CPUs()
	allocatable := r.Kubelet.Allocatable
	if allocatable.Known && allocatable.Err == nil && r.static() == allocatable.Value.IsEmpty() {
		problems = append(problems, problem{ReasonContradiction, fmt.Sprintf(
			"the kubelet's state file says policy %s, but the kubelet says that it may grant CPUs %q", r.CPUManager.Policy, allocatable.Value)})
	}
	if !r.static() || !allocatable.Known || allocatable.Value.IsEmpty() {
		return problems
	}
	gone := allocatable.Value.Minus(online)
	if !gone.IsEmpty() {
		problems = append(problems, problem{ReasonContradiction, fmt.Sprintf(
			"the kubelet may grant CPUs %s, which are not online; bring them back or restart the kubelet", gone)})
	}
	keeps := r.ReservedByConfig
	if keeps != nil && *keeps != online.Minus(allocatable.Value) {
		problems = append(problems, problem{ReasonContradiction, fmt.Sprintf(
			"the kubelet keeps CPUs %q from being granted, but its configuration comes to %q; CPUs came online since it started, or it runs with another configuration",
			online.Minus(allocatable.Value), *keeps)})
	}
	return problems
}

// unusable are the CPUs that the kubelet may grant and that a cgroup above all pods keeps from them. A kubelet looks at
// sysfs only. On v2 such a VM would run on everybody's CPUs, and on v1 its container could not be made.
func unusable(r *Resolved) []problem {
	if r.PodCPUs.By == "" || !r.static() {
		return nil
	}
	grantable := r.Kubelet.Checkpoint.Value.Shared
	for _, containers := range r.Kubelet.Checkpoint.Value.Granted {
		for _, cpus := range containers {
			grantable = grantable.Union(cpus)
		}
	}
	if r.Reserved != nil {
		grantable = grantable.Minus(*r.Reserved)
	}
	kept := grantable.Intersect(r.Host.Value.CPUs()).Minus(r.PodCPUs.CPUs)
	if kept.IsEmpty() {
		return nil
	}
	return []problem{{ReasonContradiction, fmt.Sprintf(
		"the kubelet may grant CPUs %s, and no pod can use them: cgroup %s above all pods has %s; take its limit (AllowedCPUs, cpuset.cpus) away, or reserve these CPUs",
		kept, r.PodCPUs.By, r.PodCPUs.CPUs)}}
}

// complete reports whether every source is read. Its message names each missing source and what follows.
func complete(s *v1alpha1.NodeCPUStatus, r *Resolved) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionSourcesComplete, Status: metav1.ConditionTrue, Reason: ReasonAllRead, Message: "every source is read",
	}
	last := find(s.Conditions, c.Type).Message
	var problems []problem
	missing := func(reason string, absent bool, message, consequence string) {
		if absent {
			problems = append(problems, problem{reason, message + ": " + consequence})
		}
	}
	k := r.Kubelet
	missing(ReasonStateUnreadable, !readable(k.Checkpoint), failing("cpu_manager_state", k.Checkpoint, last),
		"nothing is predicted exactly")
	missing(ReasonTopologyUnreadable, !readable(r.Host), failing("the CPU topology", r.Host, last),
		"nothing is predicted exactly")
	missing(ReasonConfigzUnreadable, !readable(k.Configz), failing("the kubelet's /configz", k.Configz, last),
		"its configuration file is believed instead, which does not show flags and drop-in files")
	missing(ReasonConfigUnreadable, !readable(k.File), failing("the kubelet's configuration file", k.File, last),
		"a change that waits for the kubelet's next restart is not seen")
	missing(ReasonPodResourcesUnreadable, !readable(k.Allocatable), failing("the kubelet's podresources socket", k.Allocatable, last),
		"the reserved CPUs are computed from the configuration, and not confirmed")
	missing(ReasonMemoryUnreadable, !readable(k.Memory), failing("memory_manager_state", k.Memory, last),
		memoryConsequence(r))
	if aligns(s) {
		missing(ReasonDevicesUnreadable, !readable(k.Devices), failing("the device manager's checkpoint", k.Devices, last),
			"pods with a device that may have a NUMA node are not predicted exactly")
	}
	if err := k.Watched.Err; err != nil {
		problems = append(problems, problem{ReasonFilesNotWatched, fmt.Sprintf(
			"the kernel does not notify of changes of the kubelet's files (%v): they are read every ten seconds, and the report is late by as much", err)})
	}
	if len(problems) > 0 {
		return unmet(c, problems)
	}
	return c
}

func readable[T any](r source.Reading[T]) bool { return r.Known && r.Err == nil }

// failing says what cannot be read, why and since when. An agent that has just started takes the time from the last
// message.
func failing[T any](what string, r source.Reading[T], last string) string {
	if r.Err == nil {
		return what + " has not been read yet"
	}
	start := what + " cannot be read since "
	since := r.Since.UTC().Format(time.RFC3339)
	if _, rest, found := strings.Cut(last, start); found {
		earlier, _, _ := strings.Cut(rest, ",")
		since = min(since, earlier)
	}
	return fmt.Sprintf("%s%s, and what is reported of it, if anything, is from before: %v", start, since, r.Err)
}
