// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/vmi"
)

// policy is one of the two of manifests/admission, compiled by the API server's own compiler.
type policy struct {
	validating.Validator
	object  admissionv1.ValidatingAdmissionPolicy
	binding admissionv1.ValidatingAdmissionPolicyBinding
}

// Names of the policies and of their bindings.
const (
	refusePolicy = "dedicated-cpu.corepin.dev"
	warnPolicy   = "dedicated-cpu-warnings.corepin.dev"
)

func loadPolicy(t testing.TB, name string) policy {
	t.Helper()
	loaded := readPolicy(t, name)
	p := &loaded.object
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		t.Fatal(err)
	}
	options := cel.OptionalVariableDeclarations{HasAuthorizer: true}
	for _, v := range p.Spec.Variables {
		variable := &validating.Variable{Name: v.Name, Expression: v.Expression}
		if result := compiler.CompileAndStoreVariable(variable, options, environment.NewExpressions); result.Error != nil {
			t.Errorf("compiling variable %s: %v", v.Name, result.Error)
		}
	}
	var conditions, validations, messages []cel.ExpressionAccessor
	for i := range p.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&p.Spec.MatchConditions[i]))
	}
	for _, v := range p.Spec.Validations {
		validations = append(validations, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason})
		messages = append(messages, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression})
	}
	compile := func(expressions []cel.ExpressionAccessor) cel.ConditionEvaluator {
		evaluator := compiler.CompileCondition(expressions, options, environment.NewExpressions)
		if errs := evaluator.CompilationErrors(); len(errs) > 0 {
			t.Fatalf("compiling %s: %v", name, errs)
		}
		return evaluator
	}
	matcher := matchconditions.NewMatcher(compile(conditions), p.Spec.FailurePolicy, "policy", "validate", p.Name)
	loaded.Validator = validating.NewValidator(compile(validations), matcher, compile(nil), compile(messages), p.Spec.FailurePolicy, nil)
	return loaded
}

// readPolicy finds a policy and its binding among what `kubectl apply -k manifests/admission` applies.
func readPolicy(t testing.TB, name string) policy {
	t.Helper()
	var found policy
	for _, document := range bytes.Split(admissionManifest(t), []byte("\n---\n")) {
		var meta metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(document, &meta); err != nil {
			t.Fatal(err)
		}
		if meta.Name != name {
			continue
		}
		into := any(&found.object)
		if meta.Kind == "ValidatingAdmissionPolicyBinding" {
			into = &found.binding
		}
		if err := yaml.UnmarshalStrict(document, into); err != nil {
			t.Fatalf("reading %s %s: %v", meta.Kind, name, err)
		}
	}
	if found.object.Name == "" || found.binding.Name == "" {
		t.Fatalf("manifests/admission has no policy and binding %s", name)
	}
	return found
}

func admissionManifest(t testing.TB) []byte {
	t.Helper()
	rendered, err := manifests.Build(manifests.FS, "admission")
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// refuse is the message that the policy has for an object, "" where it has none. The
// object was old before, or is created where old is nil.
func (p policy) refuse(t testing.TB, object, old map[string]any) string {
	t.Helper()
	return p.refuseIn(t, &corev1.Namespace{}, object, old)
}

// author is a user who is no controller.
var author = &user.DefaultInfo{Name: "jane"}

// refuseIn is refuse in a namespace.
func (p policy) refuseIn(t testing.TB, namespace *corev1.Namespace, object, old map[string]any) string {
	t.Helper()
	return p.refuseBy(t, author, namespace, object, old)
}

// refuseBy is refuseIn for a user.
func (p policy) refuseBy(t testing.TB, who user.Info, namespace *corev1.Namespace, object, old map[string]any) string {
	t.Helper()
	operation := admission.Create
	var before runtime.Object
	if old != nil {
		operation = admission.Update
		before = &unstructured.Unstructured{Object: old}
	}
	now := &unstructured.Unstructured{Object: object}
	kind := schema.FromAPIVersionAndKind(now.GetAPIVersion(), now.GetKind())
	resource := kind.GroupVersion().WithResource(strings.ToLower(kind.Kind) + "s")
	attributes := &admission.VersionedAttributes{
		Attributes:         admission.NewAttributesRecord(now, before, kind, "vms", now.GetName(), resource, "", operation, nil, false, who),
		VersionedKind:      kind,
		VersionedObject:    now,
		VersionedOldObject: before,
	}
	result := p.Validate(t.Context(), resource, attributes, nil, namespace, celconfig.RuntimeCELCostBudget, nil)
	for _, decision := range result.Decisions {
		if decision.Action == validating.ActionDeny || decision.Evaluation == validating.EvalError {
			return decision.Message
		}
	}
	return ""
}

// policyCase is a case of pkg/vmi/testdata/cases.yaml.
type policyCase struct {
	Name, Kind, Architecture, Instancetype string
	Annotations                            map[string]any
	Domain                                 map[string]any
	Want, Strict                           []string
}

func policyCases(t testing.TB) []policyCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "pkg", "vmi", "testdata", "cases.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []policyCase
	if err := yaml.UnmarshalStrict(data, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("reading %d cases: %v", len(cases), err)
	}
	return cases
}

// object is the case as an author writes it for corepin's scheduler.
func (c policyCase) object(t testing.TB) map[string]any {
	t.Helper()
	metadata := map[string]any{"name": "demo", "namespace": "vms", "annotations": c.Annotations}
	spec := map[string]any{"domain": c.Domain, "schedulerName": "corepin"}
	if c.Architecture != "" {
		spec["architecture"] = c.Architecture
	}
	object := map[string]any{"apiVersion": "kubevirt.io/v1alpha2", "kind": vmi.KindVMI, "metadata": metadata, "spec": spec}
	if c.Kind == "" {
		return toJSONNumbers(t, object)
	}
	outer := map[string]any{"template": map[string]any{"metadata": metadata, "spec": spec}}
	object["kind"] = c.Kind
	object["spec"] = outer
	if c.Instancetype != "" {
		outer["instancetype"] = map[string]any{"name": c.Instancetype}
	}
	if c.Kind == vmi.KindPool {
		object["apiVersion"] = "pool.kubevirt.io/v1beta1"
		object["spec"] = map[string]any{"virtualMachineTemplate": map[string]any{"spec": outer}}
	}
	return toJSONNumbers(t, object)
}

// wantMessage is what pkg/vmi has to say about an object, as the policy says it.
func wantMessage(t testing.TB, object map[string]any, strictness vmi.Strictness) string {
	t.Helper()
	v, err := vmi.FromUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Dedicated() {
		return ""
	}
	var messages []string
	for _, finding := range vmi.Errors(vmi.Check(v, strictness)) {
		messages = append(messages, finding.String())
	}
	return strings.Join(messages, "; ")
}

// labelled is a namespace with a strictness.
func labelled(strictness vmi.Strictness) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "vms", Labels: map[string]string{"corepin.dev/strictness": strictness.String()}}}
}

// In a namespace that asks for it, only that is refused which KubeVirt refuses.
func TestPolicyUnderKubeVirtsRules(t *testing.T) {
	p := loadPolicy(t, refusePolicy)
	refused := 0
	differs := 0
	compare := func(name string, object map[string]any) {
		v, err := vmi.FromUnstructured(object)
		if err != nil || !v.Dedicated() {
			return
		}
		if cpu := v.Spec.Domain.Resources.Limits.CPU; cpu != nil && cpu.Count() > math.MaxInt32 && v.VCPUs() == 0 {
			return // KubeVirt's defaulting wraps around, and on its clusters the policy sees what that makes of it
		}
		standard := p.refuse(t, object, nil)
		got := p.refuseIn(t, labelled(vmi.KubeVirt), object, nil)
		want := ""
		for _, finding := range vmi.Errors(vmi.Judge(v, vmi.KubeVirt)) {
			if finding.Rule != "sockets-too-many" { // nobody can write so many; KubeVirt's defaulting can
				want += finding.String() + "; "
			}
		}
		if (got == "") != (want == "") {
			t.Errorf("%s:\npolicy  %q\npkg/vmi %q", name, got, want)
		}
		if got != "" {
			refused++
		}
		if (got == "") != (standard == "") {
			differs++
		}
	}
	for _, c := range policyCases(t) {
		compare(c.Name, c.object(t))
	}
	if refused < 10 || differs < 4 {
		t.Errorf("%d refused, and %d otherwise than under Standard: too few to mean anything", refused, differs)
	}
	for _, record := range lines[recordedVMI](t, "admission.jsonl") {
		if record.VMI["spec"] != nil {
			compare(record.ID, forCorepin(record.VMI))
		}
	}
	t.Logf("%d refused, %d otherwise than under Standard", refused, differs)
}

// forCorepin is the VMI with corepin's scheduler.
func forCorepin(object map[string]any) map[string]any {
	copied := (&unstructured.Unstructured{Object: object}).DeepCopy().Object
	if spec, ok := copied["spec"].(map[string]any); ok {
		spec["schedulerName"] = "corepin"
	}
	return copied
}

func TestPolicyAgreesWithTheTable(t *testing.T) {
	p := loadPolicy(t, refusePolicy)
	for _, c := range policyCases(t) {
		object := c.object(t)
		for _, strictness := range []vmi.Strictness{vmi.Standard, vmi.Strict} {
			got := p.refuseIn(t, labelled(strictness), object, nil)
			if want := wantMessage(t, object, strictness); got != want {
				t.Errorf("%s under %s:\npolicy  %s\npkg/vmi %s", c.Name, strictness, got, want)
			}
		}
	}
}

// toJSONNumbers reads an object as the API server does, whole numbers as int64.
func toJSONNumbers(t testing.TB, object map[string]any) map[string]any {
	t.Helper()
	data, err := (&unstructured.Unstructured{Object: object}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var out unstructured.Unstructured
	if err := out.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return out.Object
}

// TestPolicyAgreesOnRecordings: whatever VMI KubeVirt was asked to judge, as written and as its mutating
// webhook changed it, which is what the policy sees on a KubeVirt cluster.
func TestPolicyAgreesOnRecordings(t *testing.T) {
	p := loadPolicy(t, refusePolicy)
	compared := 0
	compare := func(id string, object map[string]any) {
		object = forCorepin(object)
		got := p.refuse(t, object, nil)
		v, err := vmi.FromUnstructured(object)
		switch {
		case err != nil && dedicated(object) && got == "":
			t.Errorf("%s cannot be read (%v) and the policy lets it pass", id, err)
		case err != nil:
			return
		case !v.Dedicated() && got != "":
			t.Errorf("%s asks for nothing dedicated and is refused: %s", id, got)
		case got != wantMessage(t, object, vmi.Standard):
			t.Errorf("%s:\npolicy  %s\npkg/vmi %s", id, got, wantMessage(t, object, vmi.Standard))
		}
		compared++
	}
	for _, record := range lines[recordedVMI](t, "admission.jsonl") {
		if record.VMI["spec"] != nil {
			compare(record.ID, record.VMI)
		}
	}
	for _, record := range lines[renderedPod](t, filepath.Join("launcher-pods", "index.jsonl")) {
		compare(record.Name, toJSONNumbers(t, readYAML[map[string]any](t, record.Name+".mutated-vmi.yaml")))
	}
	t.Logf("%d virtual machines compared", compared)
}

// recordedVMI is the part of a recording that the policy looks at.
type recordedVMI struct {
	ID  string
	VMI map[string]any
}

// dedicated reads the one field without the rest.
func dedicated(object map[string]any) bool {
	asked, _, _ := unstructured.NestedBool(object, "spec", "domain", "cpu", "dedicatedCpuPlacement")
	return asked
}

// parse reads an object as a user writes it.
func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return toJSONNumbers(t, object)
}
