// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"math"
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/config"
)

// chooser rates a node for a VM; ok is false where it does not take the VM there.
type chooser func(r *room, p *corev1.Pod, info fwk.NodeInfo) (rating float64, ok bool)

// leastAllocated is kube-scheduler's score of that name, for CPU and memory.
func leastAllocated(_ *room, _ *corev1.Pod, info fwk.NodeInfo) (float64, bool) {
	cpu := float64(info.GetRequested().GetMilliCPU()) / float64(info.GetAllocatable().GetMilliCPU())
	memory := float64(info.GetRequested().GetMemory()) / float64(info.GetAllocatable().GetMemory())
	return -cpu - memory, true
}

func mostAllocated(r *room, p *corev1.Pod, info fwk.NodeInfo) (float64, bool) {
	least, ok := leastAllocated(r, p, info)
	return -least, ok
}

// leastFragmentation is corepin's verdict and its default score.
func leastFragmentation(r *room, p *corev1.Pod, info fwk.NodeInfo) (float64, bool) {
	d := verdict.DemandOf(p)
	d.Dedicated = true
	got := r.view.Query(&d, d.Key()).Predict(info)
	if got.State != nodereport.Exact || !got.Fits() {
		return 0, false
	}
	_, after := got.Node.Admitting(&d.Pod)
	perCPU := map[string]uint64{}
	for _, c := range d.Pod.Containers {
		for _, q := range c.Memory {
			perCPU[q.Type] += q.Bytes / uint64(d.Pod.PeakCPUs())
		}
	}
	return float64(scoring.Rate(config.LeastFragmentation, &scoring.Placement{
		Node: got.Node, After: &after, MemoryPerCPU: perCPU, FreeAfter: got.Decision.Shared.Minus(got.Node.Reserved),
		UnrequestedMilliCPU: info.GetAllocatable().GetMilliCPU() - info.GetRequested().GetMilliCPU(),
		ExclusiveCPUs:       d.Pod.PeakCPUs(), SharedMilliCPU: d.Shared(),
	})), true
}

// packed is what came of a trace.
type packed struct{ binds, refused, cpus, vfs int }

// pack fills six nodes with VMs, of which half have VFs. Three of the nodes have some.
func pack(t *testing.T, seed uint64, choose chooser) packed {
	t.Helper()
	var rooms []*room
	for i := range 6 {
		if i%2 == 0 {
			rooms = append(rooms, newRoom(t, seed, settingsFor(0), 6, 2))
		} else {
			rooms = append(rooms, newRoom(t, seed, settingsFor(0), 0, 0))
		}
	}
	dice := rooms[0] // the one whose random numbers make the VMs
	var sum packed
	for range 90 {
		p := dice.vm()
		var best *room
		most := math.Inf(-1)
		for _, r := range rooms {
			info := r.info()
			if len(noderesources.Fits(p, info, nil, noderesources.ResourceRequestsOptions{})) > 0 {
				continue
			}
			rating, ok := choose(r, p, info)
			if ok && rating > most {
				best = r
				most = rating
			}
		}
		if best == nil {
			continue
		}
		sum.binds++
		asks := admission.PodOf(p)
		best.view.Assumed("n1", p, &asks)
		best.view.Bound("n1", p.UID)
		if len(best.kubelet.Admit(p)) > 0 {
			sum.refused++
			best.remove(p)
		} else {
			best.known[p.Name] = p
			number := p.Spec.Containers[0].Resources.Limits[vf]
			sum.cpus += asks.PeakCPUs()
			sum.vfs += int(number.Value())
		}
		best.read()
		best.set(best.reports[len(best.reports)-1])
	}
	return sum
}

// The kubelets refuse VMs of who counts, and none of corepin's, which places as many CPUs and devices.
func TestPackingWithMemoryAndDevices(t *testing.T) {
	var ours, least, most packed
	add := func(sum *packed, p packed) {
		sum.binds += p.binds
		sum.refused += p.refused
		sum.cpus += p.cpus
		sum.vfs += p.vfs
	}
	const seeds = 4
	for seed := range uint64(seeds) {
		add(&ours, pack(t, seed, leastFragmentation))
		add(&least, pack(t, seed, leastAllocated))
		add(&most, pack(t, seed, mostAllocated))
	}
	t.Logf("of %d CPUs and %d VFs: corepin %+v, LeastAllocated %+v, MostAllocated %+v", seeds*6*30, seeds*3*8, ours, least, most)
	if ours.refused != 0 {
		t.Errorf("kubelets refused %d VMs that corepin had bound", ours.refused)
	}
	if least.refused == 0 || most.refused == 0 {
		t.Error("kubelets refused nothing of who counts: the trace shows nothing")
	}
	if ours.cpus < max(least.cpus, most.cpus)*98/100 || ours.vfs < max(least.vfs, most.vfs)*98/100 {
		t.Error("corepin placed fewer CPUs or VFs than one that counts")
	}
}
