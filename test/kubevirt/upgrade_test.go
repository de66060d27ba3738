//go:build system

package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/story"
)

const old = "upgrade"

// oldVM is a VirtualMachine that is there before corepin's policies.
type oldVM struct {
	name, shape, scheduler string
	instance               types.UID // of its last VMI
	states                 []string
}

// A namespace of VMs that run before corepin's policies are there: each is started again after they came, and after
// they went.
var _ = ginkgo.Describe("installing corepin", ginkgo.Ordered, func() {
	var fleet []*oldVM
	var policy []byte
	var stock *process.Process
	everybody := func(*oldVM) bool { return true }
	ginkgo.BeforeAll(func(ctx context.Context) {
		namespace(ctx, old)
		var err error
		policy, err = manifests.Build(manifests.FS, "admission")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		removePolicies(ctx)
		stock, err = bed.RunScheduler(ctx, "stock-scheduler", func(config map[string]any) {
			config["leaderElection"] = map[string]any{"leaderElect": false}
			config["profiles"] = []any{map[string]any{"schedulerName": "default-scheduler"}}
		})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for _, shape := range slices.Sorted(maps.Keys(story.OldShapes)) {
			for _, scheduler := range []string{"", "corepin"} {
				fleet = append(fleet, newVM(ctx, shape, scheduler))
			}
		}
	}, ginkgo.NodeTimeout(5*time.Minute))
	stage := func(name string, which func(*oldVM) bool, restart bool) {
		ginkgo.It("VMs run "+name, func(ctx context.Context) {
			var otherwise []string
			for _, vm := range fleet {
				if restart && which(vm) {
					virtctl(ctx, "restart", vm.name, "--namespace="+old)
				}
			}
			for _, vm := range fleet {
				want := "runs"
				if story.NeverExclusive[vm.shape] && vm.scheduler == "corepin" {
					want = "waits"
				}
				state := vm.settle(ctx, want, restart && which(vm))
				vm.states = append(vm.states, state)
				if state != want {
					otherwise = append(otherwise, vm.name+" "+state)
				}
			}
			gomega.Expect(otherwise).To(gomega.BeEmpty())
		}, ginkgo.NodeTimeout(15*time.Minute))
	}
	stage("before", everybody, false)
	ginkgo.It("the policies come", func(ctx context.Context) { installPolicies(ctx, policy) })
	stage("after the policies came", everybody, false)
	stage("after each was restarted", everybody, true)
	ginkgo.It("the policies and the scheduler go", func(ctx context.Context) {
		removePolicies(ctx)
		gomega.Expect(bed.Scheduler.Stop()).To(gomega.Succeed())
	})
	stage("after corepin went, those that do not name its scheduler anew", func(vm *oldVM) bool { return vm.scheduler == "" }, true)
	ginkgo.AfterAll(func(ctx context.Context) {
		table := fmt.Sprintf("%-20s %-10s %-8s %-8s %-10s %s\n", "shape", "scheduler", "before", "install", "restarted", "removed")
		for _, vm := range fleet {
			states := append(slices.Clone(vm.states), "", "", "", "")
			table += fmt.Sprintf("%-20s %-10s %-8s %-8s %-10s %s\n", vm.shape, vm.scheduler, states[0], states[1], states[2], states[3])
		}
		report("installing corepin", table)
		gomega.Expect(errors.Join(stock.Stop(), bed.Scheduler.Restart())).To(gomega.Succeed())
		installPolicies(ctx, policy)
	})
})

func removePolicies(ctx context.Context) {
	ginkgo.GinkgoHelper()
	for _, kind := range []string{"validatingadmissionpolicybinding", "validatingadmissionpolicy"} {
		_, err := bed.Kubectl(ctx, "delete", kind, "dedicated-cpu.corepin.dev", "dedicated-cpu-warnings.corepin.dev")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	}
}

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

func newVM(ctx context.Context, shape, scheduler string) *oldVM {
	ginkgo.GinkgoHelper()
	vm := &oldVM{name: shape, shape: shape, scheduler: scheduler}
	spec := strings.Replace(story.OldShapes[shape], "{domain: {", "{terminationGracePeriodSeconds: 0, domain: {devices: {}, ", 1)
	if scheduler != "" {
		vm.name += "-" + scheduler
		spec = strings.Replace(spec, "{", "{schedulerName: "+scheduler+", ", 1)
	}
	apply(ctx, fmt.Sprintf("{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: %s, namespace: %s}, spec: {runStrategy: Always, template: {spec: %s}}}",
		vm.name, old, spec))
	return vm
}

// settle is what has become of the VM: "runs", or "waits" for a node. It waits for what is wanted, of a new VMI where the VM was
// restarted.
func (vm *oldVM) settle(ctx context.Context, want string, restarted bool) string {
	state := "has no VMI"
	before := vm.instance
	_ = await.For(ctx, vm.name, deadline, func(ctx context.Context) error {
		vmi, err := vmiOf(ctx, old, vm.name)
		if err != nil {
			return err
		}
		if restarted && vmi.GetUID() == before {
			state = "goes on"
			return errors.New(state)
		}
		vm.instance = vmi.GetUID()
		pods, err := podsOf(ctx, vmi)
		if err != nil {
			return err
		}
		state = "has no pod"
		if len(pods) == 1 {
			state = stateOf(&pods[0])
		}
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
