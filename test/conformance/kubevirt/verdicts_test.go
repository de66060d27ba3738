// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"corepin.dev/corepin/pkg/cli"
	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/dedicatedcpu"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/cluster/clustertest"
	"corepin.dev/corepin/test/harness/crd"
)

var strictnesses = []vmi.Strictness{vmi.Standard, vmi.Strict, vmi.KubeVirt}

// judge gives one of the three verdicts on an object: what is wrong with it, "" for nothing.
type judge func(t *testing.T, object map[string]any) (string, error)

// TestThreeJudgesAgree has every case judged by the policy in a real API server, by the plugin's PreFilter, which
// reads the VMI from that API server, and by kubectl-corepin check. The verdicts are the same, and except under KubeVirt's
// rules the words too. PreFilter, which sees VMs that exist, says less: it does not refuse what would run.
func TestThreeJudgesAgree(t *testing.T) {
	c := clustertest.Start(t, "")
	if err := c.Apply(t.Context(), crd.KubeVirt); err != nil {
		t.Fatal(err)
	}
	for _, strictness := range strictnesses {
		labels := map[string]string{"corepin.dev/strictness": strictness.String()}
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOf(strictness), Labels: labels}}
		if _, err := c.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cases := dedicatedCases(t)
	for i, object := range cases { // before there is a policy, as VMs that were there when corepin came
		create(t, c, vmiOf(object, i))
	}
	if err := c.Apply(t.Context(), admissionManifest(t)); err != nil {
		t.Fatal(err)
	}
	awaitPolicyIn(t, c, namespaceOf(vmi.Standard))
	for _, strictness := range strictnesses {
		t.Run(strictness.String(), func(t *testing.T) {
			refused := 0
			plugin := startPlugin(t, c, strictness)
			for i, object := range cases {
				if compareVerdicts(t, i, object, strictness, plugin, policyIn(c, strictness)) {
					refused++
				}
			}
			t.Logf("%d cases, %d of them refused", len(cases), refused)
		})
	}
}

func namespaceOf(strictness vmi.Strictness) string {
	return "vms-" + strings.ToLower(strictness.String())
}

// dedicatedCases are the cases of pkg/vmi and the examples, those that ask for dedicated CPUs: others are only check's
// to judge.
func dedicatedCases(t *testing.T) []map[string]any {
	t.Helper()
	var objects []map[string]any
	add := func(object map[string]any) {
		v, err := vmi.FromUnstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		if v.Dedicated() {
			objects = append(objects, object)
		}
	}
	for _, tc := range policyCases(t) {
		add(tc.object(t))
	}
	for _, file := range append(runnable(t), glob(t, examples+"/rejected/*.yaml")...) {
		text, _ := readExample(t, file)
		add(parse(t, text))
	}
	return objects
}

// compareVerdicts reports whether the case was refused.
func compareVerdicts(t *testing.T, i int, object map[string]any, strictness vmi.Strictness, plugin func(i int) (string, error), policy judge) bool {
	t.Helper()
	want, err := checkJudges(t, object, strictness)
	if err != nil {
		t.Errorf("case %d: %v", i, err)
	}
	got, err := policy(t, object)
	if err != nil {
		t.Errorf("case %d: %v", i, err)
	}
	if (got == "") != (want == "") || strictness != vmi.KubeVirt && got != want {
		t.Errorf("case %d:\npolicy %s\ncheck  %s", i, got, want)
	}
	v, err := vmi.FromUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	if v.Kind != vmi.KindVMI {
		return want != "" // no pod is made of it
	}
	var hopeless []string
	for _, finding := range vmi.Hopeless(vmi.Judge(v, strictness)) {
		hopeless = append(hopeless, finding.String())
	}
	got, err = plugin(i)
	if err != nil {
		t.Errorf("case %d: %v", i, err)
	}
	if need := strings.Join(hopeless, "; "); got != need || !strings.Contains(want, got) && len(hopeless) == 1 {
		t.Errorf("case %d:\nplugin   %s\nhopeless %s\ncheck    %s", i, got, need, want)
	}
	return want != ""
}

// checkJudges is kubectl-corepin check, without what it says for KubeVirt: neither the policy nor the scheduler looks at that.
func checkJudges(t *testing.T, object map[string]any, strictness vmi.Strictness) (string, error) {
	t.Helper()
	input, err := json.Marshal(object)
	if err != nil {
		return "", err
	}
	var out, errs bytes.Buffer
	host := cli.Host{In: bytes.NewReader(input), Out: &out, Err: &errs}
	cli.Run(t.Context(), host, []string{"check", "-f", "-", "-o", "json", "--strictness", strictness.String()})
	var verdict struct {
		Allowed  bool
		Findings []struct{ Severity, Field, Message string }
	}
	if err := json.Unmarshal(out.Bytes(), &verdict); err != nil {
		return "", fmt.Errorf("reading the answer %q, %s: %w", out.String(), errs.String(), err)
	}
	v, err := vmi.FromUnstructured(object)
	if err != nil {
		return "", err
	}
	others := map[string]bool{}
	for _, f := range append(vmi.Cluster{}.Unexpanded(v), vmi.Cluster{}.Others(v, strictness)...) {
		others[f.Field+": "+f.Message] = true
	}
	var messages []string
	refused := false
	for _, f := range verdict.Findings {
		message := f.Field + ": " + f.Message
		refused = refused || f.Severity == "error"
		if f.Severity == "error" && !others[message] {
			messages = append(messages, message)
		}
	}
	if verdict.Allowed == refused {
		return "", fmt.Errorf("allowed: %t, with findings %q", verdict.Allowed, messages)
	}
	return strings.Join(messages, "; "), nil
}

// policyIn is the policy in the namespace of a strictness.
func policyIn(c *cluster.Cluster, strictness vmi.Strictness) judge {
	return func(t *testing.T, object map[string]any) (string, error) {
		return denialIn(t, c, namespaceOf(strictness), object)
	}
}

// handle is as much of kube-scheduler as PreFilter needs.
type handle struct {
	fwk.Handle
	cluster *cluster.Cluster
	pods    informers.SharedInformerFactory
}

func (h handle) KubeConfig() *rest.Config                               { return h.cluster.AdminConfig() }
func (h handle) ClientSet() kubernetes.Interface                        { return h.cluster.Client() }
func (h handle) SharedInformerFactory() informers.SharedInformerFactory { return h.pods }
func (h handle) EventRecorder() events.EventRecorderLogger              { return events.NewFakeRecorder(1) }
func (h handle) Activate(klog.Logger, map[string]*corev1.Pod)           {} // the test asks again by itself
func (h handle) ProfileName() string                                    { return "corepin" }

// startPlugin gives the verdict of PreFilter on the launcher pod of case i.
func startPlugin(t *testing.T, c *cluster.Cluster, strictness vmi.Strictness) func(i int) (string, error) {
	t.Helper()
	args := &runtime.Unknown{Raw: []byte(fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"strictness":%q}`, config.APIVersion, config.Kind, strictness))}
	started, err := dedicatedcpu.Factory(nil)(t.Context(), args, handle{cluster: c, pods: informers.NewSharedInformerFactory(c.Client(), 0)})
	if err != nil {
		t.Fatal(err)
	}
	plugin := started.(fwk.PreFilterPlugin)
	return func(i int) (message string, err error) {
		err = await.For(t.Context(), "the VMs to be listed", 30*time.Second, func(ctx context.Context) error {
			_, status := plugin.PreFilter(ctx, framework.NewCycleState(), launcherPodOf(i), nil)
			switch status.Code() {
			case fwk.Pending:
				return errors.New(status.Message())
			case fwk.Success:
				message = ""
				return nil
			case fwk.UnschedulableAndUnresolvable:
				_, message, _ = strings.Cut(status.Message(), "no node is looked at: ")
				return nil
			}
			return await.Stop(fmt.Errorf("%s: %s", status.Code(), status.Message()))
		})
		return message, err
	}
}

func nameOf(i int) string { return fmt.Sprintf("case-%d", i) }

// vmiOf is the VMI of a case; of a VirtualMachine, one that is never asked for.
func vmiOf(object map[string]any, i int) *unstructured.Unstructured {
	copied := (&unstructured.Unstructured{Object: object}).DeepCopy()
	copied.SetName(nameOf(i))
	copied.SetNamespace("default")
	return copied
}

func create(t *testing.T, c *cluster.Cluster, object *unstructured.Unstructured) {
	t.Helper()
	resource := object.GroupVersionKind().GroupVersion().WithResource(strings.ToLower(object.GetKind()) + "s")
	if _, err := c.Dynamic().Resource(resource).Namespace(object.GetNamespace()).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// launcherPodOf is a sound pod, so that only the VMI can be to blame: it asks for as many CPUs as any case could.
func launcherPodOf(i int) *corev1.Pod {
	amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1024"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "virt-launcher-" + nameOf(i),
			Labels: map[string]string{"kubevirt.io": "virt-launcher"}, Annotations: map[string]string{"kubevirt.io/domain": nameOf(i)},
		},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"kubevirt.io/cpumanager": "true"},
			Containers:   []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts}}},
		},
		Status: corev1.PodStatus{QOSClass: corev1.PodQOSGuaranteed},
	}
}
