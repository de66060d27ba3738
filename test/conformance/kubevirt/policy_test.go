package kubevirt

import (
	"math"
	"os"
	"path/filepath"
	"slices"
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
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/vmi"
)

// policy is manifests/admission, compiled by the API server's own compiler.
type policy struct {
	validating.Validator
	binding admissionv1.ValidatingAdmissionPolicyBinding
}

func loadPolicy(t *testing.T) policy {
	t.Helper()
	var p admissionv1.ValidatingAdmissionPolicy
	var loaded policy
	readManifest(t, "policy.yaml", &p)
	readManifest(t, "binding.yaml", &loaded.binding)
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
			t.Fatalf("compiling manifests/admission: %v", errs)
		}
		return evaluator
	}
	matcher := matchconditions.NewMatcher(compile(conditions), p.Spec.FailurePolicy, "policy", "validate", p.Name)
	loaded.Validator = validating.NewValidator(compile(validations), matcher, compile(nil), compile(messages), p.Spec.FailurePolicy, nil)
	return loaded
}

func readManifest(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "manifests", "admission", name))
	if err == nil {
		err = yaml.UnmarshalStrict(data, into)
	}
	if err != nil {
		t.Fatalf("reading manifests/admission/%s: %v", name, err)
	}
}

// refuse gives the message with which the policy refuses that object, "" where it lets it pass. The
// object was old before, or is created where old is nil.
func (p policy) refuse(t *testing.T, object, old map[string]any) string {
	t.Helper()
	return p.refuseIn(t, &corev1.Namespace{}, object, old)
}

// refuseIn is refuse in a namespace.
func (p policy) refuseIn(t *testing.T, namespace *corev1.Namespace, object, old map[string]any) string {
	t.Helper()
	operation := admission.Create
	var before runtime.Object
	if old != nil {
		operation, before = admission.Update, &unstructured.Unstructured{Object: old}
	}
	now := &unstructured.Unstructured{Object: object}
	kind := schema.FromAPIVersionAndKind(now.GetAPIVersion(), now.GetKind())
	resource := kind.GroupVersion().WithResource(strings.ToLower(kind.Kind) + "s")
	attributes := &admission.VersionedAttributes{
		Attributes:         admission.NewAttributesRecord(now, before, kind, "vms", now.GetName(), resource, "", operation, nil, false, nil),
		VersionedKind:      kind,
		VersionedObject:    now,
		VersionedOldObject: before,
	}
	result := p.Validate(t.Context(), resource, attributes, nil, namespace, celconfig.RuntimeCELCostBudget, nil)
	for _, decision := range result.Decisions {
		if decision.Action == validating.ActionDeny {
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
	Want                                   []string
}

func policyCases(t *testing.T) []policyCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "pkg", "vmi", "testdata", "cases.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []policyCase
	if err := yaml.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("reading %d cases: %v", len(cases), err)
	}
	return cases
}

func (c policyCase) object(t *testing.T) map[string]any {
	t.Helper()
	metadata, spec := map[string]any{"name": "demo", "namespace": "vms", "annotations": c.Annotations}, map[string]any{"domain": c.Domain}
	if c.Architecture != "" {
		spec["architecture"] = c.Architecture
	}
	object := map[string]any{"apiVersion": "kubevirt.io/v1alpha2", "kind": vmi.KindVMI, "metadata": metadata, "spec": spec}
	if c.Kind == vmi.KindVM {
		outer := map[string]any{"template": map[string]any{"metadata": metadata, "spec": spec}}
		object["kind"], object["spec"] = vmi.KindVM, outer
		if c.Instancetype != "" {
			outer["instancetype"] = map[string]any{"name": c.Instancetype}
		}
	}
	return toJSONNumbers(t, object)
}

// wantMessage is what pkg/vmi has to say about an object, as the policy says it.
func wantMessage(t *testing.T, object map[string]any) string {
	t.Helper()
	v, err := vmi.FromUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Dedicated() {
		return ""
	}
	var messages []string
	for _, finding := range vmi.Errors(vmi.Check(v, vmi.Strict)) {
		messages = append(messages, finding.String())
	}
	return strings.Join(messages, "; ")
}

// In a namespace that asks for it, only that is refused which KubeVirt refuses.
func TestPolicyStrictness(t *testing.T) {
	p := loadPolicy(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "vms", Labels: map[string]string{"corepin.dev/strictness": vmi.KubeVirt.String()}}}
	refused, differs := 0, 0
	compare := func(name string, object map[string]any) {
		v, err := vmi.FromUnstructured(object)
		if err != nil || !v.Dedicated() {
			return
		}
		if cpu := v.Spec.Domain.Resources.Limits.CPU; cpu != nil && cpu.Count() > math.MaxInt32 && v.VCPUs() == 0 {
			return // KubeVirt's defaulting wraps around, and on its clusters the policy sees what that makes of it
		}
		strict, got, want := p.refuse(t, object, nil), p.refuseIn(t, namespace, object, nil), ""
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
		if (got == "") != (strict == "") {
			differs++
		}
	}
	for _, c := range policyCases(t) {
		compare(c.Name, c.object(t))
	}
	if refused < 10 || differs < 5 {
		t.Errorf("%d refused, and %d otherwise than under Strict: too few to tell anything", refused, differs)
	}
	for _, record := range lines[recordedVMI](t, "admission.jsonl") {
		if record.VMI["spec"] != nil {
			compare(record.ID, record.VMI)
		}
	}
	t.Logf("%d refused, %d otherwise than under Strict", refused, differs)
}

func TestPolicyAgreesWithTheTable(t *testing.T) {
	p := loadPolicy(t)
	for _, c := range policyCases(t) {
		object := c.object(t)
		if got, want := p.refuse(t, object, nil), wantMessage(t, object); got != want {
			t.Errorf("%s:\npolicy  %s\npkg/vmi %s", c.Name, got, want)
		}
	}
}

// toJSONNumbers reads an object as the API server does, whole numbers as int64.
func toJSONNumbers(t *testing.T, object map[string]any) map[string]any {
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
	p, compared := loadPolicy(t), 0
	compare := func(id string, object map[string]any) {
		got := p.refuse(t, object, nil)
		v, err := vmi.FromUnstructured(object)
		switch {
		case err != nil && dedicated(object) && got == "":
			t.Errorf("%s cannot be read (%v) and the policy lets it pass", id, err)
		case err != nil:
			return
		case !v.Dedicated() && got != "":
			t.Errorf("%s asks for nothing dedicated and is refused: %s", id, got)
		case got != wantMessage(t, object):
			t.Errorf("%s:\npolicy  %s\npkg/vmi %s", id, got, wantMessage(t, object))
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
func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return toJSONNumbers(t, object)
}

const (
	vmiHead = "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: demo}, spec: {domain: "
	badVM   = "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: demo}, " +
		"spec: {running: true, template: {spec: {domain: {cpu: {dedicatedCpuPlacement: true, cores: 2}}}}}}"
)

// The policy keeps its hands off everything that does not ask for dedicated CPUs, and tells by name what has
// not its type in what does.
func TestPolicyOnOddObjects(t *testing.T) {
	p := loadPolicy(t)
	for _, tc := range []struct{ name, object, want string }{
		{"no cpu", vmiHead + "{resources: {limits: nonsense}}}}", ""},
		{"cpu is null", vmiHead + "{cpu: null}}}", ""},
		{"not dedicated, all wrong", vmiHead + "{cpu: {cores: -1, dedicatedCpuPlacement: false}, resources: {limits: {cpu: x}}}}}", ""},
		{"dedicated is null", vmiHead + "{cpu: {dedicatedCpuPlacement: null}}}}", ""},
		{"dedicated in quotes", vmiHead + "{cpu: {dedicatedCpuPlacement: 'true'}}}}", "spec.domain.cpu.dedicatedCpuPlacement: must be true or false, without quotes"},
		{"wrong types", vmiHead + "{cpu: {dedicatedCpuPlacement: true, cores: '2', sockets: -1, threads: 1.5}, memory: {guest: much}, resources: {limits: {cpu: [2]}}}}}",
			"spec.domain.cpu.sockets: must be a whole number from 0 to 2147483647; spec.domain.cpu.cores: must be a whole number from 0 to 2147483647; " +
				"spec.domain.cpu.threads: must be a whole number from 0 to 2147483647; spec.domain.resources.limits.cpu: must be an amount such as 2, 1500m or 2Gi; " +
				"spec.domain.memory.guest: must be an amount such as 2, 1500m or 2Gi"},
		{"huge exponent", vmiHead + "{cpu: {dedicatedCpuPlacement: true}, memory: {guest: '1e2147483647'}}}}", "spec.domain.memory.guest: must be an amount such as 2, 1500m or 2Gi"},
		{"not objects", vmiHead + "{cpu: {dedicatedCpuPlacement: true, numa: []}, memory: 2Gi, resources: {limits: [cpu]}}}}",
			"spec.domain.memory: must be an object; spec.domain.resources.limits: must be an object; spec.domain.cpu.numa: must be an object"},
		{"an instancetype", strings.Replace(badVM, "running: true", "instancetype: {name: cx1.large}", 1),
			"spec.template.spec.domain.cpu: cores beside an instancetype, which gives the number of CPUs; remove one of the two"},
		{"a new VM", badVM, "spec.template.spec.domain.resources.limits.memory: no memory is given; set limits.memory, for example 2Gi"},
	} {
		if got := p.refuse(t, parse(t, tc.object), nil); got != tc.want {
			t.Errorf("%s: refused with %q; want %q", tc.name, got, tc.want)
		}
	}
	for _, tc := range []struct{ name, old, now, want string }{
		{"an old bad VM is stopped", badVM, strings.Replace(badVM, "running: true", "running: false", 1), ""},
		{"a VM becomes dedicated", strings.Replace(badVM, "dedicatedCpuPlacement: true, ", "", 1), badVM, "no memory is given"},
	} {
		if got := p.refuse(t, parse(t, tc.now), parse(t, tc.old)); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: refused with %q; want %q", tc.name, got, tc.want)
		}
	}
}

// The binding must enforce the policy, in every namespace, for every version.
func TestPolicyIsBound(t *testing.T) {
	var p admissionv1.ValidatingAdmissionPolicy
	readManifest(t, "policy.yaml", &p)
	binding := loadPolicy(t).binding
	if binding.Spec.PolicyName != p.Name || !slices.Equal(binding.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) || binding.Spec.MatchResources != nil {
		t.Errorf("binding %+v does not enforce %s everywhere", binding.Spec, p.Name)
	}
	for _, rule := range p.Spec.MatchConstraints.ResourceRules {
		if !slices.Equal(rule.APIVersions, []string{"v1", "v1alpha3", "v1alpha2"}) {
			t.Errorf("resources %v match in the versions %v", rule.Resources, rule.APIVersions)
		}
	}
	if len(p.Spec.Validations) != 1 {
		t.Errorf("%d validations; the API server tells the user of the first refused one only", len(p.Spec.Validations))
	}
}
