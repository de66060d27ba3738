// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/utils/cpuset"

	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
)

// Invariant 7: kill any process at any instant, start it again, and the same state is reached.
var _ = ginkgo.Describe("kill -9 in the middle of the story", ginkgo.Ordered, func() {
	var (
		bed  *testbed.Testbed
		told *story.Story
		see  witness
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, unpinned(machines(story.Small, story.Local)))
		told, see = story.New(bed), witness{bed}
	})
	crash := func(programs ...*process.Process) {
		ginkgo.GinkgoHelper()
		for _, program := range programs {
			gomega.Expect(program.Kill()).To(gomega.Succeed())
		}
		for _, program := range programs {
			gomega.Expect(program.Restart()).To(gomega.Succeed())
		}
	}
	everyone := func() []*process.Process {
		return []*process.Process{bed.Scheduler, bed.Nodes[story.Small].Agent, bed.Nodes[story.Local].Agent}
	}

	var undisturbed map[string]string
	ginkgo.It("is told undisturbed first, for comparison", func(ctx context.Context) {
		for _, step := range []string{story.StepCreate, story.StepPlaced, story.StepPinned} {
			_, err := runStep(ctx, told, step)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
		undisturbed = held(endState(ctx, see))
		for _, vm := range []string{story.VMCores, story.VMLimits, story.VMLocal} {
			gomega.Expect(bed.DeleteVMI(ctx, vm)).To(gomega.Succeed())
		}
		// Both tellings start from empty nodes. The kubelet takes CPUs back within 10 s of a pod's end.
		for _, node := range []string{story.Small, story.Local} {
			gomega.Eventually(ctx, func(g gomega.Gomega) {
				report, err := bed.Report(ctx, node)
				g.Expect(err).NotTo(gomega.HaveOccurred())
				g.Expect(report.Status.Granted).To(gomega.BeEmpty())
			}).WithTimeout(deadline).Should(gomega.Succeed())
		}
	})
	ginkgo.It("loses nothing when it strikes between the VMs' creation and their binding", func(ctx context.Context) {
		_, err := runStep(ctx, told, story.StepCreate)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		crash(everyone()...)
		_, err = runStep(ctx, told, story.StepPlaced)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		see.noCPUTwice()
	})
	ginkgo.It("pins all the same when it strikes between admission and pinning", func(ctx context.Context) {
		crash(bed.Nodes[story.Small].Agent, bed.Nodes[story.Local].Agent)
		_, err := runStep(ctx, told, story.StepPinned)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	})
	ginkgo.It("reaches the state that an undisturbed story reaches, and keeps it over another strike", func(ctx context.Context) {
		before := endState(ctx, see)
		crash(everyone()...)
		for _, node := range []string{story.Small, story.Local} {
			gomega.Expect(bed.AwaitReported(ctx, node)).To(gomega.Succeed())
		}
		gomega.Expect(endState(ctx, see)).To(gomega.Equal(before))
		for vm, state := range before {
			gomega.Expect(pinnedWithin(state.pins, state.cpus, see.granted(see.pod(ctx, vm)))).To(gomega.Succeed(), vm)
		}
		gomega.Expect(held(before)).To(gomega.Equal(undisturbed))
		see.noCPUTwice()
	})
	ginkgo.It("schedules, reports and pins as before", func(ctx context.Context) {
		gomega.Expect(bed.DeleteVMI(ctx, story.VMCores)).To(gomega.Succeed())
		crash(everyone()...)
		_, err := runStep(ctx, told, story.StepCreate)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for _, step := range []string{story.StepPlaced, story.StepPinned} {
			_, err := runStep(ctx, told, step)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
		see.noCPUTwice()
	})
})

// vmState is where a VM ended up.
type vmState struct {
	node, granted string
	cpus          int
	pins          map[string]string
}

// held is which CPUs of each node dedicated VMs hold. Which of two equal VMs was first, and so has the lower
// ones, is nobody's promise.
func held(states map[string]vmState) map[string]string {
	ginkgo.GinkgoHelper()
	sets := map[string]cpuset.CPUSet{}
	for _, state := range states {
		granted, err := cpuset.Parse(state.granted)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		sets[state.node] = sets[state.node].Union(granted)
	}
	nodes := map[string]string{}
	for node, cpus := range sets {
		nodes[node] = cpus.String()
	}
	return nodes
}

func endState(ctx context.Context, see witness) map[string]vmState {
	ginkgo.GinkgoHelper()
	states := map[string]vmState{}
	for _, vm := range []string{story.VMCores, story.VMLimits, story.VMLocal} {
		pod := see.pod(ctx, vm)
		granted := see.granted(pod)
		states[vm] = vmState{pod.Spec.NodeName, granted.String(), granted.Size(), see.affinity(ctx, pod)}
	}
	return states
}
