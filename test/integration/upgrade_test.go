package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
	"corepin.dev/corepin/test/harness/virtcontroller"
)

// A namespace of VMs that run before corepin's policies are there: each is started again after they came, and after
// they went.
var _ = ginkgo.Describe("installing corepin", ginkgo.Ordered, func() {
	var (
		bed    *testbed.Testbed
		kube   dynamic.Interface // KubeVirt's controller
		fleet  []*oldVM
		policy []byte
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		roomy := alignedMachine("roomy", "2 sockets x 1 numa x 32 cores x 2 threads", "0")
		roomy.Kubelet.TopologyManagerPolicy = "none"
		roomy.Kubelet.CPUManagerPolicyOptions = nil
		bed = startTestbed(ctx, []testbed.Machine{roomy})
		var err error
		policy, err = manifests.Build(manifests.FS, "admission")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		removePolicies(ctx, bed)
		_, err = bed.RunScheduler(ctx, "stock-scheduler", func(config map[string]any) {
			config["leaderElection"] = map[string]any{"leaderElect": false}
			config["profiles"] = []any{map[string]any{"schedulerName": "default-scheduler"}}
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		kube = controllerOf(ctx, bed)
		for _, name := range slices.Sorted(maps.Keys(story.OldShapes)) {
			fleet = append(fleet, newVM(ctx, bed, name, story.OldShapes[name], ""), newVM(ctx, bed, name, story.OldShapes[name], "corepin"))
		}
	})

	everybody := func(*oldVM) bool { return true }
	stage := func(name string, which func(*oldVM) bool) {
		ginkgo.It("VMs run "+name, func(ctx context.Context) {
			var otherwise []string
			for _, vm := range fleet { // one at a time: a node that starts thirty at once takes minutes
				if which(vm) {
					vm.restart(ctx, bed, kube)
				}
				want := "runs"
				if story.NeverExclusive[vm.shape] && vm.scheduler == "corepin" {
					want = "waits"
				}
				state := vm.settle(ctx, bed, want)
				vm.states = append(vm.states, state)
				if state != want {
					otherwise = append(otherwise, vm.name+" "+state)
				}
			}
			gomega.Expect(otherwise).To(gomega.BeEmpty())
		})
	}
	stage("before", everybody)
	ginkgo.It("the policies come", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, policy)).To(gomega.Succeed())
		bad := "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: bad, namespace: vms}\n" +
			"spec: {schedulerName: corepin, domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}}}\n"
		gomega.Eventually(ctx, func() error {
			err := bed.Apply(ctx, []byte(bad))
			if err == nil {
				_ = bed.DeleteVMI(ctx, "bad")
			}
			return err
		}).WithTimeout(deadline).Should(gomega.MatchError(gomega.ContainSubstring("no memory is given")))
	})
	stage("after the policies came", everybody)
	ginkgo.It("an old VM can be changed where the rules do not look", func(ctx context.Context) {
		for _, vm := range fleet {
			_, err := bed.Kubectl(ctx, "label", "virtualmachine", "--namespace="+testbed.VMNamespace, "--overwrite", vm.name, "seen=yes")
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
	})
	ginkgo.It("the policies and the scheduler go", func(ctx context.Context) {
		removePolicies(ctx, bed)
		gomega.Expect(bed.Scheduler.Stop()).To(gomega.Succeed())
	})
	stage("after corepin went, those that do not name its scheduler anew", func(vm *oldVM) bool { return vm.scheduler == "" })
	ginkgo.AfterAll(func() {
		table := fmt.Sprintf("%-20s %-10s %-10s %-10s %s\n", "shape", "scheduler", "before", "after", "removed")
		for _, vm := range fleet {
			table += fmt.Sprintf("%-20s %-10s %s\n", vm.shape, vm.scheduler, strings.Join(vm.states, "       "))
		}
		ginkgo.AddReportEntry("installing corepin", table)
	})
})

func removePolicies(ctx context.Context, bed *testbed.Testbed) {
	ginkgo.GinkgoHelper()
	for _, kind := range []string{"validatingadmissionpolicybinding", "validatingadmissionpolicy"} {
		_, err := bed.Kubectl(ctx, "delete", kind, "dedicated-cpu.corepin.dev", "dedicated-cpu-warnings.corepin.dev")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	}
}

// controllerOf is a client with the identity of KubeVirt's controller.
func controllerOf(ctx context.Context, bed *testbed.Testbed) dynamic.Interface {
	ginkgo.GinkgoHelper()
	path, err := bed.ServiceAccountKubeconfig(ctx, virtcontroller.Namespace, virtcontroller.ServiceAccount)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	config, err := clientcmd.BuildConfigFromFlags("", path)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	client, err := dynamic.NewForConfig(config)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return client
}

// oldVM is a VirtualMachine that is there before corepin's policies.
type oldVM struct {
	name, shape, scheduler string
	object                 *unstructured.Unstructured
	instance               types.UID // of the VMI that was made last
	states                 []string
}

var virtualMachines = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachines"}

func newVM(ctx context.Context, bed *testbed.Testbed, shape, spec, scheduler string) *oldVM {
	ginkgo.GinkgoHelper()
	vm := &oldVM{name: shape, shape: shape, scheduler: scheduler}
	if scheduler != "" {
		vm.name += "-" + scheduler
		spec = strings.Replace(spec, "{domain:", "{schedulerName: "+scheduler+", domain:", 1)
	}
	text := fmt.Sprintf("{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: %s, namespace: %s}, spec: {runStrategy: Always, template: {spec: %s}}}",
		vm.name, testbed.VMNamespace, spec)
	gomega.Eventually(ctx, func() error { return bed.Apply(ctx, []byte(text)) }).WithTimeout(deadline).Should(gomega.Succeed())
	var err error
	vm.object, err = bed.Dynamic().Resource(virtualMachines).Namespace(testbed.VMNamespace).Get(ctx, vm.name, metav1.GetOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return vm
}

// restart deletes the VM's VMI, if there is one, and makes it again from the template as virt-controller does.
func (vm *oldVM) restart(ctx context.Context, bed *testbed.Testbed, kube dynamic.Interface) {
	ginkgo.GinkgoHelper()
	instances := bed.Dynamic().Resource(testbed.VMIs).Namespace(testbed.VMNamespace)
	err := instances.Delete(ctx, vm.name, metav1.DeleteOptions{})
	if !apierrors.IsNotFound(err) {
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	}
	gomega.Eventually(ctx, func() bool {
		_, err := instances.Get(ctx, vm.name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}).WithTimeout(deadline).Should(gomega.BeTrue())
	spec, _, err := unstructured.NestedMap(vm.object.Object, "spec", "template", "spec")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	instance := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "spec": spec}}
	instance.SetName(vm.name)
	instance.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(vm.object, virtualMachines.GroupVersion().WithKind("VirtualMachine"))})
	made, err := kube.Resource(testbed.VMIs).Namespace(testbed.VMNamespace).Create(ctx, instance, metav1.CreateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "KubeVirt starts %s again", vm.name)
	vm.instance = made.GetUID()
}

// settle is what has become of the VM: "runs", or "waits" for a node. It waits for what is wanted.
func (vm *oldVM) settle(ctx context.Context, bed *testbed.Testbed, want string) string {
	state := "has no pod"
	_ = await.For(ctx, vm.name, 5*deadline, func(ctx context.Context) error {
		// The pod of this VMI: that of the one before it may still run.
		selector := metav1.ListOptions{LabelSelector: "kubevirt.io/created-by=" + string(vm.instance)}
		pods, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).List(ctx, selector)
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 {
			return fmt.Errorf("%d pods", len(pods.Items))
		}
		state = stateOf(&pods.Items[0])
		if state != want {
			return errors.New(state)
		}
		return nil
	}) // the caller compares
	return state
}

func stateOf(pod *corev1.Pod) string {
	if pod.Status.Phase == corev1.PodRunning {
		return "runs"
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return "waits"
		}
	}
	return strings.TrimSpace("is " + string(pod.Status.Phase) + " " + pod.Status.Reason)
}
