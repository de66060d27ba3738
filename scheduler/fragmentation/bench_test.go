// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

const (
	fleetSize = 5000
	// changing is how many nodes change in a minute.
	changing = fleetSize / 100
	// kinds is how many different nodes there are.
	kinds = 50
	// vms is how many VMs have come to a node of 128 CPUs; a third of them has left.
	vms = 25
)

// fleet has nodes of 128 CPUs, about half full, in five pools. All of them have changed.
func fleet(b *testing.B) *town {
	town := newTown(b, "pool")
	random := rand.New(rand.NewPCG(1, 2))
	for kind := range kinds {
		node, report := emptyNode("n", "2 sockets x 1 numa x 32 cores x 2 threads", topologymanager.PolicySingleNUMANode, true)
		c := clusterOf(node, report, nil)
		fill(random, c, vms)
		for i := kind; i < fleetSize; i += kinds {
			another := node.DeepCopy()
			another.Name = fmt.Sprint("n", i)
			another.Labels["pool"] = fmt.Sprint("pool", kind%5)
			if err := town.nodes.Add(another); err != nil {
				b.Fatal(err)
			}
			town.view.Set(another.Name, c.Nodes[0].Report())
			town.pods[another.Name] = specs(c.Nodes[0])
		}
	}
	return town
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkMinute is a minute of 5,000 nodes of which 1 % change. The figure is CPU time. The first minutes of a leader, in which
// all nodes are counted, come before it.
func BenchmarkMinute(b *testing.B) {
	town := fleet(b)
	began := cpuTime()
	for !town.complete {
		town.step(logger(b))
	}
	first := cpuTime() - began
	next := 0
	minutes := 0
	began = cpuTime()
	for b.Loop() {
		for range changing {
			town.Changed(fmt.Sprint("n", next%fleetSize))
			next++
		}
		town.step(logger(b))
		town.looked = nil
		minutes++
	}
	b.ReportMetric(float64((cpuTime()-began).Microseconds())/1000/float64(minutes), "cpu-ms/min")
	b.ReportMetric(float64(first.Milliseconds()), "cpu-ms/first")
}

// BenchmarkPodEvent is what the pod informer's goroutine spends on the update of a pod that has nothing to do with it.
func BenchmarkPodEvent(b *testing.B) {
	town := newTown(b, "")
	town.step(logger(b))
	before := podOf("db", "4").Spec
	before.Spec.NodeName = "n1"
	after := before.DeepCopy()
	after.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady}, {Type: corev1.PodScheduled}, {Type: corev1.PodInitialized}}
	handler := town.PodHandler()
	for b.Loop() {
		handler.OnUpdate(before, after)
	}
}
