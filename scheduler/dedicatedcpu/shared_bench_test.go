// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/scheduler/config"
)

// BenchmarkVMIChanged is one changed VMI in a namespace of many launcher pods, all bound but one.
func BenchmarkVMIChanged(b *testing.B) {
	for _, size := range []int{2000, 10000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := newFixture(config.DedicatedCPUArgs{})
			for i := range size {
				pod := launcherPod(fmt.Sprint("p", i), "2", func(pod *corev1.Pod) {
					pod.Annotations = map[string]string{"kubevirt.io/domain": fmt.Sprint("vm", i)}
					if i > 0 {
						pod.Spec.NodeName = "n1"
					}
				})
				if err := f.podLister.Add(pod); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				f.vmiChanged(logger(b), types.NamespacedName{Namespace: "vms", Name: "vm0"})
			}
		})
	}
}
