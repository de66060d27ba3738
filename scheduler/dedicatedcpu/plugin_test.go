// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/audit"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/explaining"
	"corepin.dev/corepin/scheduler/nodes"
	"corepin.dev/corepin/scheduler/vms"
	"corepin.dev/corepin/scheduler/wakeup"
)

// twoNUMA has NUMA nodes 0-3,8-11 and 4-7,12-15, cores {0,8} {1,9} ... and a reserved core in each, 16-17 and 18-19.
const (
	twoNUMA  = "s0 n0 u0: 0,8 1,9 2,10 3,11 16,17; s1 n1 u1: 4,12 5,13 6,14 7,15 18,19"
	reserved = "16-19"
)

func logger(t testing.TB) klog.Logger { return ktesting.NewLogger(t, ktesting.NewConfig()) }

// activated is a scheduling queue that records the pods that it was asked to try again.
type activated struct {
	mu   sync.Mutex
	pods map[string]bool
}

func (a *activated) Activate(_ klog.Logger, pods map[string]*corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range pods {
		a.pods[name] = true
	}
}

// names are the pods' that were activated since the last call of take.
func (a *activated) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.pods))
}

func (a *activated) take() []string {
	names := a.names()
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.pods)
	return names
}

// fixture is a plugin with nodes whose reports and pods a test sets.
type fixture struct {
	*DedicatedCPU
	nodeLister cache.Indexer
	podLister  cache.Indexer
	queue      *activated
	known      map[string]bool // nodes that were reported
}

func newFixture(args config.DedicatedCPUArgs) *fixture {
	config.SetDefaults(&args)
	indexers := vms.PodIndexers()
	maps.Copy(indexers, nodeIndexers())
	indexers[cache.NamespaceIndex] = cache.MetaNamespaceIndexFunc
	b := &fixture{
		nodeLister: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}),
		podLister:  cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers),
		queue:      &activated{pods: map[string]bool{}},
		known:      map[string]bool{},
	}
	view := nodes.New(clock.RealClock{})
	b.DedicatedCPU = &DedicatedCPU{
		sharedState: &sharedState{view: view, audit: audit.New(view, fake.NewClientset()), vms: &vms.View{}, podIndex: b.podLister},
		args:        args,
		argsKey:     argsKey(&args),
		nodes:       corelisters.NewNodeLister(b.nodeLister),
		events:      events.NewFakeRecorder(100),
		nominated:   func(string) []fwk.PodInfo { return nil },
	}
	b.explainer = explaining.New(b.events, clock.RealClock{})
	b.newWaker(clock.RealClock{})
	b.add(b.DedicatedCPU)
	return b
}

// newWaker gives the plugin a Waker without pending pods.
func (b *fixture) newWaker(clock clock.WithDelayedExecution) {
	b.waker = wakeup.New(context.Background(), b.nodes, corelisters.NewPodLister(b.podLister), countedQueue{b.queue}, clock)
}

// pend makes a pod pending, as its first Filter does.
func (b *fixture) pend(t testing.TB, pod *corev1.Pod, d *verdict.Demand, heldAt ...string) {
	t.Helper()
	if err := b.podLister.Add(pod); err != nil {
		t.Fatal(err)
	}
	f := newFindings()
	for _, nodeName := range heldAt {
		f.noteHeld(nodeName, false)
	}
	b.waker.Add(pod, b.pendingDemand(d, f))
}

// node adds a node with the label and returns its NodeInfo.
func (b *fixture) node(t testing.TB, name string, pods ...*corev1.Pod) *framework.NodeInfo {
	t.Helper()
	node := st.MakeNode().Name(name).Label("cpumanager", "true").Capacity(map[corev1.ResourceName]string{"cpu": "16", "memory": "64Gi"}).Obj()
	if err := b.nodeLister.Add(node); err != nil {
		t.Fatal(err)
	}
	info := framework.NewNodeInfo(pods...)
	info.SetNode(node)
	return info
}

// report is that of a node of machine twoNUMA on which granted pods hold CPUs, with full-pcpus-only and
// single-numa-node unless changed.
func (b *fixture) report(t testing.TB, name string, granted map[string]string, changes ...func(s *v1alpha1.NodeCPUStatus)) {
	t.Helper()
	if !b.known[name] {
		// The view has known the node before any pod was there.
		b.known[name] = true
		b.report(t, name, nil, changes...)
		before := framework.NewNodeInfo()
		before.SetNode(st.MakeNode().Name(name).Obj())
		anything := verdict.DemandOf(guaranteedPod("any", "1"))
		b.view.Query(&anything, "").Predict(before)
	}
	topology := cputopology.MustParse(twoNUMA)
	nc := &v1alpha1.NodeCPU{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: v1alpha1.NodeCPUStatus{
			KubeletVersion:  "v1.36.3",
			CPUManager:      v1alpha1.CPUManager{Policy: "static", Options: map[string]string{"full-pcpus-only": "true"}},
			TopologyManager: v1alpha1.TopologyManager{Policy: "single-numa-node", Scope: "container"},
			Conditions:      []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}},
			ReservedCPUs:    reserved,
		},
	}
	nodereport.SetTopology(&nc.Status, topology)
	shared, pods := topology.CPUs(), map[types.UID]map[string]cpuset.Set{}
	for uid, list := range granted {
		cpus, err := cpuset.Parse(list)
		if err != nil {
			t.Fatal(err)
		}
		pods[types.UID(uid)] = map[string]cpuset.Set{"compute": cpus}
		shared = shared.Minus(cpus)
	}
	nodereport.SetGranted(&nc.Status, pods)
	nc.Status.SharedCPUs = shared.String()
	for _, change := range changes {
		change(&nc.Status)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(nc)
	if err != nil {
		t.Fatal(err)
	}
	decoded := nodes.Decode(&unstructured.Unstructured{Object: content})
	b.audit.Reported(name, b.view.Set(name, decoded.Report))
}

// listed lets the view list the reports of a cluster that has none.
func (b *fixture) listed(t testing.TB) {
	t.Helper()
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{v1alpha1.Resource: "NodeCPUList"})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.view.Run(ctx, client, nodes.Events{
			Reported: func(string, nodes.Change) {}, Changed: func(string, bool) {}, Settled: stop,
		})
	}()
	if err := <-done; err != nil || !b.view.Started() {
		t.Fatalf("listing the reports: %v", err)
	}
}

// preFilter runs PreFilter; the test ends if it does not let the pod through.
func (b *fixture) preFilter(t testing.TB, pod *corev1.Pod) fwk.CycleState {
	t.Helper()
	state := framework.NewCycleState()
	if _, status := b.PreFilter(t.Context(), state, pod, nil); !status.IsSuccess() {
		t.Fatalf("PreFilter of %s: %s %s", pod.Name, status.Code(), status.Message())
	}
	return state
}

// launcherPod is the launcher pod of a dedicated VM: compute with so many CPUs, and a sidecar of 200m.
func launcherPod(name, cpus string, changes ...func(pod *corev1.Pod)) *corev1.Pod {
	pod := guaranteedPod(name, cpus)
	pod.Labels = map[string]string{"kubevirt.io": "virt-launcher"}
	pod.Spec.NodeSelector = map[string]string{"cpumanager": "true"}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

// guaranteedPod is the same pod without a VM.
func guaranteedPod(name, cpus string) *corev1.Pod {
	pod := st.MakePod().Namespace("vms").Name(name).UID(name).Containers([]corev1.Container{
		container("compute", cpus, cpus), container("hook-sidecar-0", "200m", "200m"),
	}).Obj()
	pod.Status.QOSClass = corev1.PodQOSGuaranteed
	return pod
}

func container(name, request, limit string) corev1.Container {
	amount := func(cpu string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("1Gi")}
	}
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: amount(request), Limits: amount(limit)}}
}

func burstable(pod *corev1.Pod) {
	pod.Spec.Containers[1].Resources = corev1.ResourceRequirements{}
	pod.Status.QOSClass = corev1.PodQOSBurstable
}
