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
	"corepin.dev/corepin/pkg/kubeletcpu"
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
	ReasonNotModelled        = "NotModelled"
)

// Reasons of condition SourcesComplete; those of unreadable sources above are as well.
const (
	ReasonAllRead                = "AllRead"
	ReasonConfigzUnreadable      = "ConfigzUnreadable"
	ReasonPodResourcesUnreadable = "PodResourcesUnreadable"
	ReasonMemoryUnreadable       = "MemoryStateUnreadable"
)

// setConditions sets the conditions of a report that is otherwise complete.
func setConditions(s *v1alpha1.NodeCPUStatus, f Facts, now metav1.Time) {
	conditions := []metav1.Condition{running(s, f), exact(s, f), complete(s, f)}
	if restart, known := restartSafe(s, f); known {
		conditions = append(conditions, restart)
	}
	for _, told := range []*metav1.Condition{f.Labelled, f.Drifted} {
		if told != nil {
			conditions = append(conditions, *told)
		}
	}
	for _, condition := range conditions {
		condition.LastTransitionTime = now // kept where the status stays
		meta.SetStatusCondition(&s.Conditions, condition)
	}
}

func running(s *v1alpha1.NodeCPUStatus, f Facts) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionCPUManagerRunning}
	checkpoint := f.Kubelet.Checkpoint
	switch {
	case checkpoint.Err != nil || !checkpoint.Known:
		c.Status, c.Reason = metav1.ConditionUnknown, ReasonStateUnreadable
		last := find(s.Conditions, c.Type)
		if last.Status != "" {
			c.Status = last.Status
		}
		c.Message = failing("the kubelet's CPU manager state", checkpoint, last.Message)
	case checkpoint.Value.Policy == kubeletcpu.CPUManagerStatic:
		c.Status, c.Reason = metav1.ConditionTrue, ReasonPolicyStatic
		c.Message = "the kubelet's CPU manager runs with policy static"
	default:
		c.Status, c.Reason = metav1.ConditionFalse, ReasonPolicyNone
		c.Message = "the kubelet's CPU manager runs with policy " + checkpoint.Value.Policy + ", which grants no exclusive CPUs"
	}
	return c
}

// problem is what stands against a prediction.
type problem struct{ reason, message string }

func exact(s *v1alpha1.NodeCPUStatus, f Facts) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue, Reason: ReasonPredictable,
		Message: "predicted by what the kubelet says of its configuration",
	}
	if _, origin := f.Kubelet.Config(); origin == kubelet.FromFile {
		c.Reason = ReasonPredictableByFile
		c.Message = "predicted by the kubelet's configuration file, since the kubelet cannot be asked; options given as flags or in drop-in files are not seen"
	}
	problems := problemsOfReading(f, find(s.Conditions, c.Type).Message)
	if len(problems) == 0 {
		problems = problemsOfMeaning(s, f)
	}
	if len(problems) == 0 {
		return c
	}
	c.Status, c.Reason, c.Message = metav1.ConditionFalse, problems[0].reason, joined(problems)
	return c
}

func joined(problems []problem) string {
	var messages []string
	for _, p := range problems {
		messages = append(messages, p.message)
	}
	return strings.Join(messages, "; ")
}

func problemsOfReading(f Facts, last string) []problem {
	var problems []problem
	if checkpoint := f.Kubelet.Checkpoint; checkpoint.Err != nil || !checkpoint.Known {
		problems = append(problems, problem{ReasonStateUnreadable, failing("the kubelet's CPU manager state", checkpoint, last)})
	}
	if _, origin := f.Kubelet.Config(); origin == kubelet.Outdated || origin == kubelet.Nowhere {
		problems = append(problems, problem{ReasonConfigUnreadable, unconfigured(f, last)})
	}
	if f.Host.Err != nil || !f.Host.Known {
		problems = append(problems, problem{ReasonTopologyUnreadable, failing("the CPU topology", f.Host, last)})
	}
	return problems
}

// unconfigured says why the configuration is not known for sure.
func unconfigured(f Facts, last string) string {
	if f.Kubelet.Configz.Known && f.Kubelet.File.Known && f.Kubelet.File.Err == nil {
		return failing("the kubelet's own word on its configuration", f.Kubelet.Configz, last) + "; its configuration file says something else"
	}
	return failing("the kubelet's configuration file", f.Kubelet.File, last)
}

// problemsOfMeaning are those of facts that were all read.
func problemsOfMeaning(s *v1alpha1.NodeCPUStatus, f Facts) []problem {
	var problems []problem
	checkpoint := f.Kubelet.Checkpoint.Value
	config, origin := f.Kubelet.Config()
	if checkpoint.Policy != config.CPUManagerPolicy {
		problems = append(problems, problem{ReasonConfigPending, fmt.Sprintf(
			"the kubelet's configuration (by %s) says CPU manager policy %s, but its state file says %s; restart the kubelet as the Kubernetes documentation tells for a change of the policy",
			origin, config.CPUManagerPolicy, checkpoint.Policy)})
	}
	if origin == kubelet.FromFile && f.Kubelet.FileIsNewer() {
		problems = append(problems, problem{ReasonConfigPending,
			"the kubelet's configuration file was changed after the kubelet started, and the kubelet cannot be asked which of the two it runs with; restart it"})
	}
	if origin == kubelet.FromKubelet && len(checkpoint.Pods) > 0 && !config.PodLevelResourceManagers(minor(f.KubeletVersion)) {
		problems = append(problems, problem{ReasonContradiction,
			"the kubelet's state file has CPUs of whole pods, but the kubelet says that its feature gate PodLevelResourceManagers is off; restart the kubelet as the Kubernetes documentation tells for a change of the policy"})
	}
	problems = append(problems, contradictions(s, f, config)...)
	// The report as the scheduler will read it.
	node, err := nodereport.Node(&v1alpha1.NodeCPU{Status: *s})
	if err != nil {
		return append(problems, problem{ReasonContradiction, err.Error()})
	}
	demand := kubeletcpu.Pod{Guaranteed: true, Containers: []kubeletcpu.Container{{CPUs: 1}}}
	if why := node.Inexact(demand); why != "" {
		problems = append(problems, problem{ReasonNotModelled, why})
	}
	return problems
}

// contradictions are where the kubelet's sources disagree among each other or with the machine. The machine
// may have changed since the kubelet looked at it, which is when it started.
func contradictions(s *v1alpha1.NodeCPUStatus, f Facts, config kubelet.Config) []problem {
	var problems []problem
	online, allocatable := f.Host.Value.CPUs(), f.Kubelet.Allocatable
	static := s.CPUManager.Policy == kubeletcpu.CPUManagerStatic
	if allocatable.Known && allocatable.Err == nil && static == allocatable.Value.IsEmpty() {
		problems = append(problems, problem{ReasonContradiction, fmt.Sprintf(
			"the kubelet's state file says policy %s, but the kubelet says that it may grant CPUs %q", s.CPUManager.Policy, allocatable.Value)})
	}
	if !static || !allocatable.Known || allocatable.Value.IsEmpty() {
		return problems
	}
	if gone := allocatable.Value.Minus(online); !gone.IsEmpty() {
		problems = append(problems, problem{ReasonContradiction, fmt.Sprintf(
			"the kubelet may grant CPUs %s, which are not online; bring them back or restart the kubelet", gone)})
	}
	if keeps, known := reservedBy(config, f, s.CPUManager); known && keeps != online.Minus(allocatable.Value) {
		problems = append(problems, problem{ReasonContradiction, fmt.Sprintf(
			"the kubelet keeps CPUs %q from being granted, but its configuration comes to %q; CPUs came online since it started, or it runs with another configuration",
			online.Minus(allocatable.Value), keeps)})
	}
	return problems
}

// complete is about every source that is there to be read: which are missing, and what is then done without.
func complete(s *v1alpha1.NodeCPUStatus, f Facts) metav1.Condition {
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
	k := f.Kubelet
	missing(ReasonStateUnreadable, !readable(k.Checkpoint), failing("cpu_manager_state", k.Checkpoint, last),
		"nothing is predicted exactly")
	missing(ReasonTopologyUnreadable, !readable(f.Host), failing("the CPU topology", f.Host, last),
		"nothing is predicted exactly")
	missing(ReasonConfigzUnreadable, !readable(k.Configz), failing("the kubelet's /configz", k.Configz, last),
		"its configuration file is believed instead, which does not show flags and drop-in files")
	missing(ReasonConfigUnreadable, !readable(k.File), failing("the kubelet's configuration file", k.File, last),
		"a change that waits for the kubelet's next restart is not seen")
	missing(ReasonPodResourcesUnreadable, !readable(k.Allocatable), failing("the kubelet's podresources socket", k.Allocatable, last),
		"the reserved CPUs are computed from the configuration, and not confirmed")
	missing(ReasonMemoryUnreadable, !readable(k.Memory), failing("memory_manager_state", k.Memory, last),
		"the memory manager's assignments are not reported; no prediction depends on them")
	if len(problems) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, problems[0].reason, joined(problems)
	}
	return c
}

func readable[T any](r source.Reading[T]) bool { return r.Known && r.Err == nil }

// failing says what cannot be read, why, since when, and what that means for the report. An agent that has
// just started does not know since when, but its last message may.
func failing[T any](what string, r source.Reading[T], last string) string {
	if r.Err == nil {
		return what + " has not been read yet"
	}
	start := what + " cannot be read since "
	since := r.Since.UTC().Format(time.RFC3339)
	if _, rest, told := strings.Cut(last, start); told {
		if earlier, _, _ := strings.Cut(rest, ","); earlier < since {
			since = earlier
		}
	}
	return fmt.Sprintf("%s%s, and what is reported of it, if anything, is from before: %v", start, since, r.Err)
}
