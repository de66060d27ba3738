// SPDX-License-Identifier: Apache-2.0

// Package story runs the main job of corepin in steps on a testbed: VMs are scheduled, their CPUs
// granted, their vCPUs pinned. What must be refused is refused. Labels come and go with the CPU manager
// and with the feature gate.
//
// The demo and the integration suite run the same list of steps, so they cannot drift apart. What a step
// reports it has read from outside corepin: the API server, the kubelets' checkpoint files, virsh, /proc.
// The suite asks the same places again with code of its own.
package story

import (
	"context"
	"fmt"
	"time"

	"corepin.dev/corepin/test/harness/testbed"
)

// Story is one telling.
type Story struct {
	bed    *testbed.Testbed
	result Result
}

// New is a story on a testbed that runs the machines of Machines.
func New(bed *testbed.Testbed) *Story { return &Story{bed: bed} }

// Step is one part of the story. Run returns what it found out, a line each.
type Step struct {
	Name string
	Run  func(ctx context.Context) ([]string, error)
}

// Names of the steps, for whoever wants to act between them.
const (
	StepReported = "every node is reported, and labelled where its CPU manager is static"
	StepCreate   = "three dedicated VMs are created"
	StepPlaced   = "corepin-scheduler binds them, the kubelets admit them"
	StepPinned   = "each vCPU is on its CPU: KubeVirt's stand-in pins, and the agent where that has not"
	StepDrift    = "a vCPU that somebody moves elsewhere is put back"
	StepMore     = "bigger VMs go to bigger machines, each into one NUMA node"
	StepDevices  = "a VM gets its huge pages and VFs beside its CPUs, on one NUMA node; another one finds too few there"
	StepApply    = "the API server refuses inconsistent VMIs at kubectl apply"
	StepPods     = "the scheduler refuses what no kubelet could make dedicated"
	StepGone     = "a node's CPU manager goes away and comes back: so does its label"
	StepGate     = "feature gate CPUManager is switched off and on"
	StepResult   = "who holds what, read from checkpoints, libvirt and /proc"
)

// Steps are the parts of the story, in their order.
func (s *Story) Steps() []Step {
	return []Step{
		{StepReported, s.reported},
		{StepCreate, s.create},
		{StepPlaced, s.placed},
		{StepPinned, s.pinned},
		{StepDrift, s.drifted},
		{StepGone, s.managerGone},
		{StepGate, s.gate},
		{StepMore, s.more},
		{StepDevices, s.devices},
		{StepApply, s.refusedAtApply},
		{StepPods, s.refusedByScheduler},
		{StepResult, s.read},
	}
}

// Run tells the whole story.
func (s *Story) Run(ctx context.Context, reporter Reporter) error {
	for _, step := range s.Steps() {
		start := time.Now()
		facts, err := step.Run(ctx)
		reporter.Step(step.Name, time.Since(start), facts, err)
		if err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
	}
	reporter.Result(s.Result())
	return nil
}

// Result is what the last step has read.
func (s *Story) Result() Result { return s.result }
