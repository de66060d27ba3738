// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/scheduler/config"
)

// A report of one node while 5,000 VMs of 500 kinds wait for any: what it costs to find out which of them it helps.
func BenchmarkReportBesideWaitingVMs(b *testing.B) {
	const (
		waiting = 5000
		kinds   = 500
	)
	for _, test := range []struct{ name, shared string }{
		{"nothing is free", "0,64"},
		{"4 CPUs are free", "0-2,64-66"},
	} {
		b.Run(test.name, func(b *testing.B) {
			f := newFixture(config.DedicatedCPUArgs{})
			topology := cputopology.MustParse("2 sockets x 1 numa x 32 cores x 2 threads")
			f.report(b, "n1", nil, func(s *v1alpha1.NodeCPUStatus) {
				nodereport.SetTopology(s, topology)
				s.ReservedCPUs = "0,64"
				s.SharedCPUs = test.shared
			})
			node := f.node(b, "n1").Node().DeepCopy()
			node.Status.Capacity[corev1.ResourceCPU] = resource.MustParse("128")
			if err := f.nodeLister.Update(node); err != nil {
				b.Fatal(err)
			}
			for i := range waiting {
				kind := i % kinds
				// Nobody finds room: the smallest asks for six CPUs.
				pod := launcherPod(fmt.Sprintf("vm-%d", i), fmt.Sprint(8+2*(kind%50)))
				pod.Spec.Containers[0].Name = fmt.Sprintf("compute-%d", kind/50)
				f.pend(b, pod, f.podDemand(pod))
			}
			b.ReportAllocs()
			for b.Loop() {
				f.reportCame("n1", true)
			}
			if woken := f.queue.take(); len(woken) > 0 {
				b.Errorf("%d VMs were woken", len(woken))
			}
		})
	}
}
