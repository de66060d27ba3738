// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/cluster"
)

// Release is a release of corepin: its programs and the manifests that install them.
type Release struct {
	// Bin has the binaries corepin-scheduler and corepin-agent.
	Bin string
	// Manifests is the folder manifests of its tree.
	Manifests fs.FS
}

// Install applies the manifests of a release, as kubectl apply does. What runs goes on. A program that is started from now on
// is that release's, with the configuration of that release.
func (t *Testbed) Install(ctx context.Context, release Release) error {
	shipped, err := manifests.Build(release.Manifests, t.options.Manifests)
	if err != nil {
		return err
	}
	t.release = release
	t.installed++
	return t.Apply(ctx, shipped)
}

// process is what to call the process of a program: each release that is installed has processes and logs of its own.
func (t *Testbed) process(program string) string {
	if t.installed <= 1 {
		return program
	}
	return fmt.Sprintf("%s-%d", program, t.installed)
}

// RollOutAgents replaces the agents by those of the release that was installed last, one after the other and each in a new pod,
// as the controller of the DaemonSet does.
func (t *Testbed) RollOutAgents(ctx context.Context) error {
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	for name, node := range t.Nodes {
		if err := node.Agent.Stop(); err != nil {
			return fmt.Errorf("ending the agent of node %s: %w", name, err)
		}
		pod, err := t.AgentPod(ctx, name)
		if err != nil {
			return err
		}
		if err := t.Client().CoreV1().Pods(SystemNamespace).Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
			return fmt.Errorf("deleting the agent's pod of node %s: %w", name, err)
		}
		if err := t.WaitForGone(ctx, cluster.Ref{Resource: pods, Namespace: SystemNamespace, Name: pod.Name}, startDeadline); err != nil {
			return err
		}
		if node.Agent, err = t.startAgent(ctx, node.Machine, node.Sim); err != nil {
			return err
		}
	}
	return nil
}

// RollOutScheduler replaces the scheduler by that of the release that was installed last, and waits until it leads.
func (t *Testbed) RollOutScheduler(ctx context.Context) error {
	if err := t.Scheduler.Stop(); err != nil {
		return fmt.Errorf("ending the scheduler: %w", err)
	}
	return t.startScheduler(ctx)
}

// deployed is the pod that the Deployment of the scheduler makes.
func (t *Testbed) deployed(ctx context.Context) (*corev1.Pod, error) {
	deployment, err := t.Client().AppsV1().Deployments(SystemNamespace).Get(ctx, "corepin-scheduler", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the scheduler's Deployment: %w", err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: SystemNamespace}, Spec: deployment.Spec.Template.Spec}
	if !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.ConfigMap != nil }) {
		return nil, fmt.Errorf("the Deployment corepin-scheduler mounts no configuration")
	}
	return pod, nil
}
