// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
)

// Every step of the demo runs here too, and its claims are checked again.
var _ = ginkgo.Describe("the demo's story", ginkgo.Ordered, func() {
	var (
		bed  *testbed.Testbed
		told *story.Story
		see  witness
		text strings.Builder // what the demo prints
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		bed = startTestbed(ctx, story.Machines(false))
		told, see = story.New(bed), witness{bed}
	})

	claims := map[string]func(context.Context){
		story.StepReported: func(ctx context.Context) {
			for _, node := range []string{story.Big, story.NUMA4, story.Small, story.Local} {
				gomega.Expect(see.label(ctx, node)).To(gomega.Equal("true/true"), node)
			}
			gomega.Expect(see.label(ctx, story.Shared)).To(gomega.Equal("/"))
		},
		story.StepCreate: func(ctx context.Context) {
			output, err := bed.Kubectl(ctx, "get", "virtualmachineinstances.v1alpha2.kubevirt.io", story.VMCores, story.VMLimits, "--namespace=vms", "--output=jsonpath={.items[*].apiVersion}")
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			gomega.Expect(string(output)).To(gomega.Equal("kubevirt.io/v1alpha2 kubevirt.io/v1alpha2"))
		},
		story.StepPlaced: func(ctx context.Context) {
			for vm, cpus := range map[string]int{story.VMCores: 2, story.VMLimits: 2, story.VMLocal: 1} {
				expectGuaranteed(see.pod(ctx, vm))
				gomega.Expect(see.granted(see.pod(ctx, vm)).Size()).To(gomega.Equal(cpus), vm)
			}
			see.noCPUTwice()
			expectScheduledBy(ctx, bed, see.pod(ctx, story.VMCores))
		},
		story.StepPinned: func(ctx context.Context) {
			for vm, cpus := range map[string]int{story.VMCores: 2, story.VMLimits: 2, story.VMLocal: 1} {
				pod := see.pod(ctx, vm)
				gomega.Expect(pinnedWithin(see.affinity(ctx, pod), cpus, see.granted(pod))).To(gomega.Succeed(), vm)
			}
			local := see.pod(ctx, story.VMLocal)
			gomega.Expect(local.Spec.NodeName).To(gomega.Equal(story.Local))
			gomega.Expect(pinnedWithin(see.threads(story.VMLocal), 1, see.granted(local))).To(gomega.Succeed())
		},
		story.StepDrift: func(ctx context.Context) {
			pod := see.pod(ctx, story.VMCores)
			gomega.Expect(pinnedWithin(see.affinity(ctx, pod), 2, see.granted(pod))).To(gomega.Succeed())
		},
		story.StepGone: func(ctx context.Context) {
			gomega.Expect(see.label(ctx, story.NUMA4)).To(gomega.Equal("true/true"))
			gomega.Expect(see.label(ctx, story.Small)).To(gomega.Equal("true/true"))
		},
		story.StepGate: func(ctx context.Context) {
			for _, node := range []string{story.Big, story.NUMA4, story.Small, story.Local} {
				gomega.Expect(see.label(ctx, node)).To(gomega.Equal("true/true"), node)
			}
			gomega.Expect(see.label(ctx, story.Shared)).To(gomega.Equal("/"))
		},
		story.StepMore: func(ctx context.Context) {
			for vm, cpus := range map[string]int{story.VMMedium: 8, story.VMLarge: 16} {
				expectGuaranteed(see.pod(ctx, vm))
				gomega.Expect(see.granted(see.pod(ctx, vm)).Size()).To(gomega.Equal(cpus), vm)
			}
			see.noCPUTwice()
		},
		story.StepDevices: func(ctx context.Context) {
			pod := see.pod(ctx, story.VMDevices)
			expectGuaranteed(pod)
			gomega.Expect(see.granted(pod).Size()).To(gomega.Equal(4))
			gomega.Expect(deviceWitness{see}.numaNodesOf(ctx, pod)).To(gomega.HaveLen(1), "NUMA nodes of CPUs, memory and devices")
			gomega.Expect(see.pod(ctx, story.VMTooManyVFs).Spec.NodeName).To(gomega.BeEmpty())
			rejections := told.Result().Rejections
			gomega.Expect(rejections[len(rejections)-1].Message).To(gomega.MatchRegexp(`NUMA node 0 has .*2 of 3 intel\.com/vf; NUMA node 1 has .*1 of 3 intel\.com/vf`))
		},
		story.StepApply: func(ctx context.Context) {
			rejections := told.Result().Rejections
			gomega.Expect(len(rejections)).To(gomega.BeNumerically(">=", 4))
			for _, rejection := range rejections {
				if rejection.By != "API server" {
					continue
				}
				_, err := bed.VMI(ctx, rejection.Name)
				gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("not found")), rejection.Name)
			}
		},
		story.StepPods: func(ctx context.Context) { expectRefused(ctx, bed, see) },
		story.StepResult: func(ctx context.Context) {
			result := told.Result()
			gomega.Expect(result.VMs).To(gomega.HaveLen(6))
			for _, vm := range result.VMs {
				pod := see.pod(ctx, vm.Name)
				gomega.Expect(vm.Node).To(gomega.Equal(pod.Spec.NodeName))
				gomega.Expect(vm.Granted).To(gomega.Equal(see.granted(pod).String()))
				if vm.Guest == "none" {
					continue
				}
				affinity := see.affinity(ctx, pod)
				for _, pin := range vm.Pins {
					gomega.Expect(affinity).To(gomega.HaveKeyWithValue(itoa(pin.VCPU), pin.CPUs), vm.Name)
				}
			}
			see.noCPUTwice()
		},
	}
	for _, name := range stepNames() {
		ginkgo.It(name, func(ctx context.Context) {
			start := time.Now()
			facts, err := runStep(ctx, told, name)
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			story.Text(&text).Step(name, time.Since(start), facts, nil)
			gomega.Expect(claims).To(gomega.HaveKey(name), "a step that claims something nobody checks")
			claims[name](ctx)
			gomega.Expect(bed.Err()).NotTo(gomega.HaveOccurred())
		})
	}
	ginkgo.It("is what the README pastes of it", func() {
		story.Text(&text).Result(told.Result())
		readme, err := readREADME()
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		lines, err := pasted(readme)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(unprinted(lines, text.String(), runtime.NumCPU())).To(gomega.BeEmpty(), "the demo printed\n%s", text.String())
	})
})

// expectGuaranteed holds what KubeVirt's documents promise of a dedicated VM's pod.
func expectGuaranteed(pod *corev1.Pod) {
	ginkgo.GinkgoHelper()
	gomega.Expect(pod.Status.QOSClass).To(gomega.Equal(corev1.PodQOSGuaranteed), pod.Name)
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			gomega.Expect(container.Resources.Limits).To(gomega.HaveKey(resource), "%s of %s", container.Name, pod.Name)
		}
	}
}

// expectScheduledBy asks the pod's events who bound it.
func expectScheduledBy(ctx context.Context, bed *testbed.Testbed, pod *corev1.Pod) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		events, err := bed.Client().CoreV1().Events("vms").List(ctx, metav1.ListOptions{FieldSelector: "reason=Scheduled,involvedObject.name=" + pod.Name})
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(events.Items).NotTo(gomega.BeEmpty())
		g.Expect(events.Items[0].ReportingController).To(gomega.Equal("corepin"))
	}).WithTimeout(deadline).Should(gomega.Succeed())
}

func expectRefused(ctx context.Context, bed *testbed.Testbed, see witness) {
	ginkgo.GinkgoHelper()
	for vm, want := range map[string]string{story.VMTooBig: "node(s)", story.VMInjected: "mesh-proxy"} {
		pod := see.pod(ctx, vm)
		gomega.Expect(pod.Spec.NodeName).To(gomega.BeEmpty())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			output, err := bed.Kubectl(ctx, "describe", "pod", "--namespace=vms", pod.Name)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			_, events, _ := strings.Cut(string(output), "Events:")
			g.Expect(events).To(gomega.And(gomega.ContainSubstring("FailedScheduling"), gomega.ContainSubstring(want)))
		}).WithTimeout(deadline).Should(gomega.Succeed())
	}
}
