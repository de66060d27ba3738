// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	goruntime "runtime"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/nodes"
)

const (
	fleetSize = 5000
	// looked is how many nodes kube-scheduler looks at for a pod in a cluster of that size where most fit
	// (numFeasibleNodesToFind in pkg/scheduler/schedule_one.go, v1.36.3).
	looked = 500
	// unreported is for how many binds the report of a pod is on its way.
	unreported = 50
)

// fleet is a cluster of nodes of 128 CPUs, as the scheduler's cache has it.
type fleet struct {
	*fixture
	infos []*framework.NodeInfo
	free  []admission.Node
	held  []map[types.UID]map[string]cpuset.Set
	late  []lateReport
}

type lateReport struct {
	node int
	pod  *corev1.Pod
}

func newFleet(b *testing.B) *fleet {
	f := &fleet{fixture: newFixture(config.DedicatedCPUArgs{}), infos: make([]*framework.NodeInfo, fleetSize),
		free: make([]admission.Node, fleetSize), held: make([]map[types.UID]map[string]cpuset.Set, fleetSize)}
	topology := cputopology.MustParse("2 sockets x 1 numa x 32 cores x 2 threads")
	cm, err := cpumanager.Parse("static", map[string]string{"full-pcpus-only": "true"})
	if err != nil {
		b.Fatal(err)
	}
	for i := range fleetSize {
		f.free[i] = admission.Node{Topology: topology, Minor: 36, CPUManager: cm, Shared: topology.CPUs(), Reserved: cpuset.Of(0, 64),
			TopologyManager: topologymanager.Config{Policy: topologymanager.PolicySingleNUMANode, Scope: topologymanager.ScopeContainer}}
		f.held[i] = map[types.UID]map[string]cpuset.Set{}
		f.infos[i] = framework.NewNodeInfo()
		f.infos[i].SetNode(st.MakeNode().Name(fmt.Sprintf("n%d", i)).Label("cpumanager", "true").Obj())
		f.publish(b, i)
	}
	return f
}

// publish brings the report of a node to the plugin.
func (f *fleet) publish(b *testing.B, i int) {
	nc := &v1alpha1.NodeCPU{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: f.infos[i].Node().Name},
		Status: v1alpha1.NodeCPUStatus{
			KubeletVersion:  "v1.36.3",
			CPUManager:      v1alpha1.CPUManager{Policy: "static", Options: map[string]string{"full-pcpus-only": "true"}},
			TopologyManager: v1alpha1.TopologyManager{Policy: "single-numa-node", Scope: "container"},
			Conditions:      []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}},
			ReservedCPUs:    "0,64", SharedCPUs: f.free[i].Shared.String(),
		},
	}
	nodereport.SetTopology(&nc.Status, f.free[i].Topology)
	nodereport.SetGranted(&nc.Status, f.held[i])
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(nc)
	if err != nil {
		b.Fatal(err)
	}
	decoded := nodes.Decode(&unstructured.Unstructured{Object: content})
	f.view.Set(decoded.Name, decoded.Report)
}

// bind puts a pod on a node; its kubelet's report comes some binds later.
func (f *fleet) bind(b *testing.B, pod *corev1.Pod, i int) {
	f.infos[i].AddPod(pod)
	f.late = append(f.late, lateReport{i, pod})
	if len(f.late) < unreported {
		return
	}
	now := f.late[0]
	f.late = f.late[1:]
	asks := admission.PodOf(now.pod)
	d := admission.Admit(&f.free[now.node], &asks)
	if d.Verdict != admission.Admitted {
		b.Fatalf("the kubelet refuses pod %s: %s", asks, d)
	}
	f.free[now.node].Shared = d.Shared
	f.held[now.node][now.pod.UID] = map[string]cpuset.Set{"compute": d.Granted()}
	f.publish(b, now.node)
}

// 10,000 VMs of five sizes, one after the other onto 5,000 nodes, each looked at by Filter as often as kube-scheduler
// does, and bound to one of those that fit; some nodes change between. The figure is CPU time per node looked at.
func BenchmarkFilter(b *testing.B) {
	sizes := []string{"2", "4", "8", "16", "32"}
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	var spent time.Duration
	calls, start := 0, 0
	for b.Loop() {
		f := newFleet(b)
		for n := range 10000 {
			pod := launcherPod(fmt.Sprintf("vm%d", n), sizes[n%len(sizes)])
			pod.UID = types.UID(pod.Name)
			state := f.preFilter(b, pod)
			chosen, fits := -1, 0
			began := threadTime(b)
			for k := 0; fits < looked && k < fleetSize; k++ {
				at := (start + k) % fleetSize
				calls++
				if status := f.Filter(b.Context(), state, pod, f.infos[at]); status.Code() == fwk.Success {
					fits++
					chosen = at
				}
			}
			spent += threadTime(b) - began
			start += looked
			if chosen < 0 {
				b.Fatalf("no node for pod %d", n)
			}
			f.bind(b, pod, chosen)
		}
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(calls), "ns/node")
	b.ReportMetric(0, "ns/op")
}

// threadTime is the CPU time that the calling thread has taken, whatever else the machine does.
func threadTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A node that has not changed since it was last asked about costs no allocation, if it takes the pod.
func TestFilterAllocatesNothing(t *testing.T) {
	b, pod := newFixture(config.DedicatedCPUArgs{}), launcherPod("new", "4")
	b.report(t, "n1", nil)
	info, state := b.node(t, "n1"), b.preFilter(t, pod)
	ctx := t.Context()
	if allocations := testing.AllocsPerRun(100, func() { b.Filter(ctx, state, pod, info) }); allocations > 0 {
		t.Errorf("Filter makes %v allocations for a node that takes the pod", allocations)
	}
	large := launcherPod("large", "10")
	refused := b.preFilter(t, large)
	if allocations := testing.AllocsPerRun(100, func() { b.Filter(ctx, refused, large, info) }); allocations > 2 {
		t.Errorf("Filter makes %v allocations for a node that refuses the pod, and a Status takes 2", allocations)
	}
}

func BenchmarkFilterOne(bm *testing.B) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.report(bm, "n1", nil)
	info := b.node(bm, "n1")
	for name, pod := range map[string]*corev1.Pod{"fits": launcherPod("fits", "4"), "refused": launcherPod("refused", "10")} {
		state, ctx := b.preFilter(bm, pod), bm.Context()
		bm.Run(name, func(bm *testing.B) {
			bm.ReportAllocs()
			for bm.Loop() {
				b.Filter(ctx, state, pod, info)
			}
		})
	}
}

// BenchmarkReportChanged has 5,000 pods of seven sizes wait for room, and a report that makes none, or some for the
// smallest.
func BenchmarkReportChanged(b *testing.B) {
	for name, granted := range map[string]string{"NoRoom": "0-7,8-15", "Room": "0-6,8-14"} {
		b.Run(name, func(b *testing.B) {
			f := newFixture(config.DedicatedCPUArgs{})
			f.newWaker(testclock.NewFakeClock(time.Now())) // no further rounds
			f.report(b, "n1", map[string]string{"a": granted})
			f.node(b, "n1")
			for i := range 5000 {
				pod := launcherPod(fmt.Sprint("vm-", i), fmt.Sprint(2+i%7*2))
				f.pend(b, pod, f.podDemand(pod))
			}
			for b.Loop() {
				f.reportChanged("n1")
			}
		})
	}
}
