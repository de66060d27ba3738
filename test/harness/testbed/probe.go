// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/test/harness/process"
)

// probes are the kubelets' part for the agents, whose processes run beside the simulated nodes: each agent's pod is ready
// as its readiness probe says.
type probes struct {
	mu     sync.Mutex
	passed map[types.UID]bool
}

// ready is asked by a simulated kubelet.
func (p *probes) ready(pod *corev1.Pod) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pod.Namespace != SystemNamespace || p.passed[pod.UID]
}

func (p *probes) set(uid types.UID, passed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.passed == nil {
		p.passed = map[types.UID]bool{}
	}
	p.passed[uid] = passed
}

// watch probes an agent until ctx ends, with the times of its pod's probe or, if period is not 0, with that period for
// both. As with a kubelet's probe one success is enough, a number of failures is needed, and a process that has exited is
// not ready at once (pkg/kubelet/prober/worker.go, v1.36.3).
func (p *probes) watch(ctx context.Context, agent *process.Process, pod *corev1.Pod, url string, period time.Duration) {
	probe := pod.Spec.Containers[0].ReadinessProbe
	timeout := time.Duration(probe.TimeoutSeconds) * time.Second
	if period == 0 {
		period = time.Duration(probe.PeriodSeconds) * time.Second
	} else {
		timeout = period
	}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	failures := int32(0)
	for {
		bounded, cancel := context.WithTimeout(ctx, timeout)
		err := healthy(bounded, url)
		cancel()
		failures++
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
			p.set(pod.UID, true)
		case failures >= probe.FailureThreshold || !agent.Running():
			p.set(pod.UID, false)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
