// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestAppArmorConfinesEachPod(t *testing.T) {
	pods := podTemplates(build(t, "overlays/apparmor"))
	if len(pods) != 2 {
		t.Fatalf("there are %d workloads, want 2", len(pods))
	}
	for name, pod := range pods {
		obey(t, profiled(name, pod, readProfile(t, name)))
	}
}

// profiled says where a profile is not that of a pod: another name, other capabilities, or a mount that it does not cover.
func profiled(name string, pod corev1.PodSpec, c confinement) []string {
	var violations []string
	demand := func(holds bool, what string) {
		if !holds {
			violations = append(violations, name+": "+what)
		}
	}
	asked := ptr.Deref(pod.SecurityContext, corev1.PodSecurityContext{}).AppArmorProfile
	demand(asked != nil && asked.Type == corev1.AppArmorProfileTypeLocalhost && ptr.Deref(asked.LocalhostProfile, "") == c.name, "the pod does not name profile "+c.name)
	demand(c.may("/"+name, "mrix"), "the program may not be started")
	demand(slices.Contains(c.signals, "(send, receive) peer="+c.name+","), "Go's scheduler may not send signals between its threads")
	for _, container := range pod.Containers {
		var added []string
		for _, capability := range container.SecurityContext.Capabilities.Add {
			added = append(added, strings.ToLower(string(capability)))
		}
		demand(slices.Equal(added, c.capabilities), fmt.Sprintf("capabilities %v are added, and the profile has %v", added, c.capabilities))
		for _, mount := range container.VolumeMounts {
			below := func(r fileRule) bool { return strings.HasPrefix(r.pattern, mount.MountPath+"/") }
			demand(slices.ContainsFunc(c.files, below), "no rule is about the mount "+mount.MountPath)
		}
	}
	for _, r := range c.files {
		written := strings.Contains(r.rights, "w") && r.pattern != "/dev/null" && !strings.HasSuffix(r.pattern, "sock")
		demand(!written, r.pattern+" may be written, and is no socket")
	}
	return violations
}

func TestProfiledCanFail(t *testing.T) {
	pod := corev1.PodSpec{Containers: []corev1.Container{{
		SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}},
		VolumeMounts:    []corev1.VolumeMount{{MountPath: "/data"}},
	}}}
	c := confinement{name: "a", files: []fileRule{{"/b", matching("/b"), "rw"}}}
	if got := profiled("a", pod, c); len(got) != 6 {
		t.Errorf("%d violations %q, want 6", len(got), got)
	}
}
