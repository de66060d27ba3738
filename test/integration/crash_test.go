package integration

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

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
		bed = startTestbed(ctx, machines(story.Small, story.Local))
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
		// One CPU reserved of two on node local, a core of four on small: three VMs of 1, 2 and 2 CPUs
		// have one place each to be, so the end state is known beforehand.
		gomega.Expect(before).To(gomega.HaveLen(3))
		for vm, state := range before {
			gomega.Expect(pinnedWithin(state.pins, state.cpus, see.granted(see.pod(ctx, vm)))).To(gomega.Succeed(), vm)
		}
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
