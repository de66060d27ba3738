// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"testing"

	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	internalv1 "k8s.io/kubernetes/pkg/apis/admissionregistration/v1"
	"k8s.io/kubernetes/pkg/apis/admissionregistration/validation"
)

// The API server's own validation accepts policies and bindings, so that applying them cannot fail.
func TestPolicyIsAccepted(t *testing.T) {
	for _, name := range []string{refusePolicy, warnPolicy} {
		read := readPolicy(t, name)
		internalv1.SetObjectDefaults_ValidatingAdmissionPolicy(&read.object)
		internalv1.SetObjectDefaults_ValidatingAdmissionPolicyBinding(&read.binding)

		var internal admissionregistration.ValidatingAdmissionPolicy
		if err := internalv1.Convert_v1_ValidatingAdmissionPolicy_To_admissionregistration_ValidatingAdmissionPolicy(&read.object, &internal, nil); err != nil {
			t.Fatal(err)
		}
		for _, err := range validation.ValidateValidatingAdmissionPolicy(&internal) {
			t.Errorf("the API server refuses policy %s: %v", name, err)
		}
		var binding admissionregistration.ValidatingAdmissionPolicyBinding
		if err := internalv1.Convert_v1_ValidatingAdmissionPolicyBinding_To_admissionregistration_ValidatingAdmissionPolicyBinding(&read.binding, &binding, nil); err != nil {
			t.Fatal(err)
		}
		for _, err := range validation.ValidateValidatingAdmissionPolicyBinding(&binding) {
			t.Errorf("the API server refuses binding %s: %v", name, err)
		}
	}
}
