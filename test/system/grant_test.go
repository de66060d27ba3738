// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/machine"
	"corepin.dev/corepin/test/harness/testbed"
)

// glance is the time between two looks that cost a machine next to nothing: one file, and the API server.
const glance = 500 * time.Millisecond

// vm is a VM whose pod has been admitted.
type vm struct {
	name    string
	pod     *corev1.Pod
	node    *machine.Machine
	granted cpuset.Set
}

// asked is what a dedicated VM asks for.
type asked struct {
	cpus   int
	memory string // of the guest; "" is 64Mi
	pages  string // the size of the huge pages that are this memory; "" is none
	vfs    int
	// decided is set where only the kubelet's decision counts. The VM has a volume that is never there, so its kubelet admits
	// the pod and starts no container of it: that takes a minute on emulated CPUs, and ending it another.
	decided bool
}

// String says in one line what is asked for.
func (a asked) String() string {
	text := fmt.Sprintf("%d CPUs", a.cpus)
	if a.pages != "" {
		text += fmt.Sprintf(", %s of %s pages", cmp.Or(a.memory, "64Mi"), a.pages)
	}
	if a.vfs > 0 {
		text += fmt.Sprintf(", %d VFs", a.vfs)
	}
	return text
}

// vmiYAML is a dedicated VMI of a number of CPUs; see asked.yaml.
func vmiYAML(name, scheduler, node string, cores int) []byte {
	return asked{cpus: cores}.yaml(name, scheduler, node)
}

// yaml is a dedicated VMI, with the hook sidecar of the examples; on one node, or on any where node is "".
func (a asked) yaml(name, scheduler, node string) []byte {
	memory := cmp.Or(a.memory, "64Mi")
	pages := ""
	if a.pages != "" {
		pages = fmt.Sprintf(", hugepages: {pageSize: %s}", a.pages)
	}
	var devices []string
	for i := range a.vfs {
		devices = append(devices, fmt.Sprintf("{name: vf%d, deviceName: %s}", i, vf))
	}
	disks := ""
	volumes := ""
	if a.decided {
		disks = ", disks: [{name: missing, disk: {bus: virtio}}]"
		volumes = "\n  volumes: [{name: missing, configMap: {name: missing}}]"
	}
	selector := ""
	if node != "" {
		selector = "kubernetes.io/hostname: " + node
	}
	return fmt.Appendf(nil, `apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata:
  name: %s
  namespace: %s
  annotations:
    hooks.kubevirt.io/hookSidecars: '[{"image":"registry.example/hook:1"}]'
spec:
  schedulerName: %s
  nodeSelector: {%s}
  terminationGracePeriodSeconds: 0
  domain:
    cpu: {cores: %d, dedicatedCpuPlacement: true}
    devices: {logSerialConsole: false, hostDevices: [%s]%s}
    memory: {guest: %s%s}
    resources: {limits: {memory: %[8]s}}%[10]s
`, name, testbed.VMNamespace, scheduler, selector, a.cpus, strings.Join(devices, ", "), disks, memory, pages, volumes)
}

// grant applies a VMI that may go to some nodes, and holds the CPUs that its kubelet grants to the compute
// container against those that were predicted from the report that the node had before.
func (w *world) grant(ctx context.Context, name string, yaml []byte, nodes ...string) (vm, error) {
	before := map[string]*v1alpha1.NodeCPU{}
	for _, node := range nodes {
		report, err := w.currentReport(ctx, node)
		if err != nil {
			return vm{}, err
		}
		before[node] = report
	}
	if err := w.Apply(ctx, yaml); err != nil {
		return vm{}, err
	}
	v, err := w.awaitGrant(ctx, name)
	if err != nil {
		return v, err
	}
	predicted, err := predict(before[v.node.Name()], v.pod)
	if err != nil {
		return v, fmt.Errorf("predicting the CPUs of %s on %s: %w", name, v.node.Name(), err)
	}
	say("%s: on %s, predicted %s, granted %s", name, v.node.Name(), predicted, v.granted)
	if predicted != v.granted {
		return v, fmt.Errorf("%s on %s: predicted CPUs %s, the kubelet granted %s", name, v.node.Name(), predicted, v.granted)
	}
	return v, nil
}

// currentReport waits until a node's report says what its kubelet's checkpoint says, and returns it.
func (w *world) currentReport(ctx context.Context, node string) (report *v1alpha1.NodeCPU, err error) {
	err = await.Every(ctx, glance, "the report of "+node+" to be current", limit, func(ctx context.Context) error {
		if report, err = w.Report(ctx, node); err != nil {
			return err
		}
		return agreesWithCheckpoint(ctx, w.machines[node], report)
	})
	return report, err
}

// predict is what the kubelet will grant to a pod, from its node's report.
func predict(report *v1alpha1.NodeCPU, pod *corev1.Pod) (cpuset.Set, error) {
	if report == nil {
		return cpuset.Set{}, errors.New("the pod was not meant to be there")
	}
	node, err := nodereport.Node(report)
	if err != nil {
		return cpuset.Set{}, err
	}
	asked := admission.PodOf(pod)
	if why := node.Inexact(asked); why != "" {
		return cpuset.Set{}, fmt.Errorf("not predictable: %s", why)
	}
	decision := admission.Admit(node, &asked)
	if decision.Verdict != admission.Admitted {
		return cpuset.Set{}, fmt.Errorf("predicted: %s", decision)
	}
	return decision.Granted(), nil
}

// awaitGrant waits until the kubelet's checkpoint has the CPUs of a VMI's pod.
func (w *world) awaitGrant(ctx context.Context, name string) (v vm, err error) {
	err = await.Every(ctx, glance, name+" to be granted CPUs", limit, func(ctx context.Context) error {
		pod, err := w.PodOf(ctx, name)
		switch {
		case err != nil:
			return err
		case pod.Status.Phase == corev1.PodFailed:
			return await.Stop(fmt.Errorf("pod %s failed: %s: %s", pod.Name, pod.Status.Reason, pod.Status.Message))
		case pod.Spec.NodeName == "":
			return fmt.Errorf("pod %s is on no node: %v", pod.Name, pod.Status.Conditions)
		}
		m := w.machines[pod.Spec.NodeName]
		state, err := readCheckpoint(ctx, m)
		if err != nil {
			return err
		}
		granted, err := state.granted(string(pod.UID))
		if err != nil {
			return err
		}
		compute, ok := granted["compute"]
		if !ok || len(granted) != 1 {
			return fmt.Errorf("the checkpoint of %s has for %s: %v; only compute gets CPUs of its own", m.Name(), pod.Name, granted)
		}
		v = vm{name: name, pod: pod, node: m, granted: compute}
		return nil
	})
	return v, err
}

// awaitRunning waits until the containers of a VM's pod run, and keeps the pod as it is then.
func (w *world) awaitRunning(ctx context.Context, v *vm) error {
	return await.Every(ctx, glance, "the pod of "+v.name+" to run", limit, func(ctx context.Context) error {
		pod, err := w.PodOf(ctx, v.name)
		if err != nil {
			return err
		}
		if v.pod = pod; pod.Status.Phase == corev1.PodFailed {
			return await.Stop(fmt.Errorf("pod %s failed: %s: %s", pod.Name, pod.Status.Reason, pod.Status.Message))
		}
		if pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("pod %s is %s: %v %v", pod.Name, pod.Status.Phase, pod.Status.Conditions, pod.Status.ContainerStatuses)
		}
		return nil
	})
}

// remove deletes VMIs and waits until their pods are gone from the API server and from the checkpoints.
func (w *world) remove(ctx context.Context, names ...string) error {
	var pods []*corev1.Pod
	for _, name := range names {
		if pod, err := w.PodOf(ctx, name); err == nil { // else there is none to wait for
			pods = append(pods, pod)
		}
		err := w.Dynamic().Resource(testbed.VMIs).Namespace(testbed.VMNamespace).Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting %s: %w", name, err)
		}
	}
	var gone []string
	for _, pod := range pods {
		ref := cluster.Ref{Resource: corev1.SchemeGroupVersion.WithResource("pods"), Namespace: pod.Namespace, Name: pod.Name}
		if err := w.WaitForGone(ctx, ref, limit); err != nil {
			return err
		}
		gone = append(gone, string(pod.UID))
	}
	for _, name := range names { // the VMI goes after its pod, and until then its name is taken
		if err := w.WaitForGone(ctx, cluster.Ref{Resource: testbed.VMIs, Namespace: testbed.VMNamespace, Name: name}, limit); err != nil {
			return err
		}
	}
	return await.Every(ctx, glance, "the kubelets to forget "+strings.Join(names, ", "), limit, func(ctx context.Context) error {
		for _, m := range w.machines {
			state, err := readCheckpoint(ctx, m)
			if err != nil {
				return err
			}
			for _, uid := range gone {
				if entry, ok := state.Entries[uid]; ok {
					return fmt.Errorf("the checkpoint of %s still has pod %s: %v", m.Name(), uid, entry)
				}
			}
		}
		return nil
	})
}
