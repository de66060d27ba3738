// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/test/harness/await"
)

// Names of VMs that the scheduler refuses.
const (
	VMTooBig   = "vmi-too-big"
	VMInjected = "vmi-injected"
)

// refusedAtApply applies every example that must be rejected, as a user would.
func (s *Story) refusedAtApply(ctx context.Context) ([]string, error) {
	files, err := fs.Glob(manifests.FS, "examples/rejected/*.yaml")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("finding the examples to be rejected: %d found, %w", len(files), err)
	}
	var facts []string
	for _, file := range files {
		example, err := fs.ReadFile(manifests.FS, file)
		if err != nil {
			return facts, fmt.Errorf("reading the example: %w", err)
		}
		message, err := s.applyRejected(ctx, example)
		if err != nil {
			return facts, fmt.Errorf("%s: %w", file, err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "examples/rejected/"), ".yaml")
		s.result.Rejections = append(s.result.Rejections, Rejection{Name: name, By: "API server", Message: message})
		facts = append(facts, name+": rejected")
	}
	return facts, nil
}

// applyRejected returns what kubectl apply says when the API server rejects; being accepted is an error,
// and so is any other failure.
func (s *Story) applyRejected(ctx context.Context, object []byte) (string, error) {
	command := exec.CommandContext(ctx, s.bed.ClusterBinary(), "kubectl", "apply", "--filename=-")
	command.Env = append(command.Environ(), "KUBECONFIG="+s.bed.AdminKubeconfig(), "KUBERC=off")
	command.Stdin = strings.NewReader(string(object))
	output, err := command.CombinedOutput()
	if err == nil {
		return "", fmt.Errorf("it was accepted: %s", output)
	}
	if !strings.Contains(string(output), "ValidatingAdmissionPolicy") {
		return "", fmt.Errorf("kubectl apply failed, but not by corepin's policy: %s", output)
	}
	return strings.TrimSpace(string(output)), nil
}

// refusedByScheduler shows what is found out only with a pod and nodes at hand.
func (s *Story) refusedByScheduler(ctx context.Context) ([]string, error) {
	if err := s.bed.Apply(ctx, vmiYAML(VMTooBig, "{cores: 40, dedicatedCpuPlacement: true}", "")); err != nil {
		return nil, err
	}
	if err := s.createInjected(ctx); err != nil {
		return nil, err
	}
	var facts []string
	for _, name := range []string{VMTooBig, VMInjected} {
		message, err := s.awaitUnschedulable(ctx, name)
		if err != nil {
			return facts, err
		}
		s.result.Rejections = append(s.result.Rejections, Rejection{Name: name, By: "corepin-scheduler", Message: message})
		facts = append(facts, name+": pod stays Pending, PodScheduled says why")
	}
	return facts, nil
}

// createInjected makes the launcher pod of a VM as a service mesh would leave it: with one container more,
// which states no resources. It belongs to no VMI, so that nobody makes a second one.
func (s *Story) createInjected(ctx context.Context) error {
	machine := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(vmiYAML(VMInjected, "{cores: 2, dedicatedCpuPlacement: true}", ""), &machine.Object); err != nil {
		return fmt.Errorf("decoding VMI %s: %w", VMInjected, err)
	}
	pod, err := launcherpod.Render(machine)
	if err != nil {
		return err
	}
	pod.OwnerReferences, pod.GenerateName, pod.Name = nil, "", "virt-launcher-"+VMInjected
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "mesh-proxy", Image: "registry.example/mesh-proxy:1"})
	_, err = s.bed.Client().CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	return err
}

func (s *Story) awaitUnschedulable(ctx context.Context, name string) (string, error) {
	var message string
	err := await.For(ctx, "the scheduler to refuse "+name, limit, func(ctx context.Context) error {
		pods, err := s.bed.Client().CoreV1().Pods("vms").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if !strings.HasPrefix(pod.Name, "virt-launcher-"+name) {
				continue
			}
			if pod.Spec.NodeName != "" {
				return await.Stop(fmt.Errorf("it was bound to %s", pod.Spec.NodeName))
			}
			if message = schedulingMessage(&pod); message != "" {
				return nil
			}
			return fmt.Errorf("pod %s has conditions %v", pod.Name, pod.Status.Conditions)
		}
		return fmt.Errorf("there is no such pod among %d", len(pods.Items))
	})
	return message, err
}
