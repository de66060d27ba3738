// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/nodes"
)

// room is one node: the kubelet's own managers, the agent's readers over its files, and the scheduler's view. Each runs at its
// own pace.
type room struct {
	t       *testing.T
	random  *rand.Rand
	kubelet *Reported
	node    *corev1.Node
	view    *nodes.View

	// known are the pods of the scheduler's NodeInfo, by name. bound are those that the kubelet has not heard of.
	known map[string]*corev1.Pod
	bound []*corev1.Pod
	runs  map[types.UID]bool
	// left is when a pod left, of all that have. leavers are those of which the kubelet does not know it. came is how many had left
	// when a pod was bound, and sure the most of these among the pods that the kubelet has heard of.
	left, leavers, came map[types.UID]int
	ends, sure          int
	// reports are on their way, oldest first; delivered is the one that came last.
	reports   []*v1alpha1.NodeCPU
	delivered *v1alpha1.NodeCPU
	serial    int

	attempts, binds, waits, refused, inexact, ordinary int
	why                                                map[string]int
}

// newRoom is a node of 32 CPUs and two NUMA nodes, each with 16 GiB, four huge pages of 1 GiB, and VFs: so many on NUMA node 0,
// and on NUMA node 1.
func newRoom(t *testing.T, seed uint64, settings KubeletSettings, first, second int) *room {
	t.Helper()
	klog.LogToStderr(false) // the kubelet's packages say every step
	klog.SetOutput(io.Discard)
	inMemory(t)
	w := &room{
		t: t, random: rand.New(rand.NewPCG(seed, 18)), known: map[string]*corev1.Pod{}, runs: map[types.UID]bool{},
		left: map[types.UID]int{}, leavers: map[types.UID]int{}, came: map[types.UID]int{}, why: map[string]int{},
		node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "n1"}},
	}
	w.node.Status.NodeInfo.KubeletVersion = kubeletVersion
	w.node.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("30"), corev1.ResourceMemory: resource.MustParse("23Gi"), corev1.ResourcePods: resource.MustParse("110"),
		"hugepages-1Gi": resource.MustParse("8Gi"), vf: *resource.NewQuantity(int64(first+second), resource.DecimalSI),
	}
	w.node.Status.Capacity = w.node.Status.Allocatable.DeepCopy()
	w.node.Status.Capacity[corev1.ResourceCPU] = resource.MustParse("32")
	w.node.Status.Capacity[corev1.ResourceMemory] = resource.MustParse("32Gi")
	var err error
	w.kubelet, err = NewReported(t.Context(), Options{
		Dir: t.TempDir(), Topology: cputopology.MustParse("2 sockets x 1 numa x 8 cores x 2 threads"), Kubelet: settings,
		Memory: "32Gi", HugePages: map[string]int64{"hugepages-1Gi": 4}, Devices: map[string][]Device{vf: vfsOn(first, second)},
	}, w.node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kubelet.Stop)
	w.read()
	w.delivered = w.reports[0]
	w.restart()
	return w
}

// inMemory makes the folders of a test in memory, where the machine has such a place: the kubelet's managers sync each write.
func inMemory(t *testing.T) {
	const shm = "/dev/shm"
	info, err := os.Stat(shm)
	if err == nil && info.IsDir() {
		t.Setenv("TMPDIR", shm)
	}
}

// vfsOn are VFs on NUMA node 0 and on NUMA node 1.
func vfsOn(first, second int) []Device {
	var devices []Device
	for i := range first + second {
		node := int64(0)
		if i >= first {
			node = 1
		}
		devices = append(devices, Device{ID: fmt.Sprintf("vf%d", i), NUMANodes: []int64{node}})
	}
	return devices
}

// read makes the report that an agent would write now.
func (w *room) read() { w.reports = append(w.reports, w.kubelet.Report(w.t.Context())) }

// set gives the view a report.
func (w *room) set(nc *v1alpha1.NodeCPU) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	read := nodes.Decode(&unstructured.Unstructured{Object: content}).Report
	if read.State != nodereport.Exact || read.Node.Devices == nil && read.Node.TopologyManager.Policy != "none" {
		w.t.Fatalf("the report is %s: %s; devices known: %t", read.State, read.Why, read.Node != nil && read.Node.Devices != nil)
	}
	w.view.Set("n1", read)
}

// restart is another scheduler, which knows what the API server has.
func (w *room) restart() {
	w.view = nodes.New(clock.RealClock{})
	w.set(w.delivered)
}

func (w *room) info() fwk.NodeInfo {
	var pods []*corev1.Pod
	for _, name := range slices.Sorted(maps.Keys(w.known)) {
		pods = append(pods, w.known[name])
	}
	info := framework.NewNodeInfo(pods...)
	info.SetNode(w.node)
	return info
}

// made is a pod that is bound if the node has the amounts that it asks for.
func (w *room) made(name string, lists ...corev1.ResourceList) *corev1.Pod {
	w.serial++
	p := pod(fmt.Sprintf("%s%d", name, w.serial), 0)
	p.CreationTimestamp = metav1.NewTime(time.Unix(int64(w.serial), 0))
	p.Spec.NodeName = "n1"
	p.Status.Phase = corev1.PodPending
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	for i, list := range lists {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("c%d", i), Resources: corev1.ResourceRequirements{Requests: list, Limits: list},
		})
	}
	return p
}

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func (w *room) oneOf(texts ...string) string { return texts[w.random.IntN(len(texts))] }

// vm is a launcher pod: compute with uneven memory or huge pages, and VFs now and then, beside KubeVirt's small container.
func (w *room) vm() *corev1.Pod {
	compute := amounts(w.oneOf("2", "4", "6"), w.oneOf("500Mi", "1Gi", "2Gi", "4Gi"))
	if w.random.IntN(3) == 0 {
		compute[corev1.ResourceMemory] = resource.MustParse("200Mi")
		compute["hugepages-1Gi"] = resource.MustParse(w.oneOf("1Gi", "2Gi", "3Gi"))
	}
	if w.random.IntN(2) == 0 {
		compute[vf] = resource.MustParse(w.oneOf("1", "2"))
	}
	return w.made("vm", compute, amounts("15m", "60M"))
}

// ordinaryPod is a pod that nobody asks the plugin about: small, Guaranteed or not.
func (w *room) ordinaryPod() *corev1.Pod {
	p := w.made("ordinary", amounts("20m", w.oneOf("30Mi", "50Mi", "100Mi")))
	if w.random.IntN(3) > 0 {
		p.Spec.Containers[0].Resources.Limits = nil
		p.Status.QOSClass = corev1.PodQOSBurstable
	}
	return p
}

// bind binds a pod, which the kubelet does not hear of before admit.
func (w *room) bind(p *corev1.Pod) {
	w.known[p.Name] = p
	w.came[p.UID] = w.ends
	w.bound = append(w.bound, p)
}

func (w *room) bindOrdinary() {
	p := w.ordinaryPod()
	if len(noderesources.Fits(p, w.info(), nil, noderesources.ResourceRequestsOptions{})) == 0 {
		w.bind(p)
		w.ordinary++
	}
}

// scheduleVM binds a VM where the view says that the kubelet will admit it.
func (w *room) scheduleVM() {
	p := w.vm()
	info := w.info()
	if len(noderesources.Fits(p, info, nil, noderesources.ResourceRequestsOptions{})) > 0 {
		return
	}
	d := verdict.DemandOf(p)
	d.Dedicated = true
	got := w.view.Query(&d, d.Key()).Predict(info)
	w.attempts++
	switch {
	case got.State != nodereport.Exact:
		w.inexact++
		w.why[got.Why]++
	case got.Fits():
		w.binds++
		w.view.Assumed("n1", p, &d.Pod)
		w.view.Bound("n1", p.UID)
		w.bind(p)
	case got.Obstacle == verdict.InFlight || got.Obstacle == verdict.Kept:
		w.waits++
		w.why[got.Why]++
	default:
		w.refused++
	}
}

// admit lets the kubelet hear of one of the pods, any of them. A VM must be admitted.
func (w *room) admit() {
	if len(w.bound) == 0 {
		return
	}
	i := w.random.IntN(len(w.bound))
	p := w.bound[i]
	w.bound = slices.Delete(w.bound, i, i+1)
	for uid, at := range w.leavers {
		if at <= w.came[p.UID] {
			w.release(uid)
		}
	}
	at := w.left[p.UID]
	if at > 0 && (at <= w.sure || w.random.IntN(2) == 0) {
		return // the kubelet never hears of it
	}
	w.sure = max(w.sure, w.came[p.UID])
	rejected := w.kubelet.Admit(p)
	if len(rejected) > 0 && at == 0 && strings.HasPrefix(p.Name, "vm") {
		w.t.Fatalf("pod %s was bound, and the kubelet says %s: %s\nasks %v\nlast report %+v", p.Name, rejected[0].Reason, rejected[0].Message, p.Spec.Containers, w.kubelet.last)
	}
	if len(rejected) > 0 {
		if at == 0 {
			w.remove(p)
		}
		w.read()
		return
	}
	if at > 0 {
		w.leavers[p.UID] = at
		w.read()
		return
	}
	w.runs[p.UID] = true
	w.read()
	if w.random.IntN(2) == 0 {
		running := p.DeepCopy()
		now := metav1.Now()
		running.Status.Phase = corev1.PodRunning
		running.Status.StartTime = &now
		w.known[p.Name] = running
	}
}

// remove takes a pod out of what the scheduler knows.
func (w *room) remove(p *corev1.Pod) {
	delete(w.known, p.Name)
	w.view.Left("n1", p)
}

// end ends a pod whose name has a prefix, any of them.
func (w *room) end(prefix string) {
	names := slices.Sorted(maps.Keys(w.known))
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
	if len(names) == 0 {
		return
	}
	p := w.known[names[w.random.IntN(len(names))]]
	w.ends++
	w.left[p.UID] = w.ends
	if w.runs[p.UID] {
		delete(w.runs, p.UID)
		w.leavers[p.UID] = w.ends
		if w.random.IntN(2) == 0 {
			w.release(p.UID)
		}
	}
	w.remove(p)
}

// release lets the kubelet hear that a pod has ended. It does before it hears of a pod that was bound later.
func (w *room) release(uid types.UID) {
	delete(w.leavers, uid)
	w.kubelet.Remove(uid)
	w.read()
}

// releaseAll lets the kubelet hear of all that have ended.
func (w *room) releaseAll() {
	for uid := range w.leavers {
		w.release(uid)
	}
}

// deliver brings the next report to the scheduler, or the newest.
func (w *room) deliver() {
	if len(w.reports) == 0 {
		return
	}
	next := 0
	if w.random.IntN(3) == 0 {
		next = len(w.reports) - 1
	}
	w.delivered = w.reports[next]
	w.reports = w.reports[next+1:]
	w.set(w.delivered)
}

// String says what became of the pods.
func (w *room) String() string {
	return fmt.Sprintf("%d attempts: %d bound, %d refused, %d waited, %d not exact; %d ordinary pods bound; %v",
		w.attempts, w.binds, w.refused, w.waits, w.inexact, w.ordinary, w.why)
}

var policies = []string{"single-numa-node", "restricted", "best-effort", "none"}

// settingsFor are those of a kubelet. Eight seeds in a row have each policy with each scope.
func settingsFor(seed uint64) KubeletSettings {
	s := KubeletSettings{
		CPUManagerPolicy: "static", CPUManagerPolicyOptions: map[string]string{"full-pcpus-only": "true"},
		ReservedSystemCPUs: "0,16", MemoryManagerPolicy: "Static", TopologyManagerPolicy: policies[seed%4], TopologyManagerScope: "container",
	}
	if seed/4%2 == 1 {
		s.TopologyManagerScope = "pod"
	}
	return s
}

// However late reports come, and whichever pod the kubelet hears of first: it admits every VM that was bound.
func TestNoBoundVMIsRefused(t *testing.T) {
	for seed := range uint64(8) {
		w := newRoom(t, seed, settingsFor(seed), 6, 2)
		for range 300 {
			if w.random.IntN(40) == 0 {
				w.restart()
			}
			switch w.random.IntN(11) {
			case 10:
				w.releaseAll()
			case 0, 1:
				w.scheduleVM()
			case 2:
				w.bindOrdinary()
			case 3, 4, 5:
				w.admit()
			case 6, 7:
				w.deliver()
			default:
				w.end(w.oneOf("vm", "ordinary"))
			}
		}
		t.Logf("seed %d, %s, scope %s: %s", seed, settingsFor(seed).TopologyManagerPolicy, settingsFor(seed).TopologyManagerScope, w)
		if w.binds < 10 {
			t.Errorf("seed %d: %d VMs were bound, too few to show anything", seed, w.binds)
		}
	}
}

// On a node with 30 ordinary pods that come and go all the time a VM hardly ever has to wait for a report.
func TestOrdinaryPodsMakeNoVMWait(t *testing.T) {
	attempts := 0
	waits := 0
	for seed := range uint64(8) {
		w := newRoom(t, seed, settingsFor(seed), 6, 2)
		settle := func() {
			for len(w.bound) > 0 {
				w.admit()
			}
			w.releaseAll()
			for len(w.reports) > 0 {
				w.deliver()
			}
		}
		for range 30 {
			w.bindOrdinary()
		}
		settle()
		for range 150 {
			// Two pods change places while the VM is asked about: their reports have not come yet.
			w.end("ordinary")
			w.bindOrdinary()
			if w.random.IntN(2) == 0 {
				w.end("ordinary")
				w.bindOrdinary()
			}
			if w.random.IntN(2) == 0 {
				w.admit()
			}
			w.scheduleVM()
			settle()
			if w.random.IntN(3) == 0 {
				w.end("vm")
				settle()
			}
		}
		t.Logf("seed %d, %s, scope %s: %s", seed, settingsFor(seed).TopologyManagerPolicy, settingsFor(seed).TopologyManagerScope, w)
		attempts += w.attempts
		waits += w.waits + w.inexact
	}
	if attempts < 300 || waits*50 > attempts {
		t.Errorf("%d of %d attempts had to wait", waits, attempts)
	}
}
