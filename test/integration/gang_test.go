// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	schedulingv1alpha2 "k8s.io/api/scheduling/v1alpha2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/testbed"
)

// A pod group's cycle puts its members on nodes one after another, and binds none before all have a place. No report can
// come in between. Gates and API are alpha in Kubernetes 1.36.
var _ = ginkgo.Describe("a gang of VMs", ginkgo.Ordered, func() {
	const gates = "--feature-gates=GenericWorkload=true,GangScheduling=true"
	var bed *testbed.Testbed
	ginkgo.BeforeAll(func(ctx context.Context) {
		// 14 CPUs for VMs on NUMA node 0 and 16 on NUMA node 1.
		bed = startTestbedWith(ctx, testbed.Options{
			Machines:       []testbed.Machine{alignedMachine("g1", "2 sockets x 1 numa x 8 cores x 2 threads", "0,16")},
			APIServerArgs:  []string{gates, "--runtime-config=scheduling.k8s.io/v1alpha2=true"},
			SchedulerFlags: []string{gates},
		})
	})
	// gang creates a group and so many members of two CPUs.
	gang := func(ctx context.Context, name string, members int) (names []string) {
		ginkgo.GinkgoHelper()
		_, err := bed.Client().SchedulingV1alpha2().PodGroups(testbed.VMNamespace).Create(ctx, &schedulingv1alpha2.PodGroup{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: schedulingv1alpha2.PodGroupSpec{SchedulingPolicy: schedulingv1alpha2.PodGroupSchedulingPolicy{
				Gang: &schedulingv1alpha2.GangSchedulingPolicy{MinCount: int32(members)},
			}},
		}, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
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
