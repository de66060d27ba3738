// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"corepin.dev/corepin/scheduler/config"
)

// What was added is there, whoever adds it, and hardly anything else.
func TestNodeSet(t *testing.T) {
	var s nodeSet
	if s.has("n0") {
		t.Error("the empty set has a node")
	}
	const nodes = 100
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() { s.add(fmt.Sprintf("n%d", i)) })
	}
	all.Wait()
	others := 0
	for i := range 100 * nodes {
		has := s.has(fmt.Sprintf("n%d", i))
		if i < nodes && !has {
			t.Errorf("node n%d is missing", i)
		}
		if i >= nodes && has {
			others++
		}
	}
	if others > nodes {
		t.Errorf("%d of %d other nodes are said to be there", others, 99*nodes)
	}
}

// What a waiting pod remembers does not grow with the nodes that could not answer: 15,000 of them and 200 pods.
func TestWaitingPodsRememberLittle(t *testing.T) {
	const (
		pods  = 200
		nodes = 15_000
		limit = 8 << 10 // bytes for a pod
	)
	b := newFixture(config.DedicatedCPUArgs{})
	names := make([]string, nodes)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i)
	}
	before := heap()
	for i := range pods {
		pod := launcherPod(fmt.Sprintf("vm-%d", i), "2")
		b.pend(t, pod, b.podDemand(pod), names...)
	}
	grown := int64(heap()-before) / pods
	t.Logf("a waiting pod takes %d bytes", grown)
	if grown > limit {
		t.Errorf("a waiting pod takes %d bytes", grown)
	}
	if b.waker.Len() != pods || !b.waker.HeldAt("vm-0", "n0") {
		t.Errorf("%d pods wait", b.waker.Len())
	}
}

// heap is the memory in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
