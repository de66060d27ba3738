// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

func newView() *View { return New(clock.RealClock{}) }

// predict and simulated ask about a demand in a cycle of its own.
func (v *View) predict(d *verdict.Demand, info fwk.NodeInfo) *Prediction {
	return v.Query(d, d.Key()).Predict(info)
}

func (v *View) simulated(d *verdict.Demand, info fwk.NodeInfo) *Prediction {
	return v.Query(d, d.Key()).Simulate(info)
}

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

// nodeCPU is the report of node n1, with full-pcpus-only and single-numa-node.
func nodeCPU(granted grants) *v1alpha1.NodeCPU {
	topology := cputopology.MustParse(machine)
	nc := &v1alpha1.NodeCPU{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: "n1", ResourceVersion: "7"},
		Status: v1alpha1.NodeCPUStatus{
			KubeletVersion:  "v1.36.3",
			CPUManager:      v1alpha1.CPUManager{Policy: "static", Options: map[string]string{"full-pcpus-only": "true"}},
			TopologyManager: v1alpha1.TopologyManager{Policy: "single-numa-node", Scope: "container"},
			MemoryManager:   v1alpha1.MemoryManager{Policy: "None"},
			ReservedCPUs:    "0,8",
			Conditions:      []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}},
		},
	}
	nodereport.SetTopology(&nc.Status, topology)
	nodereport.SetGranted(&nc.Status, granted)
	shared := topology.CPUs()
	for _, containers := range granted {
		for _, cpus := range containers {
			shared = shared.Minus(cpus)
		}
	}
	nc.Status.SharedCPUs = shared.String()
	return nc
}

func object(t testing.TB, nc *v1alpha1.NodeCPU) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

func reportOf(t testing.TB, granted grants) *nodereport.Report {
	t.Helper()
	report := Decode(object(t, nodeCPU(granted))).Report
	if report.State != nodereport.Exact {
		t.Fatalf("the report is %s: %s", report.State, report.Why)
	}
	return report
}

// vm is a launcher pod as the kubelet sees it: compute with whole CPUs and a sidecar of 200m. It is bound.
func vm(name, cpus string) *corev1.Pod {
	pod := st.MakePod().Name(name).UID(name).Node("n1").Containers([]corev1.Container{
		container("compute", cpus), container("hook", "200m"),
	}).Obj()
	pod.Status.QOSClass = corev1.PodQOSGuaranteed
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	return pod
}

// assumed makes a pod one that waits for its volumes: it has a node in kube-scheduler's cache only.
func assumed(pod *corev1.Pod) { pod.Status.Conditions = nil }

// nominated makes a pod one that waits for pods to end.
func nominated(pod *corev1.Pod) {
	assumed(pod)
	pod.Spec.NodeName = ""
	pod.Status.NominatedNodeName = "n1"
}

func container(name, cpus string) corev1.Container {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse("1Gi")}
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}
}

func with(pod *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod {
	change(pod)
	return pod
}

func nodeInfo(pods ...*corev1.Pod) *framework.NodeInfo {
	info := framework.NewNodeInfo(pods...)
	info.SetNode(st.MakeNode().Name("n1").Label("cpumanager", "true").Obj())
	return info
}

// demand is what the launcher pod of a dedicated VM asks for.
func demand(pod *corev1.Pod) *verdict.Demand {
	d := verdict.DemandOf(pod)
	d.Dedicated = true
	return &d
}

// fits is the verdict as a pure function. A view that remembers must agree with it.
func fits(r *nodereport.Report, info fwk.NodeInfo, d *verdict.Demand) verdict.Verdict {
	var pods []verdict.Pod
	for _, pod := range info.GetPods() {
		if verdict.MayHold(pod.GetPod()) {
			pods = append(pods, verdict.PodOf(pod.GetPod()))
		}
	}
	n := verdict.New(info.Node(), r, pods)
	return verdict.Of(&n, d)
}
