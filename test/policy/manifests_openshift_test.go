// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// SecurityContextConstraints is OpenShift's (security.openshift.io/v1), as far as our manifests use it. A field that is
// not here is refused.
type SecurityContextConstraints struct {
	v1.TypeMeta              `json:",inline"`
	v1.ObjectMeta            `json:"metadata"`
	AllowHostDirVolumePlugin bool                `json:"allowHostDirVolumePlugin"`
	AllowHostIPC             bool                `json:"allowHostIPC"`
	AllowHostNetwork         bool                `json:"allowHostNetwork"`
	AllowHostPID             bool                `json:"allowHostPID"`
	AllowHostPorts           bool                `json:"allowHostPorts"`
	AllowPrivilegeEscalation bool                `json:"allowPrivilegeEscalation"`
	AllowPrivilegedContainer bool                `json:"allowPrivilegedContainer"`
	ReadOnlyRootFilesystem   bool                `json:"readOnlyRootFilesystem"`
	AllowedCapabilities      []corev1.Capability `json:"allowedCapabilities"`
	RequiredDropCapabilities []corev1.Capability `json:"requiredDropCapabilities"`
	RunAsUser                strategy            `json:"runAsUser"`
	FSGroup                  strategy            `json:"fsGroup"`
	SupplementalGroups       strategy            `json:"supplementalGroups"`
	SELinuxContext           strategy            `json:"seLinuxContext"`
	SeccompProfiles          []string            `json:"seccompProfiles"`
	Volumes                  []string            `json:"volumes"`
	Users                    []string            `json:"users"`
	Groups                   []string            `json:"groups"`
}

type strategy struct {
	Type           string                 `json:"type"`
	SELinuxOptions *corev1.SELinuxOptions `json:"seLinuxOptions,omitempty"`
}

// DeepCopyObject copies nothing: the tests only read.
func (s *SecurityContextConstraints) DeepCopyObject() runtime.Object { return s }

func addOpenShiftTypes(s *runtime.Scheme) error {
	s.AddKnownTypeWithName(schema.GroupVersionKind{Group: "security.openshift.io", Version: "v1", Kind: "SecurityContextConstraints"}, &SecurityContextConstraints{})
	return nil
}

func TestOpenShiftAllowsTheAgentWhatItAsks(t *testing.T) {
	objects := build(t, "overlays/openshift")
	found := 0
	for _, object := range objects {
		if constraints, ok := object.(*SecurityContextConstraints); ok {
			found++
			obey(t, constrained(constraints, podTemplates(objects)["corepin-agent"]))
		}
	}
	if found != 1 {
		t.Errorf("there are %d SecurityContextConstraints, want that of the agent", found)
	}
	scheduler := ptr.Deref(podTemplates(objects)["corepin-scheduler"].SecurityContext, corev1.PodSecurityContext{})
	if scheduler.RunAsUser != nil || scheduler.RunAsGroup != nil || !ptr.Deref(scheduler.RunAsNonRoot, false) {
		t.Errorf("the scheduler names a user, or may be root: %+v", scheduler)
	}
}

// constrained says where the constraints allow another thing than the pod asks for.
func constrained(s *SecurityContextConstraints, pod corev1.PodSpec) []string {
	var violations []string
	demand := func(holds bool, what string) {
		if !holds {
			violations = append(violations, what)
		}
	}
	for _, c := range pod.Containers {
		asked := c.SecurityContext.Capabilities
		demand(slices.Equal(asked.Add, s.AllowedCapabilities), fmt.Sprintf("capabilities %v are asked for, and %v allowed", asked.Add, s.AllowedCapabilities))
		demand(slices.Equal(asked.Drop, s.RequiredDropCapabilities), fmt.Sprintf("capabilities %v are dropped, and %v have to be", asked.Drop, s.RequiredDropCapabilities))
	}
	used := []string{"projected"} // the token
	for _, v := range pod.Volumes {
		switch {
		case v.ConfigMap != nil:
			used = append(used, "configMap")
		case v.HostPath != nil:
			used = append(used, "hostPath")
		}
	}
	slices.Sort(used)
	demand(slices.Equal(slices.Compact(used), slices.Sorted(slices.Values(s.Volumes))), fmt.Sprintf("volumes %v are used, and %v allowed", slices.Compact(used), s.Volumes))
	forbidden := s.AllowHostIPC || s.AllowHostNetwork || s.AllowHostPID || s.AllowHostPorts || s.AllowPrivilegeEscalation || s.AllowPrivilegedContainer
	demand(!forbidden && s.ReadOnlyRootFilesystem, "more of the host is allowed than the pod asks for")
	selinux := ptr.Deref(pod.SecurityContext, corev1.PodSecurityContext{}).SELinuxOptions
	demand(selinux != nil && s.SELinuxContext.SELinuxOptions != nil && *selinux == *s.SELinuxContext.SELinuxOptions, "the pod asks for another SELinux type than is allowed")
	demand(slices.Equal(s.Users, []string{"system:serviceaccount:corepin-system:" + pod.ServiceAccountName}) && len(s.Groups) == 0, "it is for the agent's service account only")
	return violations
}

func TestConstrainedCanFail(t *testing.T) {
	pod := corev1.PodSpec{Containers: []corev1.Container{{SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{
		Add: []corev1.Capability{"SYS_ADMIN"}, Drop: []corev1.Capability{"ALL"},
	}}}}}
	if got := constrained(&SecurityContextConstraints{AllowHostPID: true}, pod); len(got) != 6 {
		t.Errorf("%d violations %q, want 6", len(got), got)
	}
}
