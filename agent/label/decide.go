// SPDX-License-Identifier: Apache-2.0

package label

import (
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
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

// Static reports whether the CPU manager runs with policy static, by what was last read. What was read before
// a failure is no evidence, and neither is a state file that the kubelet itself contradicts.
func Static(s *kubelet.State) Answer {
	static := s.Checkpoint.Value.Policy == cpumanager.PolicyStatic
	says := s.Allocatable
	switch {
	case !s.Checkpoint.Known || s.Checkpoint.Err != nil:
		return Unknown
	case says.Known && says.Err == nil && says.Value.IsEmpty() == static:
		return Unknown
	case s.Checkpoint.Value.Policy == cpumanager.PolicyStatic:
		return Yes
	default:
		return No
	}
}
