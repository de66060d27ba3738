// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/nodes"
)

// machine has NUMA nodes 0-3,8-11 and 4-7,12-15, cores {0,8} {1,9} ...; CPUs 0 and 8 are reserved.
const machine = "2 sockets x 1 numa x 4 cores x 2 threads"

type grants = map[types.UID]map[string]cpuset.Set

func compute(cpus string) map[string]cpuset.Set {
	return map[string]cpuset.Set{"compute": cpuSet(cpus)}
}

func cpuSet(list string) cpuset.Set {
	cpus, err := cpuset.Parse(list)
	if err != nil {
		panic(err)
	}
	return cpus
}

// nodeCPU is the report of a node, with full-pcpus-only and single-numa-node.
func nodeCPU(granted grants, changes ...func(*v1alpha1.NodeCPU)) *nodereport.Report {
	topology := cputopology.MustParse(machine)
	nc := &v1alpha1.NodeCPU{Status: v1alpha1.NodeCPUStatus{
		KubeletVersion:  "v1.36.3",
		CPUManager:      v1alpha1.CPUManager{Policy: "static", Options: map[string]string{"full-pcpus-only": "true"}},
		TopologyManager: v1alpha1.TopologyManager{Policy: "single-numa-node", Scope: "container"},
		ReservedCPUs:    "0,8",
		Conditions:      []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}},
	}}
	nodereport.SetTopology(&nc.Status, topology)
	shared := topology.CPUs()
	for _, containers := range granted {
		for _, cpus := range containers {
			shared = shared.Minus(cpus)
		}
	}
	delete(granted, "")
	nodereport.SetGranted(&nc.Status, granted)
	nc.Status.SharedCPUs = shared.String()
	for _, change := range changes {
		change(nc)
	}
	return nodereport.Read(nc)
}

// vm is a launcher pod as the kubelet sees it: compute with whole CPUs and a sidecar of 200m.
func vm(name, cpus string) *corev1.Pod {
	container := func(name, cpus string) corev1.Container {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse("1Gi")}
		return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
	}
	pod := st.MakePod().Name(name).UID(name).Node("n1").Containers([]corev1.Container{container("compute", cpus), container("hook", "200m")}).Obj()
	pod.Status.QOSClass = corev1.PodQOSGuaranteed
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	return pod
}

// finding is what the audit counted.
type finding struct {
	pods     int
	scenario string
}

// fixture is an audit of node n1 whose work is done when a test asks for it.
type fixture struct {
	*Audit
	t     testing.TB
	found []finding
}

func newFixture(t testing.TB, client kubernetes.Interface) *fixture {
	if client == nil {
		client = fake.NewClientset()
	}
	f := &fixture{Audit: New(nodes.New(clock.RealClock{}), client), t: t}
	f.count = func(_ klog.Logger, _ string, pods int, scenario string) {
		f.found = append(f.found, finding{pods, scenario})
	}
	return f
}

// expect binds pods to the node.
func (f *fixture) expect(pods ...*corev1.Pod) {
	for _, pod := range pods {
		asks := admission.PodOf(pod)
		f.view.Assumed("n1", pod, &asks)
		f.Expect("n1", pod.UID, &asks)
	}
}

// see shows the view a NodeInfo.
func (f *fixture) see(pods ...*corev1.Pod) {
	info := framework.NewNodeInfo(pods...)
	info.SetNode(st.MakeNode().Name("n1").Obj())
	d := verdict.DemandOf(vm("any", "2"))
	f.view.Query(&d, "").Predict(info)
}

// report brings a report, and returns what was found out by it.
func (f *fixture) report(report *nodereport.Report) finding {
	f.Reported("n1", f.view.Set("n1", report))
	return f.work()
}

// end ends a pod, and returns what was found out about it.
func (f *fixture) end(pod *corev1.Pod) finding {
	f.view.Left("n1", pod)
	f.Ended(pod)
	return f.work()
}

// work does what is queued.
func (f *fixture) work() finding {
	f.found = nil
	for len(f.queue) > 0 {
		(<-f.queue)(f.t.Context())
	}
	if len(f.found) > 1 {
		f.t.Fatalf("several findings: %v", f.found)
	}
	if len(f.found) == 0 {
		return finding{}
	}
	return f.found[0]
}
