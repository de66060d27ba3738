// SPDX-License-Identifier: Apache-2.0

package virtcontroller_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/cluster/clustertest"
	"corepin.dev/corepin/test/harness/crd"
	"corepin.dev/corepin/test/harness/virtcontroller"
	"corepin.dev/corepin/test/harness/virthandler"
)

const (
	limit     = time.Minute
	namespace = "vms"
)

// env is a control plane with the controller, which runs under its own identity.
type env struct {
	*testing.T
	cluster    *cluster.Cluster
	kubeconfig string
	stop       func()
	up         atomic.Bool // whether domains are
}

// start runs the controller until stop.
func (e *env) start() {
	config, err := clientcmd.BuildConfigFromFlags("", e.kubeconfig)
	if err != nil {
		e.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- virtcontroller.Run(ctx, config) }()
	e.stop = func() {
		cancel()
		if err := <-done; err != nil {
			e.Error(err)
		}
		done <- nil
	}
}

// handle runs the stand-in for virt-handler, whose domains are up from the moment that up says so.
func (e *env) handle() {
	kubeconfig, err := e.cluster.ServiceAccountKubeconfig(e.Context(), virtcontroller.Namespace, virtcontroller.HandlerAccount)
	if err != nil {
		e.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		e.Fatal(err)
	}
	go func() {
		up := func(context.Context, *unstructured.Unstructured) bool { return e.up.Load() }
		if err := virthandler.Run(e.Context(), virthandler.Options{Config: config, Up: up}); err != nil {
			e.Error(err)
		}
	}()
}

func (e *env) apply(manifests ...string) {
	e.Helper()
	for _, manifest := range manifests {
		if err := e.cluster.Apply(e.Context(), []byte(manifest)); err != nil {
			e.Fatal(err)
		}
	}
}

// vmi waits until the VMI's status has all these fields, given as "field=value"; a field of a
// condition is "Type.field".
func (e *env) vmi(name string, want ...string) *unstructured.Unstructured {
	e.Helper()
	ref := cluster.Ref{Resource: crd.VMIs, Namespace: namespace, Name: name}
	object, err := e.cluster.WaitForObject(e.Context(), ref, limit, func(object *unstructured.Unstructured) error {
		for _, pair := range want {
			field, value, _ := strings.Cut(pair, "=")
			if got := statusField(object, field); !strings.HasPrefix(got, value) || (value == "") != (got == "") {
				return fmt.Errorf("%s is %q, want %q", field, got, value)
			}
		}
		return nil
	})
	if err != nil {
		e.Fatal(err)
	}
	return object
}

func statusField(object *unstructured.Unstructured, field string) string {
	status, _ := object.Object["status"].(map[string]any)
	kind, name, isCondition := strings.Cut(field, ".")
	if !isCondition {
		text, _ := status[field].(string)
		return text
	}
	conditions, _ := status["conditions"].([]any)
	for _, item := range conditions {
		if condition, ok := item.(map[string]any); ok && condition["type"] == kind {
			text, _ := condition[name].(string)
			return text
		}
	}
	return ""
}

// pods are the launcher pods of a VMI.
func (e *env) pods(vmi *unstructured.Unstructured) []corev1.Pod {
	e.Helper()
	list, err := e.cluster.Client().CoreV1().Pods(namespace).List(e.Context(), metav1.ListOptions{LabelSelector: "kubevirt.io/created-by=" + string(vmi.GetUID())})
	if err != nil {
		e.Fatal(err)
	}
	return list.Items
}

func (e *env) onlyPod(vmi *unstructured.Unstructured) corev1.Pod {
	e.Helper()
	pods := e.pods(vmi)
	if len(pods) != 1 {
		e.Fatalf("VMI %s has %d pods, want 1", vmi.GetName(), len(pods))
	}
	return pods[0]
}

// setStatus does what scheduler or kubelet would do to the VMI's pod.
func (e *env) setStatus(vmi *unstructured.Unstructured, change func(*corev1.PodStatus)) {
	e.Helper()
	pods := e.cluster.Client().CoreV1().Pods(namespace)
	name := e.onlyPod(vmi).Name
	err := await.For(e.Context(), "the pod's status to be written", limit, func(ctx context.Context) error {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(&pod.Status)
		_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
}

// seed is the VMI of the user guide, in the API version of its time.
const seed = `{apiVersion: kubevirt.io/v1alpha2, kind: VirtualMachineInstance, metadata: {name: %s, namespace: vms, annotations: %s},
 spec: {schedulerName: corepin, domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, resources: {limits: {memory: 2Gi}}, devices: {}}}}`

const hook = `{hooks.kubevirt.io/hookSidecars: '[{"image": "hook.invalid/hook:1"}]'}`

func TestController(t *testing.T) {
	e := &env{T: t, cluster: clustertest.Start(t, "")}
	e.apply(string(crd.KubeVirt), string(virtcontroller.Manifest), `{apiVersion: v1, kind: Namespace, metadata: {name: vms}}`)
	kubeconfig, err := e.cluster.ServiceAccountKubeconfig(t.Context(), virtcontroller.Namespace, virtcontroller.ServiceAccount)
	if err != nil {
		t.Fatal(err)
	}
	e.kubeconfig = kubeconfig
	e.start()
	defer func() { e.stop() }()
	e.handle()

	e.apply(fmt.Sprintf(seed, "one", hook))
	one := e.vmi("one", "phase=Scheduling", "qosClass=Guaranteed", "Ready.status=False")
	testPod(t, e.onlyPod(one))
	testRestart(e, one)
	testLife(e, one)
	testLostPod(e)
	testRefusal(e)
	testDeletion(e)
	e.onlyPod(one) // still, after all that
}

func testPod(t *testing.T, pod corev1.Pod) {
	var names []string
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name+" "+c.Resources.Requests.Cpu().String()+" "+c.Resources.Requests.Memory().String())
	}
	if got := strings.Join(names, ", "); got != "compute 2 2444Mi, hook-sidecar-0 200m 64M" {
		t.Errorf("containers are %s", got)
	}
	if pod.Spec.SchedulerName != "corepin" || pod.Annotations["kubevirt.io/domain"] != "one" {
		t.Errorf("scheduler %s, domain %s", pod.Spec.SchedulerName, pod.Annotations["kubevirt.io/domain"])
	}
}

// testRestart: a controller that is started again finds the pod it made; one that was away while a VMI
// was created makes its pod.
func testRestart(e *env, one *unstructured.Unstructured) {
	e.stop()
	e.apply(fmt.Sprintf(seed, "two", "{}"))
	e.start()
	two := e.vmi("two", "phase=Scheduling")
	if e.onlyPod(one).UID == e.onlyPod(two).UID {
		e.Error("two VMIs have the same pod")
	}
}

// testLife takes the VMI through its phases by what scheduler and kubelet do to its pod.
func testLife(e *env, one *unstructured.Unstructured) {
	e.setStatus(one, func(status *corev1.PodStatus) {
		status.Conditions = append(status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available",
		})
	})
	e.vmi("one", "phase=Scheduling", "PodScheduled.reason=Unschedulable", "PodScheduled.message=0/3 nodes are available")

	e.apply(`{apiVersion: v1, kind: Node, metadata: {name: node-a}}`)
	pod := e.onlyPod(one)
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "node-a"}}
	if err := e.cluster.Client().CoreV1().Pods(namespace).Bind(e.Context(), binding, metav1.CreateOptions{}); err != nil {
		e.Fatal(err)
	}
	e.vmi("one", "phase=Scheduling", "nodeName=", "PodScheduled.reason=")

	// A pod whose containers are not ready is not handed over.
	starting := corev1.ContainerStatus{Name: "compute"}
	e.setStatus(one, func(status *corev1.PodStatus) {
		status.Phase = corev1.PodRunning
		status.ContainerStatuses = []corev1.ContainerStatus{starting}
	})
	e.vmi("one", "phase=Scheduling")
	e.setStatus(one, func(status *corev1.PodStatus) { status.ContainerStatuses[0].Ready = true })
	scheduled := e.vmi("one", "phase=Scheduled", "nodeName=node-a", "launcherContainerImageVersion="+launcherpod.LauncherImage, "Ready.status=False")
	if scheduled.GetLabels()[launcherpod.NodeLabel] != "node-a" {
		e.Errorf("the VMI's labels are %v", scheduled.GetLabels())
	}
	if labels := e.onlyPod(one).Labels; labels[launcherpod.NodeLabel] != "node-a" {
		e.Errorf("the pod's labels are %v", labels)
	}
	e.up.Store(true)
	running := e.vmi("one", "phase=Running", "Ready.status=True", "LiveMigratable.status=True", "selinuxContext=none")
	if got := phases(running); got != "Pending Scheduling Scheduled Running" && got != "Scheduling Scheduled Running" {
		e.Errorf("the phases were %q", got)
	}
	gate := ""
	for _, condition := range e.onlyPod(one).Status.Conditions {
		if condition.Type == "kubevirt.io/virtual-machine-unpaused" {
			gate = string(condition.Status)
		}
	}
	if gate != "True" {
		e.Errorf("the readiness gate is %q, want True", gate)
	}

	testMigration(e, one)
	e.setStatus(one, func(status *corev1.PodStatus) {
		status.Phase, status.Reason, status.Message = corev1.PodFailed, "SMTAlignmentError", "2 CPUs wanted"
	})
	failed := e.vmi("one", "phase=Failed", "nodeName=node-a", "Ready.status=False")
	if message := statusField(failed, "Ready.message"); !strings.Contains(message, "SMTAlignmentError: 2 CPUs wanted") {
		e.Errorf("the VMI says %q, want the kubelet's reason", message)
	}
}

// phases are those that a VMI says it went through.
func phases(vmi *unstructured.Unstructured) string {
	transitions, _, _ := unstructured.NestedSlice(vmi.Object, "status", "phaseTransitionTimestamps")
	var all []string
	for _, item := range transitions {
		transition, _ := item.(map[string]any)
		all = append(all, fmt.Sprint(transition["phase"]))
	}
	return strings.Join(all, " ")
}

// testMigration: a VM that runs gets a target pod, which is apart from its own and takes nothing from it; with the VM it goes.
func testMigration(e *env, one *unstructured.Unstructured) {
	_, err := e.cluster.Kubectl(e.Context(), "label", "node", "node-a", "host-model-cpu.node.kubevirt.io/Broadwell=true", "cpu-vendor.node.kubevirt.io/Intel=true")
	if err != nil {
		e.Fatal(err)
	}
	source := e.onlyPod(one)
	e.apply(`{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstanceMigration, metadata: {name: move, namespace: vms}, spec: {vmiName: one}}`)
	var target corev1.Pod
	err = await.For(e.Context(), "the target pod", limit, func(context.Context) error {
		for _, pod := range e.pods(one) {
			if pod.UID != source.UID {
				target = pod
				return nil
			}
		}
		return errors.New("there is none")
	})
	if err != nil {
		e.Fatal(err)
	}
	for label, value := range map[string]string{"cpu-model-migration.node.kubevirt.io/Broadwell": "true", "cpu-vendor.node.kubevirt.io/Intel": "true"} {
		if target.Spec.NodeSelector[label] != value {
			e.Errorf("the target selects %v, want %s", target.Spec.NodeSelector, label)
		}
	}
	if role := launcher.RoleOf(&target); role != launcher.MigrationTarget || target.Spec.Affinity.PodAntiAffinity == nil {
		e.Errorf("the target's role is %s, its affinity %v", role, target.Spec.Affinity)
	}
	if err := e.cluster.Dynamic().Resource(virtcontroller.Migrations).Namespace(namespace).Delete(e.Context(), "move", metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	if err := e.cluster.Client().CoreV1().Pods(namespace).Delete(e.Context(), target.Name, metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	err = await.For(e.Context(), "the target's end", limit, func(context.Context) error {
		if pods := e.pods(one); len(pods) != 1 {
			return fmt.Errorf("%d pods", len(pods))
		}
		return nil
	})
	if err != nil {
		e.Error(err)
	}
	e.vmi("one", "phase=Running")
}

// testLostPod: a pod that is gone is not made again.
func testLostPod(e *env) {
	two := e.vmi("two", "phase=Scheduling")
	if err := e.cluster.Client().CoreV1().Pods(namespace).Delete(e.Context(), e.onlyPod(two).Name, metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	e.vmi("two", "phase=Failed", "Ready.message=the launcher pod is gone")
	if pods := e.pods(two); len(pods) != 0 {
		e.Errorf("%d pods after the first was deleted, want none", len(pods))
	}
}

// testRefusal: a VMI that no pod can be made of says why, and gets its pod once it is put right.
func testRefusal(e *env) {
	e.apply(fmt.Sprintf(seed, "three", `{hooks.kubevirt.io/hookSidecars: "{"}`))
	three := e.vmi("three", "phase=Pending", "Synchronized.reason=FailedCreate")
	if message := statusField(three, "Synchronized.message"); !strings.Contains(message, "annotation hooks.kubevirt.io/hookSidecars") {
		e.Errorf("the VMI says %q, want the annotation", message)
	}
	e.apply(fmt.Sprintf(seed, "three", hook))
	e.vmi("three", "phase=Scheduling", "Synchronized.reason=")
	e.onlyPod(three)
}

// testDeletion: with the VMI its pod goes.
func testDeletion(e *env) {
	three := e.vmi("three")
	if err := e.cluster.Dynamic().Resource(crd.VMIs).Namespace(namespace).Delete(e.Context(), "three", metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	err := await.For(e.Context(), "the pod's end", limit, func(context.Context) error {
		if pods := e.pods(three); len(pods) > 0 {
			return fmt.Errorf("pod %s is there", pods[0].Name)
		}
		return nil
	})
	if err != nil {
		e.Error(err)
	}
}
