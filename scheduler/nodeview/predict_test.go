package nodeview

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// vm is a launcher pod as the kubelet sees it: compute with whole CPUs and a sidecar of 200m.
func vm(name, cpus string) *corev1.Pod {
	pod := st.MakePod().Name(name).UID(name).Node("n1").Containers([]corev1.Container{
		container("compute", cpus), container("hook", "200m"),
	}).Obj()
	pod.Status.QOSClass = corev1.PodQOSGuaranteed
	return pod
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

func demand(pod *corev1.Pod) *Demand {
	d := DemandOf(pod)
	return &d
}

// remembered is a demand whose predictions the view remembers.
func remembered(v *View, pod *corev1.Pod) *Demand {
	d := demand(pod)
	v.Remember(d, d.Key)
	return d
}

// fits is the package comment's rule as a pure function: what View.Predict, with its memory, must agree with.
func fits(r *Report, node types.UID, pods []fwk.PodInfo, demand *Demand) *Prediction {
	if p := unknown(r, node, demand); p != nil {
		return p
	}
	var o overlaid
	o.overlay(r, residents(nil, pods))
	return o.predict(&demand.Pod)
}

// Free of the machine: NUMA node 0 has 6 CPUs, NUMA node 1 has 8.
func TestFits(t *testing.T) {
	for name, test := range map[string]struct {
		granted grants
		pods    []*corev1.Pod
		pod     *corev1.Pod
		want    string
	}{
		"an empty node":                      {pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
		"the smaller NUMA node comes first":  {pod: vm("new", "4"), want: "admitted: compute 1-2,9-10"},
		"no pod may be odd":                  {pod: vm("new", "3"), want: "refused: SMTAlignmentError"},
		"no NUMA node is that large":         {pod: vm("new", "10"), want: "refused: TopologyAffinityError: Resources cannot be allocated with Topology locality (on the empty node too)"},
		"granted CPUs are taken":             {granted: grants{"a": compute("4-7,12-15")}, pods: []*corev1.Pod{vm("a", "8")}, pod: vm("new", "8"), want: "refused: TopologyAffinityError"},
		"what is left is free":               {granted: grants{"a": compute("4-7,12-15")}, pods: []*corev1.Pod{vm("a", "8")}, pod: vm("new", "6"), want: "admitted: compute 1-3,9-11"},
		"a granted pod that is gone is free": {granted: grants{"a": compute("4-7,12-15")}, pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
		"gone before or after the one in flight came?": {
			// The kubelet, if it admitted a while b was there, put it on the NUMA node that new needs.
			granted: grants{"b": compute("1-3,9-11")}, pods: []*corev1.Pod{vm("a", "2")}, pod: vm("new", "8"), want: "wait: the pods in flight",
		},
		"no order helps a pod that is too large": {
			granted: grants{"b": compute("1-3,9-11")}, pods: []*corev1.Pod{vm("a", "2")}, pod: vm("new", "10"), want: "refused: TopologyAffinityError",
		},
		"two pods for one room":           {pods: []*corev1.Pod{vm("a", "8")}, pod: vm("new", "8"), want: "wait: in 1 of 2 orders"},
		"a pod in flight leaves the rest": {pods: []*corev1.Pod{vm("a", "8")}, pod: vm("new", "6"), want: "admitted: compute 1-3,9-11"},
		"more than three in flight":       {pods: []*corev1.Pod{vm("a", "2"), vm("b", "2"), vm("c", "2"), vm("d", "2")}, pod: vm("new", "2"), want: "wait"},
		"two that may split a NUMA node":  {pods: []*corev1.Pod{vm("a", "6")}, pod: vm("new", "4"), want: "admitted"},
		"an ended pod holds nothing": {
			pods: []*corev1.Pod{with(vm("a", "8"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })},
			pod:  vm("new", "8"), want: "admitted: compute 4-7,12-15",
		},
		"an ended pod's grant is free": {
			granted: grants{"a": compute("4-7,12-15")},
			pods:    []*corev1.Pod{with(vm("a", "8"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })},
			pod:     vm("new", "8"), want: "admitted: compute 4-7,12-15",
		},
		"pods of other QoS classes do not count": {
			pods: []*corev1.Pod{with(vm("a", "8"), func(p *corev1.Pod) { p.Status.QOSClass = corev1.PodQOSBurstable })},
			pod:  vm("new", "8"), want: "admitted: compute 4-7,12-15",
		},
		"fractions do not count": {pods: []*corev1.Pod{vm("a", "7500m")}, pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
		"a static pod is known by its mirror's annotation": {
			granted: grants{"hash": compute("4-7,12-15")},
			pods: []*corev1.Pod{with(vm("a", "8"), func(p *corev1.Pod) {
				p.Annotations = map[string]string{"kubernetes.io/config.mirror": "hash"}
			})},
			pod: vm("new", "6"), want: "admitted: compute 1-3,9-11",
		},
		"a static pod without its mirror is still there": {
			granted: grants{"0123456789abcdef0123456789abcdef": compute("4-7,12-15")},
			pod:     vm("new", "6"), want: "admitted: compute 1-3,9-11",
		},
		"a pod reported by half is in flight as a whole": {
			granted: grants{"a": compute("1,9")},
			pods: []*corev1.Pod{with(vm("a", "2"), func(p *corev1.Pod) {
				p.Spec.Containers = append(p.Spec.Containers, container("second", "4"))
			})},
			pod: vm("new", "8"), want: "admitted: compute 4-7,12-15",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := fits(reportOf(t, test.granted), "", podInfos(test.pods), demand(test.pod))
			if got.Standing != Exact || !strings.HasPrefix(got.Decision.String(), test.want) {
				t.Errorf("got %s %q, want %q", got.Standing, got.Decision, test.want)
			}
		})
	}
}

func podInfos(pods []*corev1.Pod) []fwk.PodInfo { return nodeInfo(pods...).GetPods() }

func TestFitsWhereItCannotBeKnown(t *testing.T) {
	gpu := func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = p.Spec.Containers[0].Resources.Limits.DeepCopy()
		p.Spec.Containers[0].Resources.Limits["example.com/gpu"] = resource.MustParse("1")
	}
	kvm := func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = p.Spec.Containers[0].Resources.Limits.DeepCopy()
		p.Spec.Containers[0].Resources.Limits["devices.kubevirt.io/kvm"] = resource.MustParse("1")
	}
	old := reportOf(t, nil)
	node := *old.node
	node.Minor = 20
	old.node = &node
	for name, test := range map[string]struct {
		report *Report
		pods   []*corev1.Pod
		pod    *corev1.Pod
		want   Standing
		why    string
	}{
		"no report":                 {pod: vm("new", "2"), want: Missing, why: "no report"},
		"an unreadable one":         {report: &Report{standing: Unreadable, why: "torn"}, pod: vm("new", "2"), want: Unreadable, why: "torn"},
		"a kubelet nobody knows":    {report: old, pod: vm("new", "2"), want: Inexact, why: "1.20"},
		"a device with a NUMA node": {report: reportOf(t, nil), pod: with(vm("new", "2"), gpu), want: Inexact, why: "example.com/gpu"},
		"such a device in flight":   {report: reportOf(t, nil), pods: []*corev1.Pod{with(vm("a", "2"), gpu)}, pod: vm("new", "2"), want: Inexact, why: "in flight: the NUMA nodes of device example.com/gpu"},
		"such a device granted":     {report: reportOf(t, grants{"a": compute("1,9")}), pods: []*corev1.Pod{with(vm("a", "2"), gpu)}, pod: vm("new", "2"), want: Exact},
		"KubeVirt's own devices":    {report: reportOf(t, nil), pod: with(vm("new", "2"), kvm), want: Exact},
	} {
		t.Run(name, func(t *testing.T) {
			got := fits(test.report, "", podInfos(test.pods), demand(test.pod))
			if got.Standing != test.want || !strings.Contains(got.Why, test.why) {
				t.Errorf("got %s (%s), want %s (...%s...)", got.Standing, got.Why, test.want, test.why)
			}
			if (got.Standing == Exact) != (got.Decision.Verdict == admission.Admitted) {
				t.Errorf("standing %s with decision %s", got.Standing, got.Decision)
			}
		})
	}
}

func TestFitsChangesNothingItIsGiven(t *testing.T) {
	report := reportOf(t, grants{"gone": compute("4-5,12-13")})
	before := report.node.Shared
	pods := podInfos([]*corev1.Pod{vm("a", "2")})
	first := fits(report, "", pods, demand(vm("new", "4")))
	second := fits(report, "", pods, demand(vm("new", "4")))
	if report.node.Shared != before || first.Decision.String() != second.Decision.String() {
		t.Errorf("the second prediction differs: %s, then %s; shared pool %s, before %s", first.Decision, second.Decision, report.node.Shared, before)
	}
}
