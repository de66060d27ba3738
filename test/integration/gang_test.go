// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/test/harness/testbed"
)

// podGroupAPI is what turns pod groups on, and the version of their API; without one there are none.
type podGroupAPI struct{ gates, version string }

var podGroups = map[string]podGroupAPI{
	"1.34": {},
	"1.35": {},
	"1.36": {"--feature-gates=GenericWorkload=true,GangScheduling=true", "v1alpha2"},
	"1.37": {"--feature-gates=GenericWorkload=true", "v1beta1"},
	"1.38": {"--feature-gates=GenericWorkload=true", "v1beta1"},
}

// A pod group's cycle puts its members on nodes one after another, and binds none before all have a place. No report can
// come in between.
var _ = ginkgo.Describe("a gang of VMs", ginkgo.Ordered, func() {
	var (
		bed    *testbed.Testbed
		groups podGroupAPI
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		var found bool
		minor := minor(ctx)
		groups, found = podGroups[minor]
		gomega.Expect(found).To(gomega.BeTrue(), "podGroups does not say how Kubernetes %s has pod groups", minor)
		if groups.version == "" {
			ginkgo.Skip("Kubernetes " + minor + " has no pod groups")
		}
		// 14 CPUs for VMs on NUMA node 0 and 16 on NUMA node 1.
		bed = startTestbedWith(ctx, testbed.Options{
			Machines:       []testbed.Machine{alignedMachine("g1", "2 sockets x 1 numa x 8 cores x 2 threads", "0,16")},
			APIServerArgs:  []string{groups.gates, "--runtime-config=scheduling.k8s.io/" + groups.version + "=true"},
			SchedulerFlags: []string{groups.gates},
		})
	})
	// gang creates a group and so many members of two CPUs.
	gang := func(ctx context.Context, name string, members int) (names []string) {
		ginkgo.GinkgoHelper()
		group := fmt.Appendf(nil, `{apiVersion: scheduling.k8s.io/%s, kind: PodGroup, metadata: {name: %s, namespace: %s}, spec: {
			schedulingPolicy: {gang: {minCount: %d}}}}`, groups.version, name, testbed.VMNamespace, members)
		gomega.Expect(bed.Apply(ctx, group)).To(gomega.Succeed())
		member := func(pod *corev1.Pod) { pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &name} }
		for i := range members {
			names = append(names, fmt.Sprintf("%s-%02d", name, i))
			create(ctx, bed, launcherPod(names[i], 2, alone, member))
		}
		return names
	}

	ginkgo.It("of twelve gets a place on one node", func(ctx context.Context) {
		names := gang(ctx, "twelve", 12)
		eventuallyRunning(ctx, bed, names, "g1")
		// Of twelve that one report shows at once, nobody knows the order.
		comeAlone(ctx, bed, "g1", launcherPod("after", 2, alone), launcherPod("later", 2, alone))
		names = append(names, "after", "later")
		eventuallyRunning(ctx, bed, names, "g1")
		witness{bed}.noCPUTwice()
		neverMispredicted(ctx, bed, bed.Scheduler)
		remove(ctx, bed, names...)
	})
	ginkgo.It("of sixteen has no place there, and takes none from others", func(ctx context.Context) {
		names := gang(ctx, "sixteen", 16)
		described(ctx, bed, names[0], "FailedScheduling")
		create(ctx, bed, launcherPod("alone", 14, alone))
		eventuallyRunning(ctx, bed, []string{"alone"}, "g1")
		pods, err := podsOf(ctx, bed)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for i := range pods {
			if pods[i].Name != "alone" {
				gomega.Expect(pods[i].Spec.NodeName).To(gomega.BeEmpty(), pods[i].Name)
			}
		}
	})
})
