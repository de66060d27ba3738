// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// Free of the machine at first: NUMA node 0 has 6 CPUs, NUMA node 1 has 8.
func TestPodsAreAppliedToTheReport(t *testing.T) {
	const staticUID = "0123456789abcdef0123456789abcdef"
	phase := func(phase corev1.PodPhase) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Status.Phase = phase } }
	burstable := func(p *corev1.Pod) { p.Status.QOSClass = corev1.PodQOSBurstable }
	mirror := func(p *corev1.Pod) { p.Annotations = map[string]string{"kubernetes.io/config.mirror": "hash"} }
	secondContainer := func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, container("second", "4")) }
	for name, test := range map[string]struct {
		granted map[string]string
		pods    []*corev1.Pod
		pod     *corev1.Pod
		want    string
	}{
		"an empty node":                      {pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
		"the smaller NUMA node comes first":  {pod: vm("new", "4"), want: "admitted: compute 1-2,9-10"},
		"no pod may be odd":                  {pod: vm("new", "3"), want: "refused: SMTAlignmentError"},
		"no NUMA node is that large":         {pod: vm("new", "10"), want: "refused: TopologyAffinityError: Resources cannot be allocated with Topology locality (on the empty node too)"},
		"granted CPUs are taken":             {granted: map[string]string{"a": "4-7,12-15"}, pods: []*corev1.Pod{vm("a", "8")}, pod: vm("new", "8"), want: "refused: TopologyAffinityError"},
		"the rest is free":                   {granted: map[string]string{"a": "4-7,12-15"}, pods: []*corev1.Pod{vm("a", "8")}, pod: vm("new", "6"), want: "admitted: compute 1-3,9-11"},
		"a granted pod that is gone is free": {granted: map[string]string{"a": "4-7,12-15"}, pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
		"gone before or after the one in flight came": {
			// The kubelet, if it admitted a while b was there, put it on the NUMA node that new needs.
			granted: map[string]string{"b": "1-3,9-11"}, pods: []*corev1.Pod{vm("a", "2")}, pod: vm("new", "8"), want: "wait: the pods in flight",
		},
		"no order helps a pod that is too large": {
			granted: map[string]string{"b": "1-3,9-11"}, pods: []*corev1.Pod{vm("a", "2")}, pod: vm("new", "10"), want: "refused: TopologyAffinityError",
		},
		"two pods for one place":          {pods: []*corev1.Pod{vm("a", "8")}, pod: vm("new", "8"), want: "wait: in some order"},
		"a pod in flight leaves the rest": {pods: []*corev1.Pod{vm("a", "8")}, pod: vm("new", "6"), want: "admitted: compute 1-3,9-11"},
		"four in flight that ask alike":   {pods: []*corev1.Pod{vm("a", "2"), vm("b", "2"), vm("c", "2"), vm("d", "2")}, pod: vm("new", "2"), want: "admitted"},
		"an ended pod holds nothing":      {pods: []*corev1.Pod{vm("a", "8", phase(corev1.PodFailed))}, pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
		"an ended pod's grant is free": {
			granted: map[string]string{"a": "4-7,12-15"}, pods: []*corev1.Pod{vm("a", "8", phase(corev1.PodSucceeded))},
			pod: vm("new", "8"), want: "admitted: compute 4-7,12-15",
		},
		"pods of other QoS classes do not count":           {pods: []*corev1.Pod{vm("a", "8", burstable)}, pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
		"fractions do not count":                           {pods: []*corev1.Pod{vm("a", "7500m")}, pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
		"a static pod is known by its mirror's annotation": {granted: map[string]string{"hash": "4-7,12-15"}, pods: []*corev1.Pod{vm("a", "8", mirror)}, pod: vm("new", "6"), want: "admitted: compute 1-3,9-11"},
		"a static pod without its mirror is still there":   {granted: map[string]string{staticUID: "4-7,12-15"}, pod: vm("new", "6"), want: "admitted: compute 1-3,9-11"},
		"a pod reported by half is in flight as a whole":   {granted: map[string]string{"a": "1,9"}, pods: []*corev1.Pod{vm("a", "2", secondContainer)}, pod: vm("new", "8"), want: "admitted: compute 4-7,12-15"},
	} {
		t.Run(name, func(t *testing.T) {
			report := reportOf(t, test.granted)
			shared := report.Node.Shared
			n := New(nodeObject(), report, podsOf(test.pods))
			d := DemandOf(test.pod)
			v := Of(&n, &d)
			if v.State != nodereport.Exact || !strings.HasPrefix(v.Decision.String(), test.want) {
				t.Errorf("got %s %q, want %q", v.State, v.Decision, test.want)
			}
			if again := Of(&n, &d); again.Decision.String() != v.Decision.String() || report.Node.Shared != shared {
				t.Errorf("asked again: %s; the report's shared pool is %s, was %s", again.Decision, report.Node.Shared, shared)
			}
		})
	}
}

func TestWhereTheKubeletCannotBePredicted(t *testing.T) {
	limit := func(name corev1.ResourceName) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			limits := p.Spec.Containers[0].Resources.Limits.DeepCopy()
			limits[name] = resource.MustParse("1")
			p.Spec.Containers[0].Resources.Limits = limits
		}
	}
	old := reportOf(t, nil)
	old.Node.Minor = 20
	of := func(uid string) *nodereport.Report {
		r := reportOf(t, nil)
		r.Owner = "older"
		if uid != "" {
			r.Owner = "node"
		}
		return r
	}
	for name, test := range map[string]struct {
		report *nodereport.Report
		pods   []*corev1.Pod
		pod    *corev1.Pod
		want   nodereport.State
		why    string
	}{
		"no report":                 {report: nodereport.Absent(nodereport.Missing), pod: vm("new", "2"), want: nodereport.Missing, why: "no report"},
		"one that is unreadable":    {report: nodereport.Unusable(nodereport.Unreadable, errors.New("torn")), pod: vm("new", "2"), want: nodereport.Unreadable, why: "torn"},
		"of an earlier Node":        {report: of(""), pod: vm("new", "2"), want: nodereport.Replaced, why: "earlier Node"},
		"of this Node":              {report: of("node"), pod: vm("new", "2"), want: nodereport.Exact},
		"an unknown kubelet":        {report: old, pod: vm("new", "2"), want: nodereport.Inexact, why: "1.20"},
		"a device with a NUMA node": {report: reportOf(t, nil), pod: vm("new", "2", limit("example.com/gpu")), want: nodereport.Inexact, why: "example.com/gpu"},
		"such a device in flight":   {report: reportOf(t, nil), pods: []*corev1.Pod{vm("a", "2", limit("example.com/gpu"))}, pod: vm("new", "2"), want: nodereport.Inexact, why: "a pod in flight: the NUMA nodes of device example.com/gpu"},
		"such a device granted":     {report: reportOf(t, map[string]string{"a": "1,9"}), pods: []*corev1.Pod{vm("a", "2", limit("example.com/gpu"))}, pod: vm("new", "2"), want: nodereport.Exact},
		"KubeVirt's own devices":    {report: reportOf(t, nil), pod: vm("new", "2", limit("devices.kubevirt.io/kvm")), want: nodereport.Exact},
	} {
		t.Run(name, func(t *testing.T) {
			n := New(nodeObject(), test.report, podsOf(test.pods))
			d := DemandOf(test.pod)
			d.Dedicated = true
			v := Of(&n, &d)
			if v.State != test.want || !strings.Contains(v.Why, test.why) {
				t.Errorf("got %s (%s), want %s (...%s...)", v.State, v.Why, test.want, test.why)
			}
			if v.Fits() != (test.want == nodereport.Exact) {
				t.Errorf("state %s, obstacle %q", v.State, v.Obstacle)
			}
		})
	}
}

// Under the kubelet's gate PodLevelResourceManagers a pod with pod-level resources has CPUs of its own, though its
// containers, read without the gate, ask for none. A running one holds 1-5 of 1-7; a pod for 6 does not fit.
func TestPodLevelResourcesCount(t *testing.T) {
	podLevel := func(p *corev1.Pod) {
		p.Spec.Containers = p.Spec.Containers[:1]
		p.Spec.Resources = p.Spec.Containers[0].Resources.DeepCopy()
	}
	for name, test := range map[string]struct {
		granted  string
		gate     bool
		want     Obstacle
		inFlight bool
	}{
		"granted":             {granted: "1-5", gate: true, want: Kubelet},
		"in flight":           {gate: true, want: InFlight, inFlight: true},
		"the gate is off":     {want: None},
		"an exact fit beside": {granted: "7", gate: true, want: None},
	} {
		topology := cputopology.MustParse("1 sockets x 1 numa x 8 cores x 1 threads")
		report := reportOf(t, nil)
		*report.Node = admission.Node{Topology: topology, Minor: 36, Reserved: cpuset.Of(0), PodLevelResourceManagers: test.gate,
			CPUManager:      cpumanager.Config{Policy: "static"},
			TopologyManager: topologymanager.Config{Policy: topologymanager.PolicyNone, Scope: topologymanager.ScopeContainer}}
		report.Node.Shared = topology.CPUs().Minus(cpus(t, test.granted))
		if test.granted != "" {
			report.Granted["a"] = []admission.Grant{{Container: "compute", CPUs: cpus(t, test.granted)}}
		}
		n := New(nodeObject(), report, podsOf([]*corev1.Pod{vm("a", "5", podLevel)}))
		d := DemandOf(vm("new", "6"))
		v := Of(&n, &d)
		if v.Obstacle != test.want || n.Pods[0].InFlight != test.inFlight || n.Pods[0].CPUs() != cpus(t, test.granted) {
			t.Errorf("%s: obstacle %q (%s), want %q; the other pod holds %s, in flight %t", name, v.Obstacle, v.Why, test.want, n.Pods[0].CPUs(), n.Pods[0].InFlight)
		}
	}
}

func TestCovers(t *testing.T) {
	d := DemandOf(vm("a", "2", func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, container("second", "4")) }))
	grant := func(names ...string) (grants []admission.Grant) {
		for i, name := range names {
			grants = append(grants, admission.Grant{Container: name, CPUs: cpuset.Of(i)})
		}
		return grants
	}
	n := &admission.Node{CPUManager: cpumanager.Config{Policy: cpumanager.PolicyStatic}}
	for _, test := range []struct {
		grants []admission.Grant
		want   bool
	}{
		{nil, false},
		{grant("compute"), false},
		{grant("compute", "second"), true},
		{grant("second", "compute", "other"), true},
		{[]admission.Grant{{Container: "compute"}, {Container: "second"}}, false},
	} {
		if got := Covers(&nodereport.Report{Node: n, Granted: map[types.UID][]admission.Grant{"a": test.grants}}, "a", &d.Pod); got != test.want {
			t.Errorf("%v covers compute and second: %t", test.grants, got)
		}
	}
}

func TestUIDOnNode(t *testing.T) {
	for annotation, want := range map[string]string{"": "api", "hash": "hash"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "api", Annotations: map[string]string{"kubernetes.io/config.mirror": annotation}}}
		if got := UIDOnNode(pod); string(got) != want {
			t.Errorf("annotation %q: %s, want %s", annotation, got, want)
		}
	}
}

func TestLabelled(t *testing.T) {
	for label, want := range map[string]bool{
		"cpumanager=true": true, "kubevirt.io/cpumanager=true": true, "cpumanager=false": false, "cpumanager=": false, "other=true": false,
	} {
		key, value, _ := strings.Cut(label, "=")
		if got := Labelled(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{key: value}}}); got != want {
			t.Errorf("%s: %t", label, got)
		}
	}
}

func TestWithout(t *testing.T) {
	n := New(nodeObject(), reportOf(t, map[string]string{"a": "1,9", "b": "2,10"}), podsOf([]*corev1.Pod{vm("a", "2"), vm("b", "2"), vm("c", "2")}))
	n.Amounts.Requested = 6600
	n.Pods[1].Millicores = 2200
	after := n.Without(1, 2)
	if len(after.Pods) != 1 || after.Pods[0].UID != "a" || after.Amounts.Requested != 4400 {
		t.Errorf("pods %v, requested %d", after.Pods, after.Amounts.Requested)
	}
	if got := after.Kubelet.Shared.Minus(n.Kubelet.Shared); got != cpuset.Of(2, 10) || len(n.Pods) != 3 {
		t.Errorf("freed %s; %d pods on the node itself", got, len(n.Pods))
	}
}
