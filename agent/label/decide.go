package label

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/kubeletcpu"
)

// The labels.
const (
	CPUManager         = "cpumanager"
	KubeVirtCPUManager = "kubevirt.io/cpumanager"
)

// value is the value of both labels.
const value = "true"

// Answer is the answer to a question that may not be answered yet.
type Answer string

// Answers.
const (
	Unknown Answer = "unknown"
	Yes     Answer = "yes"
	No      Answer = "no"
)

// Action is what to do about the labels.
type Action string

// Actions.
const (
	// Leave changes nothing.
	Leave Action = "leave"
	// Set sets the labels.
	Set Action = "set"
	// GiveUp gives up what the agent set.
	GiveUp Action = "giveUp"
)

// Decide says what to do, by whether the feature gate is on and whether the CPU manager runs with policy
// static.
func Decide(gate, static Answer) Action {
	switch {
	case gate == No, gate == Yes && static == No:
		return GiveUp
	case gate == Yes && static == Yes:
		return Set
	default:
		return Leave
	}
}

// Static tells whether the CPU manager runs with policy static, by what was last read. What was read before
// a failure is no evidence.
func Static(s *kubelet.State) Answer {
	switch {
	case !s.Checkpoint.Known || s.Checkpoint.Err != nil:
		return Unknown
	case s.Checkpoint.Value.Policy == kubeletcpu.CPUManagerStatic:
		return Yes
	default:
		return No
	}
}

const (
	gatesKey = "feature-gates"
	gateName = "CPUManager"
)

// Gate tells whether the feature gate is on. The ConfigMap is nil where it does not exist; there, and where
// it has no list of gates, the answer is otherwise.
func Gate(configMap *corev1.ConfigMap, otherwise bool) Answer {
	on := otherwise
	if configMap != nil {
		if list, ok := configMap.Data[gatesKey]; ok {
			on = slices.ContainsFunc(strings.Split(list, ","), func(gate string) bool { return strings.TrimSpace(gate) == gateName })
		}
	}
	if on {
		return Yes
	}
	return No
}
