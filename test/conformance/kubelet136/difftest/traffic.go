// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// vf is the resource of network functions.
const vf = "example.com/vf"

// traffics are kinds of VMs that come and go on one node.
var traffics = []struct {
	name    string
	devices string // of the node; half of the VMs ask for one
	uneven  bool   // 1, 2, 4 or 8 GiB a CPU in place of 3
}{
	{"even memory, no device", "", false},
	{"uneven memory, no device", "", true},
	{"VFs on both NUMA nodes, uneven memory", vf + " 16@0 16@1", true},
	{"32 VFs of NUMA node 0, even memory", vf + " 32@0", false},
	{"32 VFs of NUMA node 0, uneven memory", vf + " 32@0", true},
}

// trafficNode is the node, but for policy and devices.
const trafficNode = `
machine 2 sockets x 1 numa x 32 cores x 2 threads
cpu-manager full-pcpus-only
reserved 0,64
memory-manager memory 256Gi-1Gi; memory 256Gi
`

// TestTraffic binds VMs that fit by sums to a node where they come and go, with and without prediction. The kubelet hears of
// several bound pods in any order. Of those that were predicted to be admitted it must refuse none.
func (k Kubelet) TestTraffic(t *testing.T) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VMs\tpolicy\tby sums: bound\trefused\tpredicted: asked\tbound\trefused\thad to wait\t")
	for _, kind := range traffics {
		for _, policy := range []string{topologymanager.PolicySingleNUMANode, topologymanager.PolicyRestricted, topologymanager.PolicyBestEffort, topologymanager.PolicyNone} {
			text := trafficNode + "topology-manager " + policy + " container\n"
			if kind.devices != "" {
				text += "devices " + kind.devices + "\n"
			}
			s, err := parseScenario(text)
			if err != nil {
				t.Fatal(err)
			}
			sums := k.traffic(t, s, kind.uneven, false)
			predicted := k.traffic(t, s, kind.uneven, true)
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d (%.1f %%)\t\n", kind.name, policy, sums.bound, sums.refused,
				predicted.asked, predicted.bound, predicted.refused, predicted.waited, 100*float64(predicted.waited)/float64(predicted.asked))
			if predicted.refused > 0 {
				t.Errorf("%s, %s: the kubelet refused %d of %d pods that were predicted to be admitted", kind.name, policy, predicted.refused, predicted.bound)
			}
			if predicted.asked == 0 || predicted.bound < predicted.asked/2 || kind.uneven && policy == topologymanager.PolicySingleNUMANode && sums.refused == 0 {
				t.Errorf("%s, %s: this shows nothing: by sums %+v, predicted %+v", kind.name, policy, sums, predicted)
			}
		}
	}
	w.Flush()
	t.Logf("kubelet 1.%d\n%s", k.Minor, &table)
}

// traffic is a node with VMs that come and go.
type traffic struct {
	t        *testing.T
	dice     dice
	node     *admission.Node // as last reported
	kubelet  Oracle
	present  []*corev1.Pod
	inFlight []*corev1.Pod // bound, and not yet heard of by the kubelet

	asked, bound, refused, waited int
}

// trafficSteps are as many VMs as come or go.
const trafficSteps = 1500

func (k Kubelet) traffic(t *testing.T, s scenario, uneven, predicts bool) *traffic {
	f := &traffic{t: t, dice: newDice(1)}
	var err error
	f.node, err = s.node(k.Minor)
	if err == nil {
		f.kubelet, err = k.Start(s.config())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.kubelet.Close()
	f.node.MemoryManager = memorymanager.PolicyStatic
	f.report()
	for i := range trafficSteps {
		if len(f.present) > 0 && f.dice.oneIn(3) {
			at := f.dice.IntN(len(f.present))
			f.kubelet.Remove(f.present[at])
			f.present = append(f.present[:at], f.present[at+1:]...)
			f.report()
			continue
		}
		pod := f.dice.vm(i, uneven, s.devices != nil)
		if !f.fits(pod) {
			continue
		}
		f.asked++
		if predicts && !f.predicted(pod) {
			continue
		}
		f.bound++
		f.inFlight = append(f.inFlight, pod)
		if !predicts || f.dice.oneIn(2) {
			f.hear()
		}
	}
	f.hear()
	return f
}

// vm is a pod as KubeVirt makes it.
func (d dice) vm(i int, uneven, devices bool) *corev1.Pod {
	compute := admission.Container{Name: "compute", CPUs: 2 * (1 + d.IntN(8))}
	perCPU := 3
	if uneven {
		perCPU = pickOne(d, 1, 2, 4, 8)
	}
	compute.Memory = []memorymanager.Quantity{{Type: "memory", Bytes: uint64(perCPU*compute.CPUs) * gib}}
	if devices && d.oneIn(2) {
		compute.Devices = []devicemanager.Request{{Resource: vf, Count: 1}}
	}
	console := admission.Container{Name: "guest-console-log", Kind: admission.Sidecar, Memory: []memorymanager.Quantity{{Type: "memory", Bytes: 60_000_000}}}
	s := step{pod: fmt.Sprintf("vm%d", i), wants: []admission.Container{console, compute}}
	return s.spec(i)
}

// fits reports whether the node has as much as a pod asks for in all, with CPUs left for others.
func (f *traffic) fits(pod *corev1.Pod) bool {
	const mostCPUs = 100
	cpus := int64(0)
	memory := int64(511 * gib)
	devices := int64(32)
	for _, pods := range [][]*corev1.Pod{f.present, f.inFlight, {pod}} {
		for _, other := range pods {
			limits := other.Spec.Containers[0].Resources.Limits
			cpus += limits.Cpu().Value()
			memory -= limits.Memory().Value() + 60_000_000
			devices -= limits.Name(vf, "").Value()
		}
	}
	return cpus <= mostCPUs && memory >= 0 && devices >= 0
}

// predicted reports whether a pod is bound. Where the answer depends on the pods in flight, it waits until the kubelet has
// heard of them.
func (f *traffic) predicted(pod *corev1.Pod) bool {
	p := admission.PodOf(pod)
	if why := f.node.Inexact(p); why != "" {
		f.t.Fatalf("pod %s: inexact: %s", pod.Name, why)
	}
	var inFlight []*admission.Pod
	for _, other := range f.inFlight {
		o := admission.PodOf(other)
		inFlight = append(inFlight, &o)
	}
	d := admission.AdmitAfter(f.node, inFlight, &p)
	if d.Verdict == admission.Wait {
		f.waited++
		f.hear()
		d = admission.AdmitAfter(f.node, nil, &p)
	}
	if d.Verdict == admission.Wait {
		f.t.Fatalf("pod %s waits although none is in flight: %s", pod.Name, d.Message)
	}
	return d.Verdict == admission.Admitted
}

// hear lets the kubelet hear of the pods in flight, in any order, and report.
func (f *traffic) hear() {
	f.dice.Shuffle(len(f.inFlight), func(i, k int) { f.inFlight[i], f.inFlight[k] = f.inFlight[k], f.inFlight[i] })
	for _, pod := range f.inFlight {
		if f.kubelet.Add(pod).Verdict == admission.Admitted {
			f.present = append(f.present, pod)
		} else {
			f.refused++
		}
	}
	f.inFlight = nil
	f.report()
}

// report makes the node what the kubelet has.
func (f *traffic) report() {
	f.node.Shared = f.kubelet.Shared()
	f.node.Memory = f.kubelet.Memory()
	f.node.Devices = f.kubelet.Devices()
}
