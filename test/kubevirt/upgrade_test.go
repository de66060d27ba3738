// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"context"
	"errors"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/story"
)

const old = "upgrade"

// A namespace of VMs that run before corepin's policies are there: each is started again after they came, and after
// they went.
var _ = ginkgo.Describe("installing corepin", ginkgo.Ordered, func() {
	fleet := story.OldFleet()
	var policy []byte
	var stock *process.Process
	everybody := func(*story.OldVM) bool { return true }
	ginkgo.BeforeAll(func(ctx context.Context) {
		namespace(ctx, old)
		var err error
		policy, err = manifests.Build(manifests.FS, "admission")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(story.RemovePolicies(ctx, bed)).To(gomega.Succeed())
		stock, err = story.StockScheduler(ctx, bed)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for _, vm := range fleet {
			gomega.Expect(bed.Apply(ctx, vm.Manifest(old, "terminationGracePeriodSeconds: 0, ", "devices: {}, "))).To(gomega.Succeed())
		}
	}, ginkgo.NodeTimeout(5*time.Minute))
	stage := func(name string, which func(*story.OldVM) bool, restart bool) {
		ginkgo.It("VMs run "+name, func(ctx context.Context) {
			var otherwise []error
			for _, vm := range fleet {
				if restart && which(vm) {
					virtctl(ctx, "restart", vm.Name, "--namespace="+old)
				}
			}
			for _, vm := range fleet {
				otherwise = append(otherwise, vm.Reached(settle(ctx, vm, restart && which(vm))))
			}
			gomega.Expect(errors.Join(otherwise...)).To(gomega.Succeed())
		}, ginkgo.NodeTimeout(15*time.Minute))
	}
	stage("before", everybody, false)
	ginkgo.It("the policies come", func(ctx context.Context) { installPolicies(ctx, policy) })
	stage("after the policies came", everybody, false)
	stage("after each was restarted", everybody, true)
	ginkgo.It("the policies and the scheduler go", func(ctx context.Context) {
		gomega.Expect(story.RemovePolicies(ctx, bed)).To(gomega.Succeed())
		gomega.Expect(bed.Scheduler.Stop()).To(gomega.Succeed())
	})
	stage("after corepin went, those that do not name its scheduler anew", func(vm *story.OldVM) bool { return vm.Scheduler == "" }, true)
	ginkgo.AfterAll(func(ctx context.Context) {
		report("installing corepin", story.OldTable(fleet))
		gomega.Expect(errors.Join(stock.Stop(), bed.Scheduler.Restart())).To(gomega.Succeed())
		installPolicies(ctx, policy)
	})
})

// installPolicies returns when a VMI that KubeVirt accepts is refused for want of memory.
func installPolicies(ctx context.Context, policy []byte) {
	ginkgo.GinkgoHelper()
	gomega.Expect(bed.Apply(ctx, policy)).To(gomega.Succeed())
	bad := "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: bad, namespace: default}, " +
		"spec: {schedulerName: corepin, domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, devices: {}}}}"
	gomega.Eventually(ctx, func() error {
		_, err := bed.Kubectl(ctx, "create", "--dry-run=server", "--filename="+write(bad))
		return err
	}).WithTimeout(deadline).Should(gomega.MatchError(gomega.ContainSubstring("dedicated-cpu.corepin.dev")))
}

// settle is what has become of the VM: "runs", or "waits" for a node. It waits for what is wanted, of a new VMI where the VM was
// restarted.
func settle(ctx context.Context, vm *story.OldVM, restarted bool) string {
	state := "has no VMI"
	before := vm.Instance
	_ = await.For(ctx, vm.Name, deadline, func(ctx context.Context) error {
		vmi, err := vmiOf(ctx, old, vm.Name)
		if err != nil {
			return err
		}
		if restarted && vmi.GetUID() == before {
			state = "goes on"
			return errors.New(state)
		}
		vm.Instance = vmi.GetUID()
		pods, err := podsOf(ctx, vmi)
		if err != nil {
			return err
		}
		state = "has no pod"
		if len(pods) == 1 {
			state = story.StateOf(&pods[0])
		}
		if state != vm.Wanted() {
			return errors.New(state)
		}
		return nil
	}) // the caller compares
	return state
}
