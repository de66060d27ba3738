// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/testbed"
)

// pluggedVM is a VMI whose vCPUs are its sockets. As KubeVirt fills it in, its domain has room for four times as many.
func pluggedVM(name string, sockets int) []byte {
	return fmt.Appendf(nil, `{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: %s, namespace: vms}, spec: {schedulerName: corepin, domain: {
		cpu: {sockets: %d, cores: 1, threads: 1, dedicatedCpuPlacement: true}, devices: {}, resources: {limits: {memory: 1Gi}}}}}`, name, sockets)
}

// KubeVirt plugs vCPUs in after it has moved the VM to a pod with more CPUs: the VMI and the container have them before the
// guest does. It pins the new ones after they came; here nobody does but the agent.
var _ = ginkgo.Describe("vCPUs that are plugged into a running guest", ginkgo.Ordered, func() {
	var (
		bed *testbed.Testbed
		see pinWitness
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		arriving := func(spec *guest.Spec) { // with the vCPUs that it had where it came from
			spec.VCPUs = 2
			spec.Pins.VCPUs = spec.Pins.VCPUs[:2]
		}
		bed = startTestbed(ctx, []testbed.Machine{launcherNode("target", arriving), launcherNode("source", nil)})
		see = pinWitness{witness{bed}}
	})

	ginkgo.It("get the CPUs that the container has for them, and the others stay", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, onNode("target", pluggedVM("grown", 4)))).To(gomega.Succeed())
		see.eventuallyReport(ctx, "grown", "0=1 1=5", "False", "InPlace", "")
		gomega.Expect(see.granted(see.pod(ctx, "grown")).String()).To(gomega.Equal("1-2,5-6"))
		see.virsh(ctx, "grown", "setvcpus", "vms_grown", "4", "--live")
		see.eventuallyPins(ctx, "grown", "vcpu 0=1 vcpu 1=5 vcpu 2=2 vcpu 3=6")
		see.eventuallyEvent(ctx, see.pod(ctx, "grown").Name, "Pinned", "vCPU 0→1 1→5 2→2 3→6; granted 1-2,5-6")
		see.eventuallyReport(ctx, "grown", "0=1 1=5 2=2 3=6", "False", "InPlace", "")
	})

	ginkgo.It("are not pinned where the container has no CPUs for them, and the owner is told how many are missing", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, onNode("source", pluggedVM("tight", 2)))).To(gomega.Succeed())
		see.eventuallyReport(ctx, "tight", "0=1 1=5", "False", "InPlace", "")
		see.virsh(ctx, "tight", "setvcpus", "vms_tight", "4", "--live")
		see.eventuallyEvent(ctx, "tight", "CannotPin", "the guest needs 4 CPUs and 2 are granted (1,5)")
		see.eventuallyPins(ctx, "tight", "vcpu 0=1 vcpu 1=5")
		see.eventuallyPins(ctx, "grown", "vcpu 0=1 vcpu 1=5 vcpu 2=2 vcpu 3=6")
	})
})
