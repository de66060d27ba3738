package kubevirt

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	internalv1 "k8s.io/kubernetes/pkg/apis/admissionregistration/v1"
	"k8s.io/kubernetes/pkg/apis/admissionregistration/validation"
)

// The API server's own validation accepts policy and binding, so that applying them cannot fail.
func TestPolicyIsAccepted(t *testing.T) {
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	readManifest(t, "policy.yaml", &policy)
	readManifest(t, "binding.yaml", &binding)
	internalv1.SetObjectDefaults_ValidatingAdmissionPolicy(&policy)
	internalv1.SetObjectDefaults_ValidatingAdmissionPolicyBinding(&binding)

	var internal admissionregistration.ValidatingAdmissionPolicy
	if err := internalv1.Convert_v1_ValidatingAdmissionPolicy_To_admissionregistration_ValidatingAdmissionPolicy(&policy, &internal, nil); err != nil {
		t.Fatal(err)
	}
	for _, err := range validation.ValidateValidatingAdmissionPolicy(&internal) {
		t.Errorf("the API server refuses policy.yaml: %v", err)
	}
	var internalBinding admissionregistration.ValidatingAdmissionPolicyBinding
	if err := internalv1.Convert_v1_ValidatingAdmissionPolicyBinding_To_admissionregistration_ValidatingAdmissionPolicyBinding(&binding, &internalBinding, nil); err != nil {
		t.Fatal(err)
	}
	for _, err := range validation.ValidateValidatingAdmissionPolicyBinding(&internalBinding) {
		t.Errorf("the API server refuses binding.yaml: %v", err)
	}
}
