// SPDX-License-Identifier: Apache-2.0

// Package virtapi stands in for KubeVirt's virt-api in test clusters, in one part: its mutating webhook for
// VirtualMachineInstances. So every admission policy sees a VMI as it sees it beside a real KubeVirt: with the guest's topology, memory, CPU
// model and network filled in. Status is KubeVirt's own: what others write into it is put back.
//
// It refuses nothing, and leaves VirtualMachines as they are. A test compares what it fills in with what KubeVirt did.
package virtapi

import (
	"context"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/test/harness/pki"
)

// ownAccounts is the prefix of the names of KubeVirt's service accounts.
const ownAccounts = "system:serviceaccount:kubevirt:"

// maxReview bounds what is read of a request. The API server itself takes objects of 3 MiB.
const maxReview = 8 << 20

// Server is a webhook that listens.
type Server struct {
	listener net.Listener
	server   *http.Server
	keys     string
	bundle   string
}

// New listens on loopback, with a certificate of its own in the folder keys.
func New(keys string) (*Server, error) {
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of virt-api's keys: %w", err)
	}
	ca, err := pki.NewAuthority("kubevirt.io")
	if err != nil {
		return nil, err
	}
	if err := ca.IssueServer(filepath.Join(keys, "virt-api"), pkix.Name{CommonName: "virt-api"}, nil); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	s := &Server{listener: listener, keys: keys, bundle: base64.StdEncoding.EncodeToString(ca.PEM)}
	s.server = &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 10 * time.Second}
	return s, nil
}

// Manifest is the webhook's configuration.
func (s *Server) Manifest() []byte {
	return fmt.Appendf(nil, `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: virt-api-mutator}
webhooks:
- name: virtualmachineinstances-mutator.kubevirt.io
  admissionReviewVersions: [v1]
  clientConfig: {url: "https://%s/virtualmachineinstances-mutate", caBundle: %s}
  rules:
  - {apiGroups: [kubevirt.io], apiVersions: [v1, v1alpha3, v1alpha2], operations: [CREATE, UPDATE], resources: [virtualmachineinstances]}
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 10
`, s.listener.Addr(), s.bundle)
}

// Run answers until ctx ends, and then returns nil.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.server.Close() })
	defer stop()
	err := s.server.ServeTLS(s.listener, filepath.Join(s.keys, "virt-api.crt"), filepath.Join(s.keys, "virt-api.key"))
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serving the webhook: %w", err)
}

func answer(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	err := json.NewDecoder(io.LimitReader(r.Body, maxReview)).Decode(&review)
	if err != nil || review.Request == nil {
		http.Error(w, fmt.Sprintf("want an AdmissionReview with a request: %v", err), http.StatusBadRequest)
		return
	}
	response := Admit(review.Request, time.Now())
	response.UID = review.Request.UID
	review.Request = nil
	review.Response = response
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // the API server asks again, or fails the request
}

// Admit allows a VMI, changed; it is refused only where it cannot be read.
func Admit(request *admissionv1.AdmissionRequest, now time.Time) *admissionv1.AdmissionResponse {
	changed, err := admitted(request, now)
	if err != nil {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: err.Error(), Code: http.StatusUnprocessableEntity}}
	}
	if changed == nil {
		return &admissionv1.AdmissionResponse{Allowed: true}
	}
	kind := admissionv1.PatchTypeJSONPatch
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: changed, PatchType: &kind}
}

// admitted is the patch, nil for none.
func admitted(request *admissionv1.AdmissionRequest, now time.Time) ([]byte, error) {
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(request.Object.Raw, &object.Object); err != nil {
		return nil, fmt.Errorf("reading the VMI: %w", err)
	}
	if request.Operation == admissionv1.Create {
		if err := Mutate(object, now); err != nil {
			return nil, err
		}
		return replace(object, "metadata", "spec", "status")
	}
	old := &unstructured.Unstructured{}
	if err := json.Unmarshal(request.OldObject.Raw, &old.Object); err != nil {
		return nil, fmt.Errorf("reading the VMI of before: %w", err)
	}
	if strings.HasPrefix(request.UserInfo.Username, ownAccounts) || reflect.DeepEqual(object.Object["status"], old.Object["status"]) {
		return nil, nil
	}
	return replace(old, "status")
}

// replace is a patch with which these fields are the object's.
func replace(object *unstructured.Unstructured, fields ...string) ([]byte, error) {
	var operations []map[string]any
	for _, field := range fields {
		value, ok := object.Object[field]
		if !ok {
			value = map[string]any{}
		}
		operations = append(operations, map[string]any{"op": "add", "path": "/" + field, "value": value})
	}
	return json.Marshal(operations)
}
