// SPDX-License-Identifier: Apache-2.0

// Package static is a kubelet's static CPU manager policy with its state, as far as all versions of its packages are
// used alike: what it has granted, and what remains of that after a restart.
//
// The importing module decides which version it is. What differs between versions is beside the tests of each.
package static

import (
	"fmt"
	"os"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	k8scpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// Policy is the part of a difftest.Oracle that all versions have alike.
type Policy struct {
	CPUPolicy
	State state.State
	// CopyPods copies the CPUs of pods as a whole. It is nil for a kubelet that has none.
	CopyPods func(to, from state.State)
	reserved cpuset.Set
}

// Run starts a policy over a state, on a machine of these CPUs.
func (p *Policy) Run(policy CPUPolicy, s state.State, cpus cpuset.Set) error {
	if err := policy.Start(logr.Discard(), s); err != nil {
		return err
	}
	p.CPUPolicy, p.State = policy, s
	if p.reserved.IsEmpty() { // nothing is granted yet
		p.reserved = cpus.Minus(ours(policy.GetAllocatableCPUs(s)))
	}
	return nil
}

// Reserved are the CPUs that are never granted.
func (p *Policy) Reserved() cpuset.Set { return p.reserved }

// Shared is the shared pool.
func (p *Policy) Shared() cpuset.Set { return ours(p.State.GetDefaultCPUSet()) }

// Outcome is what has become of a pod, in our words. It removes the containers of a refused pod at once; the CPU
// manager does so before the next admission.
func (p *Policy) Outcome(pod *corev1.Pod, result lifecycle.PodAdmitResult) admission.Decision {
	d := admission.Decision{Reason: result.Reason, Message: result.Message}
	if !result.Admit {
		p.Remove(pod)
	} else {
		d.Verdict = admission.Admitted
		whole, asOne := p.wholePod(pod)
		if asOne {
			d.Grants = append(d.Grants, admission.Grant{CPUs: ours(whole)})
		}
		for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			if cpus, ok := p.State.GetCPUSet(string(pod.UID), container.Name); ok {
				d.Grants = append(d.Grants, admission.Grant{Container: container.Name, CPUs: ours(cpus), Part: asOne})
			}
		}
	}
	d.Shared = p.Shared()
	return d
}

// podState is the part of a state that kubelets have from 1.36 on: CPUs of a pod as a whole.
type podState interface {
	GetPodCPUSet(podUID string) (k8scpuset.CPUSet, bool)
}

func (p *Policy) wholePod(pod *corev1.Pod) (cpus k8scpuset.CPUSet, found bool) {
	pods, ok := p.State.(podState)
	if !ok {
		return k8scpuset.New(), false
	}
	return pods.GetPodCPUSet(string(pod.UID))
}

// Remove takes back all that a pod holds.
func (p *Policy) Remove(pod *corev1.Pod) {
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if err := p.RemoveContainer(logr.Discard(), p.State, string(pod.UID), container.Name); err != nil {
			panic(fmt.Sprintf("the static policy never fails to remove a container, but: %v", err))
		}
	}
}

// Forget removes what a container holds, and gives it to nobody.
func (p *Policy) Forget(pod *corev1.Pod, container string) {
	p.State.Delete(string(pod.UID), container)
}

// Share adds CPUs to the shared pool.
func (p *Policy) Share(cpus cpuset.Set) {
	p.State.SetDefaultCPUSet(p.State.GetDefaultCPUSet().Union(k8scpuset.New(cpus.List()...)))
}

// Remembered is the state as a kubelet that starts again reads it from the checkpoint file. It is in memory again,
// which is much faster.
func (p *Policy) Remembered() (state.State, error) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	checkpoint := func() (state.State, error) {
		return newCheckpoint(dir, p.Name())
	}
	written, err := checkpoint()
	if err != nil {
		return nil, err
	}
	p.copyState(written, p.State)
	read, err := checkpoint()
	if err != nil {
		return nil, err
	}
	again := NewState()
	p.copyState(again, read)
	return again, nil
}

func (p *Policy) copyState(to, from state.State) {
	if p.CopyPods != nil {
		p.CopyPods(to, from)
	}
	to.SetDefaultCPUSet(from.GetDefaultCPUSet())
	to.SetCPUAssignments(from.GetCPUAssignments())
}

func ours(s k8scpuset.CPUSet) cpuset.Set { return cpuset.Of(s.UnsortedList()...) }
