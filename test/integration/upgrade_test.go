// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
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
		fleet  = story.OldFleet()
		made   = map[string]*unstructured.Unstructured{} // the VirtualMachines, by name
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
		gomega.Expect(story.RemovePolicies(ctx, bed)).To(gomega.Succeed())
		_, err = story.StockScheduler(ctx, bed)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		kube = controllerOf(ctx, bed)
		for _, vm := range fleet {
			made[vm.Name] = makeVM(ctx, bed, vm)
		}
	})

	everybody := func(*story.OldVM) bool { return true }
	stage := func(name string, which func(*story.OldVM) bool) {
		ginkgo.It("VMs run "+name, func(ctx context.Context) {
			var otherwise []error
			for _, vm := range fleet { // one at a time: a node that starts thirty at once takes minutes
				if which(vm) {
					vm.Instance = restart(ctx, bed, kube, made[vm.Name])
				}
				otherwise = append(otherwise, vm.Reached(settle(ctx, bed, vm)))
			}
			gomega.Expect(errors.Join(otherwise...)).To(gomega.Succeed())
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
			_, err := bed.Kubectl(ctx, "label", "virtualmachine", "--namespace="+testbed.VMNamespace, "--overwrite", vm.Name, "seen=yes")
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
	})
	ginkgo.It("the policies and the scheduler go", func(ctx context.Context) {
		gomega.Expect(story.RemovePolicies(ctx, bed)).To(gomega.Succeed())
		gomega.Expect(bed.Scheduler.Stop()).To(gomega.Succeed())
	})
	stage("after corepin went, those that do not name its scheduler anew", func(vm *story.OldVM) bool { return vm.Scheduler == "" })
	ginkgo.AfterAll(func() { ginkgo.AddReportEntry("installing corepin", story.OldTable(fleet)) })
})

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

var virtualMachines = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachines"}

// makeVM makes a VirtualMachine, and returns it as it is stored.
func makeVM(ctx context.Context, bed *testbed.Testbed, vm *story.OldVM) *unstructured.Unstructured {
	ginkgo.GinkgoHelper()
	manifest := vm.Manifest(testbed.VMNamespace, "", "")
	gomega.Eventually(ctx, func() error { return bed.Apply(ctx, manifest) }).WithTimeout(deadline).Should(gomega.Succeed())
	object, err := bed.Dynamic().Resource(virtualMachines).Namespace(testbed.VMNamespace).Get(ctx, vm.Name, metav1.GetOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return object
}

// restart deletes the VM's VMI, if there is one, and makes it again from the template as virt-controller does.
func restart(ctx context.Context, bed *testbed.Testbed, kube dynamic.Interface, vm *unstructured.Unstructured) types.UID {
	ginkgo.GinkgoHelper()
	instances := bed.Dynamic().Resource(testbed.VMIs).Namespace(testbed.VMNamespace)
	err := instances.Delete(ctx, vm.GetName(), metav1.DeleteOptions{})
	if !apierrors.IsNotFound(err) {
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	}
	gomega.Eventually(ctx, func() bool {
		_, err := instances.Get(ctx, vm.GetName(), metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}).WithTimeout(deadline).Should(gomega.BeTrue())
	spec, _, err := unstructured.NestedMap(vm.Object, "spec", "template", "spec")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	instance := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "spec": spec}}
	instance.SetName(vm.GetName())
	instance.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(vm, virtualMachines.GroupVersion().WithKind("VirtualMachine"))})
	made, err := kube.Resource(testbed.VMIs).Namespace(testbed.VMNamespace).Create(ctx, instance, metav1.CreateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "KubeVirt starts %s again", vm.GetName())
	return made.GetUID()
}

// settle is what has become of the VM: "runs", or "waits" for a node. It waits for what is wanted.
func settle(ctx context.Context, bed *testbed.Testbed, vm *story.OldVM) string {
	state := "has no pod"
	_ = await.For(ctx, vm.Name, 5*deadline, func(ctx context.Context) error {
		// The pod of this VMI: that of the one before it may still run.
		selector := metav1.ListOptions{LabelSelector: "kubevirt.io/created-by=" + string(vm.Instance)}
		pods, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).List(ctx, selector)
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 {
			return fmt.Errorf("%d pods", len(pods.Items))
		}
		state = story.StateOf(&pods.Items[0])
		if state != vm.Wanted() {
			return errors.New(state)
		}
		return nil
	}) // the caller compares
	return state
}
