// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
)

// benchmarks are the nodes and pods that pkg/kubelet/admission has benchmarks of, too.
var benchmarks = []struct{ name, scenario string }{
	{"128CPUs", `
machine 2 sockets x 1 numa x 32 cores x 2 threads
cpu-manager full-pcpus-only
topology-manager single-numa-node container
reserved 0,64
add a0: c 4
add b0: c 4
add a1: c 4
add b1: c 4
add a2: c 4
add b2: c 4
add a3: c 4
add b3: c 4
add a4: c 4
add b4: c 4
remove b0
remove b1
remove b2
remove b3
remove b4
add vm: compute 8
`},
	{"128CPUsMemoryDevices", `
machine 2 sockets x 1 numa x 32 cores x 2 threads
cpu-manager full-pcpus-only
topology-manager single-numa-node container
reserved 0,64
memory-manager memory 256Gi-1Gi hugepages-1Gi 200Gi; memory 256Gi hugepages-1Gi 200Gi
devices example.com/a 16@0 16@1
devices example.com/b 4@0 4@1
add a0: c 4 memory=1Gi hugepages-1Gi=8Gi example.com/a=1 example.com/b=1
add a1: c 4 memory=1Gi hugepages-1Gi=8Gi example.com/a=1 example.com/b=1
add vm: compute 8 memory=1Gi hugepages-1Gi=16Gi example.com/a=2 example.com/b=1
`},
	{"256CPUsMemoryDevices", `
machine 2 sockets x 4 numa x 16 cores x 2 threads
cpu-manager full-pcpus-only
topology-manager restricted pod
reserved 0,128
memory-manager memory 64Gi-1Gi; memory 64Gi; memory 64Gi; memory 64Gi; memory 64Gi; memory 64Gi; memory 64Gi; memory 64Gi
devices example.com/a 4@0 4@1 4@2 4@3 4@4 4@5 4@6 4@7
add vm: compute 40 memory=80Gi example.com/a=6
`},
	{"256CPUs", `
machine 2 sockets x 4 numa x 16 cores x 2 threads
cpu-manager full-pcpus-only
topology-manager restricted pod
reserved 0,128
add vm: compute 40
`},
}

// BenchmarkAdmit times one admission of the last pod, ours and the kubelet's, and gives the ratio. The
// kubelet's includes the removal of the pod, a small part of it.
func (k Kubelet) BenchmarkAdmit(b *testing.B) {
	for _, bench := range benchmarks {
		s, err := parseScenario(bench.scenario)
		if err != nil {
			b.Fatal(err)
		}
		last := len(s.steps) - 1
		spec := s.steps[last].spec(last)
		n, kubelet := k.beforeLast(b, s)
		p := admission.PodOf(spec)
		var ours float64 // ns
		b.Run(bench.name+"/corepin", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := admission.Admit(n, &p); d.Verdict != admission.Admitted {
					b.Fatal(d)
				}
			}
			ours = float64(b.Elapsed()) / float64(b.N)
		})
		b.Run(bench.name+"/kubelet", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := kubelet.Add(spec); d.Verdict != admission.Admitted {
					b.Fatal(d)
				}
				kubelet.Remove(spec)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/ours, "times-ours")
		})
		kubelet.Close()
	}
}

// beforeLast gives both sides as they are before the last step.
func (k Kubelet) beforeLast(b *testing.B, s scenario) (*admission.Node, Oracle) {
	n, err := s.node(k.Minor)
	if err != nil {
		b.Fatal(err)
	}
	kubelet, err := k.Start(s.config())
	if err != nil {
		b.Fatal(err)
	}
	pods := map[string]*corev1.Pod{}
	for i, step := range s.steps[:len(s.steps)-1] {
		if !step.add {
			kubelet.Remove(pods[step.pod])
			continue
		}
		pods[step.pod] = step.spec(i)
		if d := kubelet.Add(pods[step.pod]); d.Verdict != admission.Admitted {
			b.Fatal(d)
		}
	}
	n.Shared = kubelet.Shared()
	n.Devices = kubelet.Devices()
	n.Memory = kubelet.Memory()
	if n.Memory != nil {
		n.MemoryManager = memorymanager.PolicyStatic
	}
	return n, kubelet
}
