package report

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	ReasonConfigUnreadable   = "ConfigUnreadable"
	ReasonTopologyUnreadable = "TopologyUnreadable"
	ReasonConfigPending      = "ConfigPending"
	ReasonPodLevelResources  = "PodLevelResources"
	ReasonContradiction      = "Contradiction"
	ReasonNotModelled        = "NotModelled"
)

// setConditions sets the conditions of a report that is otherwise complete.
func setConditions(s *v1alpha1.NodeCPUStatus, f Facts, now metav1.Time) {
	for _, condition := range []metav1.Condition{running(s, f), exact(s, f)} {
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
		Message: "predicted by the kubelet's configuration file; options given as flags or in drop-in files are not seen",
	}
	problems := problemsOfReading(f, find(s.Conditions, c.Type).Message)
	if len(problems) == 0 {
		problems = problemsOfMeaning(s, f)
	}
	if len(problems) == 0 {
		return c
	}
	var messages []string
	for _, p := range problems {
		messages = append(messages, p.message)
	}
	c.Status, c.Reason, c.Message = metav1.ConditionFalse, problems[0].reason, strings.Join(messages, "; ")
	return c
}

func problemsOfReading(f Facts, last string) []problem {
	var problems []problem
	if checkpoint := f.Kubelet.Checkpoint; checkpoint.Err != nil || !checkpoint.Known {
		problems = append(problems, problem{ReasonStateUnreadable, failing("the kubelet's CPU manager state", checkpoint, last)})
	}
	if config := f.Kubelet.Config; config.Err != nil || !config.Known {
		problems = append(problems, problem{ReasonConfigUnreadable, failing("the kubelet's configuration", config, last)})
	}
	if f.Host.Err != nil || !f.Host.Known {
		problems = append(problems, problem{ReasonTopologyUnreadable, failing("the CPU topology", f.Host, last)})
	}
	return problems
}

// problemsOfMeaning are those of facts that were all read.
func problemsOfMeaning(s *v1alpha1.NodeCPUStatus, f Facts) []problem {
	var problems []problem
	checkpoint, config := f.Kubelet.Checkpoint.Value, f.Kubelet.Config.Value
	if checkpoint.Policy != config.CPUManagerPolicy {
		problems = append(problems, problem{ReasonConfigPending, fmt.Sprintf(
			"the kubelet's configuration file says CPU manager policy %s, but the kubelet runs with %s; restart it as the Kubernetes documentation tells for a change of the policy",
			config.CPUManagerPolicy, checkpoint.Policy)})
	}
	if checkpoint.PodLevel || config.PodLevelResources {
		problems = append(problems, problem{ReasonPodLevelResources, "the kubelet's feature gate PodLevelResourceManagers is on, which is not modelled"})
	}
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
	return fmt.Sprintf("%s%s, and what is reported of it is from before: %v", start, since, r.Err)
}
