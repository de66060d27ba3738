// SPDX-License-Identifier: Apache-2.0

// Package virtapi stands in for KubeVirt's virt-api in test clusters, in two of its webhooks for VirtualMachineInstances.
//
// The mutating one lets every admission policy see a VMI as it sees it beside a real KubeVirt: with the guest's topology, memory, CPU
// model and network filled in. Status is KubeVirt's own: what others write into it is put back. The validating one refuses
// what others than KubeVirt change in a VMI that exists: its spec, and the labels that KubeVirt writes.
//
// It refuses no new VMI, leaves VirtualMachines as they are, and does not hold virt-handler's account to the VMIs of one node. A test
// compares what it fills in with what KubeVirt did.
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
	paths := http.NewServeMux()
	paths.HandleFunc(mutatePath, answers(Admit))
	paths.HandleFunc(validateUpdatePath, answers(func(request *admissionv1.AdmissionRequest, _ time.Time) *admissionv1.AdmissionResponse {
		return AdmitUpdate(request)
	}))
	s.server = &http.Server{Handler: paths, ReadHeaderTimeout: 10 * time.Second}
	return s, nil
}

// The paths of the webhooks are virt-api's own.
const (
	mutatePath         = "/virtualmachineinstances-mutate"
	validateUpdatePath = "/virtualmachineinstances-validate-update"
)

// Manifest is the webhooks' configuration.
func (s *Server) Manifest() []byte {
	return fmt.Appendf(nil, `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: virt-api-mutator}
webhooks:
- name: virtualmachineinstances-mutator.kubevirt.io
  admissionReviewVersions: [v1]
  clientConfig: {url: "https://%[1]s%[2]s", caBundle: %[4]s}
  rules:
  - {apiGroups: [kubevirt.io], apiVersions: [v1, v1alpha3, v1alpha2], operations: [CREATE, UPDATE], resources: [virtualmachineinstances]}
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 10
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: virt-api-validator}
webhooks:
- name: virtualmachineinstances-update-validator.kubevirt.io
  admissionReviewVersions: [v1]
  clientConfig: {url: "https://%[1]s%[3]s", caBundle: %[4]s}
  rules:
  - {apiGroups: [kubevirt.io], apiVersions: [v1, v1alpha3, v1alpha2], operations: [UPDATE], resources: [virtualmachineinstances]}
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 10
`, s.listener.Addr(), mutatePath, validateUpdatePath, s.bundle)
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

// answers serves one webhook.
func answers(admit func(*admissionv1.AdmissionRequest, time.Time) *admissionv1.AdmissionResponse) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		err := json.NewDecoder(io.LimitReader(r.Body, maxReview)).Decode(&review)
		if err != nil || review.Request == nil {
			http.Error(w, fmt.Sprintf("want an AdmissionReview with a request: %v", err), http.StatusBadRequest)
			return
		}
		response := admit(review.Request, time.Now())
		response.UID = review.Request.UID
		review.Request = nil
		review.Response = response
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review) // the API server asks again, or fails the request
	}
}

// Admit allows a VMI, changed; it is refused only where it cannot be read.
func Admit(request *admissionv1.AdmissionRequest, now time.Time) *admissionv1.AdmissionResponse {
	changed, err := admitted(request, now)
	if err != nil {
		return refused(err)
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
	old, err := before(request)
	if err != nil {
		return nil, err
	}
	if isKubeVirt(request) || reflect.DeepEqual(object.Object["status"], old.Object["status"]) {
		return nil, nil
	}
	return replace(old, "status")
}

// before is the VMI that an update replaces.
func before(request *admissionv1.AdmissionRequest) (*unstructured.Unstructured, error) {
	old := &unstructured.Unstructured{}
	if err := json.Unmarshal(request.OldObject.Raw, &old.Object); err != nil {
		return nil, fmt.Errorf("reading the VMI of before: %w", err)
	}
	return old, nil
}

func isKubeVirt(request *admissionv1.AdmissionRequest) bool {
	return strings.HasPrefix(request.UserInfo.Username, ownAccounts)
}

func refused(err error) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: err.Error(), Code: http.StatusUnprocessableEntity}}
}

// ownLabels are those of a VMI that only KubeVirt writes (restrictedVmiLabels, pkg/virt-api/webhooks/validating-webhook/admitters,
// v1.9.0).
var ownLabels = []string{
	"kubevirt.io/created-by", "kubevirt.io/migrationJobUID", "kubevirt.io/nodeName", "kubevirt.io/migrationTargetNodeName",
	"kubevirt.io/schedulable", "kubevirt.io/install-strategy",
}

// AdmitUpdate refuses what KubeVirt refuses of a change that is not its own: of a VMI's spec, and of the labels that it writes
// (VMIUpdateAdmitter, ibid.). CPUs and volumes are plugged in through the VirtualMachine or a subresource.
func AdmitUpdate(request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(request.Object.Raw, &object.Object); err != nil {
		return refused(fmt.Errorf("reading the VMI: %w", err))
	}
	old, err := before(request)
	if err != nil {
		return refused(err)
	}
	if isKubeVirt(request) {
		return &admissionv1.AdmissionResponse{Allowed: true}
	}
	if !reflect.DeepEqual(object.Object["spec"], old.Object["spec"]) {
		return refused(errors.New("update of VMI object is restricted"))
	}
	labels := object.GetLabels()
	earlier := old.GetLabels()
	for _, name := range ownLabels {
		value, is := labels[name]
		was, had := earlier[name]
		if value != was || is != had {
			return refused(errors.New("modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited"))
		}
	}
	return &admissionv1.AdmissionResponse{Allowed: true}
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
