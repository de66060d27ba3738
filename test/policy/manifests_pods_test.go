// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// capabilities are all that any of our containers has, by name of the workload.
var capabilities = map[string][]corev1.Capability{
	"corepin-agent": {"DAC_OVERRIDE"}, // connecting to the sockets of the guests' users
}

func TestManifestsKeepContainersConfined(t *testing.T) {
	for _, dir := range []string{"base", "overlays/example", "overlays/openshift"} {
		found := 0
		for name, pod := range podTemplates(build(t, dir)) {
			found++
			for _, violation := range confined(name, pod, capabilities[name]) {
				t.Errorf("manifests/%s: %s", dir, violation)
			}
		}
		if found != 2 {
			t.Errorf("manifests/%s has %d workloads, want scheduler and agent", dir, found)
		}
	}
}

func podTemplates(objects []runtime.Object) map[string]corev1.PodSpec {
	pods := map[string]corev1.PodSpec{}
	for _, object := range objects {
		switch o := object.(type) {
		case *appsv1.Deployment:
			pods[o.Name] = o.Spec.Template.Spec
		case *appsv1.DaemonSet:
			pods[o.Name] = o.Spec.Template.Spec
		}
	}
	return pods
}

// confined tells where a pod is less confined than README and daemonset.yaml say.
func confined(name string, pod corev1.PodSpec, allowed []corev1.Capability) []string {
	var violations []string
	demand := func(holds bool, what string) {
		if !holds {
			violations = append(violations, fmt.Sprintf("%s: %s", name, what))
		}
	}
	podSecurity := ptr.Deref(pod.SecurityContext, corev1.PodSecurityContext{})
	demand(!pod.HostPID && !pod.HostNetwork && !pod.HostIPC, "share no namespace with the host")
	demand(podSecurity.SeccompProfile != nil && podSecurity.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "set seccompProfile RuntimeDefault")
	demand(name == "corepin-agent" || ptr.Deref(podSecurity.RunAsNonRoot, false), "set runAsNonRoot; only the agent is root")
	demand(pod.PriorityClassName == "system-cluster-critical" || pod.PriorityClassName == "system-node-critical", "set a system priority class")
	demand(pod.ServiceAccountName == name, "use a service account of its own")
	demand(len(pod.Containers) == 1 && len(pod.InitContainers) == 0, "one container does it")
	hostPaths := map[string]bool{}
	for _, v := range pod.Volumes {
		hostPaths[v.Name] = v.HostPath != nil
	}
	for _, c := range pod.Containers {
		s := ptr.Deref(c.SecurityContext, corev1.SecurityContext{})
		caps := ptr.Deref(s.Capabilities, corev1.Capabilities{})
		demand(!ptr.Deref(s.Privileged, false) && !ptr.Deref(s.AllowPrivilegeEscalation, true), "neither privileged nor allowPrivilegeEscalation")
		demand(ptr.Deref(s.ReadOnlyRootFilesystem, false), "set readOnlyRootFilesystem")
		demand(slices.Equal(caps.Drop, []corev1.Capability{"ALL"}), "drop ALL capabilities")
		demand(slices.Equal(caps.Add, allowed), fmt.Sprintf("add capabilities %v and no others, not %v", allowed, caps.Add))
		demand(c.LivenessProbe != nil && c.ReadinessProbe != nil, "have a liveness and a readiness probe")
		demand(c.Resources.Requests.Cpu().Sign() > 0 && c.Resources.Requests.Memory().Sign() > 0, "request CPU and memory")
		for _, m := range c.VolumeMounts {
			demand(m.ReadOnly, "mount "+m.MountPath+" read-only")
			demand(!hostPaths[m.Name] || ptr.Deref(m.MountPropagation, "") == corev1.MountPropagationHostToContainer, "mount "+m.MountPath+" with HostToContainer, or the node's volumes stay busy")
		}
	}
	return violations
}
