// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// What the API server says of the token of a pod, in the user's extra fields
// (pkg/serviceaccount/claims.go and k8s.io/apiserver/pkg/authentication/serviceaccount/util.go, v1.36.3).
const (
	extraPodName   = "authentication.kubernetes.io/pod-name"
	extraPodUID    = "authentication.kubernetes.io/pod-uid"
	serviceAccount = "system:serviceaccount:"
)

// self finds the pod that the agent runs in, by asking the API server whose token the agent has. So the agent needs not be
// told its name, and cannot name another pod by mistake. It is asked once: a pod keeps its name.
type self struct {
	client dynamic.Interface

	mu    sync.Mutex
	known bool
	pod   *v1alpha1.AgentPod
}

// Pod is the agent's pod; nil for a token that is no pod's, and where the API server forbids the question.
func (s *self) Pod(ctx context.Context) (*v1alpha1.AgentPod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known {
		return s.pod, nil
	}
	question := &unstructured.Unstructured{Object: map[string]any{}}
	question.SetAPIVersion(authenticationv1.SchemeGroupVersion.String())
	question.SetKind("SelfSubjectReview")
	answer, err := s.client.Resource(authenticationv1.SchemeGroupVersion.WithResource("selfsubjectreviews")).Create(ctx, question, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		s.known = true
		return nil, nil
	case err != nil:
		return nil, err
	}
	var review authenticationv1.SelfSubjectReview
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &review); err != nil {
		return nil, err
	}
	s.pod = podOf(&review.Status.UserInfo)
	s.known = true
	return s.pod, nil
}

// podOf is the pod whose token a user has; nil where the token is no pod's.
func podOf(user *authenticationv1.UserInfo) *v1alpha1.AgentPod {
	account, isAccount := strings.CutPrefix(user.Username, serviceAccount)
	namespace, _, _ := strings.Cut(account, ":")
	name := user.Extra[extraPodName]
	uid := user.Extra[extraPodUID]
	if !isAccount || len(name) != 1 || len(uid) != 1 {
		return nil
	}
	return &v1alpha1.AgentPod{Namespace: namespace, Name: name[0], UID: types.UID(uid[0])}
}
