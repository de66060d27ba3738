// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/placement"
)

// A node with every obstacle: each is removed in turn, and the next one in the order shows.
func TestTheOrderOfQuestions(t *testing.T) {
	report := reportOf(t, map[string]string{"a": "4-7,12-15"})
	report.Node.Minor = 20
	n := New(nodeObject(), report, podsOf([]*corev1.Pod{vm("a", "8"), vm("b", "6"), vm("c", "6")}))
	n.Excluded = "has taint x"
	n.Labelled = false
	n.Amounts = Amounts{Allocatable: 16000, Requested: 15000, Counting: CountedAlways}
	n.State = nodereport.Missing
	d := DemandOf(vm("new", "6"))
	d.Dedicated = true
	d.NeedsLabel = true
	d.Guest = &placement.Guest{VCPUs: 6, IsolateEmulator: true}
	d.Compute = "compute"
	for _, step := range []struct {
		want   Obstacle
		remove func()
	}{
		{Excluded, func() { n.Excluded = "" }},
		{Label, func() { n.Labelled = true }},
		{Counted, func() { n.Amounts.Requested = 100 }},
		{Report, func() { n.State = nodereport.NoCPUManager }},
		{Manager, func() { n.State = nodereport.Exact }},
		{Inexact, func() { n.Kubelet.Minor = 36 }},
		{InFlight, func() { n.Pods = n.Pods[:1] }},
		{Guest, func() { d.Guest.IsolateEmulator = false }},
		{None, func() { n = n.Without(); n.Kubelet.Shared = cpuset.Of(0, 1, 8, 9) }},
		{Kubelet, func() {}},
	} {
		v := Of(&n, &d)
		if v.Obstacle != step.want || v.Fits() != (step.want == None) {
			t.Fatalf("obstacle %q (%s), want %q", v.Obstacle, v.Why, step.want)
		}
		step.remove()
	}
}

// What an unknown kubelet means for a dedicated VM, with and without estimates, and for another pod.
func TestUnknownKubelets(t *testing.T) {
	for state, want := range map[nodereport.State]struct{ refuse, estimate, other Obstacle }{
		nodereport.Missing:      {Report, None, None},
		nodereport.Unlisted:     {Report, None, None},
		nodereport.Starting:     {Report, Report, Report},
		nodereport.Replaced:     {Report, None, None},
		nodereport.Newer:        {Report, None, None},
		nodereport.Unreadable:   {Report, None, None},
		nodereport.NoCPUManager: {Manager, Manager, None},
		nodereport.Inexact:      {Inexact, None, None},
	} {
		for _, test := range []struct {
			dedicated, estimate bool
			want                Obstacle
		}{{true, false, want.refuse}, {true, true, want.estimate}, {false, false, want.other}} {
			d := DemandOf(vm("new", "2"))
			d.Dedicated = test.dedicated
			d.Estimate = test.estimate
			n := Node{State: state}
			v := Of(&n, &d)
			if v.Obstacle != test.want || v.State != state {
				t.Errorf("%s, dedicated %t, estimate %t: %q, want %q", state, test.dedicated, test.estimate, v.Obstacle, test.want)
			}
			if v.Estimated() != (v.Fits() && state != nodereport.NoCPUManager) {
				t.Errorf("%s: fits %t, estimated %t", state, v.Fits(), v.Estimated())
			}
		}
	}
}

func TestAmounts(t *testing.T) {
	for name, test := range map[string]struct {
		cpus      string
		requested int64
		counting  Counting
		state     nodereport.State
		dedicated bool
		want      Obstacle
		evictable bool
		missing   int64
	}{
		"enough":                            {cpus: "8", counting: CountedAlways, state: nodereport.Exact, dedicated: true},
		"the sidecar takes a CPU":           {cpus: "16", counting: CountedAlways, state: nodereport.Missing, dedicated: true, want: Counted, missing: 200},
		"other pods take it":                {cpus: "8", requested: 8200, counting: CountedAlways, state: nodereport.Exact, dedicated: true, want: Counted, evictable: true, missing: 400},
		"not counted":                       {cpus: "8", requested: 16000, state: nodereport.Exact, dedicated: true},
		"counted elsewhere":                 {cpus: "8", requested: 16000, counting: CountedIfEstimated, state: nodereport.Exact, dedicated: true},
		"counted here, for estimates":       {cpus: "8", requested: 16000, counting: CountedIfEstimated, state: nodereport.Missing, dedicated: true, want: Counted, evictable: true, missing: 8200},
		"estimates are for VMs":             {cpus: "8", requested: 16000, counting: CountedIfEstimated, state: nodereport.Missing},
		"no estimate without a CPU manager": {cpus: "8", requested: 16000, counting: CountedIfEstimated, state: nodereport.NoCPUManager, dedicated: true, want: Manager},
	} {
		n := New(nodeObject(), reportOf(t, nil), nil)
		n.State = test.state
		n.Amounts = Amounts{Allocatable: 16000, Requested: test.requested, Counting: test.counting}
		d := DemandOf(vm("new", test.cpus))
		d.Dedicated = test.dedicated
		d.Estimate = true
		v := Of(&n, &d)
		if v.Obstacle != test.want || v.Evictable != test.evictable || v.Missing != test.missing {
			t.Errorf("%s: %q, evictable %t, %dm missing", name, v.Obstacle, v.Evictable, v.Missing)
		}
	}
}

func TestEvictable(t *testing.T) {
	other := map[string]string{"a": "4-7,12-15"}
	for name, test := range map[string]struct {
		granted map[string]string
		cpus    string
		guest   *placement.Guest
		want    Obstacle
		err     error
		evict   bool
	}{
		"fits":                                   {cpus: "8"},
		"occupied":                               {granted: other, cpus: "8", want: Kubelet, evict: true},
		"too small":                              {cpus: "10", want: Kubelet},
		"the guest needs one CPU more":           {cpus: "8", guest: &placement.Guest{VCPUs: 8, IsolateEmulator: true}, want: Guest, err: placement.ErrTooFew},
		"the guest's cores fit":                  {cpus: "8", guest: &placement.Guest{VCPUs: 8, ThreadsPerCore: 2}},
		"the guest's cores never do":             {cpus: "6", guest: &placement.Guest{VCPUs: 6, ThreadsPerCore: 4}, want: Guest, err: placement.ErrSplitsCore},
		"another container's CPUs do not matter": {cpus: "8"},
	} {
		n := New(nodeObject(), reportOf(t, test.granted), podsOf([]*corev1.Pod{vm("a", "8")})[:len(test.granted)])
		d := DemandOf(vm("new", test.cpus))
		d.Guest = test.guest
		d.Compute = "compute"
		v := Of(&n, &d)
		if v.Obstacle != test.want || v.Evictable != test.evict || !errors.Is(v.Guest, test.err) {
			t.Errorf("%s: %q (%s), evictable %t", name, v.Obstacle, v.Why, v.Evictable)
		}
	}
}

// The guest must be satisfied in every order of the pods in flight.
func TestGuestInEveryOrder(t *testing.T) {
	n := New(nodeObject(), reportOf(t, nil), podsOf([]*corev1.Pod{vm("a", "2")}))
	d := DemandOf(vm("new", "4"))
	d.Compute = "compute"
	d.Guest = &placement.Guest{VCPUs: 4, ThreadsPerCore: 2}
	if v := Of(&n, &d); v.Obstacle != None || len(v.Decision.Alternatives) != 2 {
		t.Errorf("%q, %d alternatives", v.Obstacle, len(v.Decision.Alternatives))
	}
	d.Guest.VCPUs = 5
	d.Guest.ThreadsPerCore = 1
	if v := Of(&n, &d); v.Obstacle != Guest || v.Evictable {
		t.Errorf("five vCPUs on four CPUs: %q, evictable %t", v.Obstacle, v.Evictable)
	}
}

// A pod in flight whose own CPUs are not known leaves the answer open, unless nothing could help.
func TestDoubtfulPods(t *testing.T) {
	for cpus, want := range map[string]Obstacle{"8": InFlight, "10": Kubelet} {
		pods := podsOf([]*corev1.Pod{vm("a", "2")})
		pods[0].Doubtful = true
		n := New(nodeObject(), reportOf(t, nil), pods)
		d := DemandOf(vm("new", cpus))
		if v := Of(&n, &d); v.Obstacle != want || v.Decision.Verdict == admission.Admitted {
			t.Errorf("%s CPUs: %q, want %q", cpus, v.Obstacle, want)
		}
	}
	pods := podsOf([]*corev1.Pod{vm("a", "2")})
	pods[0].Doubtful = true
	n := New(nodeObject(), reportOf(t, map[string]string{"a": "1,9"}), pods)
	if d := DemandOf(vm("new", "8")); !new(Of(&n, &d)).Fits() {
		t.Error("the report has the pod, so its CPUs are known")
	}
}

// Where memory or devices are not known, what the CPU manager and the topology manager refuse on CPUs alone is certain, and all
// else is not.
func TestCertainOnCPUsAlone(t *testing.T) {
	static := func(n *admission.Node) { n.MemoryManager = "Static" }
	asking := func(device string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources.Limits[corev1.ResourceName(device)] = resource.MustParse("1")
		}
	}
	second := func(cpus string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.Containers = append(pod.Spec.Containers, container("second", cpus)) }
	}
	for name, test := range map[string]struct {
		node     func(*admission.Node)
		pod      *corev1.Pod
		inFlight []*corev1.Pod
		want     Obstacle
		reason   string
	}{
		"half a core":                    {node: static, pod: vm("new", "3"), want: Kubelet, reason: admission.ReasonSMTAlignment},
		"more than a NUMA node has":      {node: static, pod: vm("new", "10"), want: Kubelet, reason: admission.ReasonTopologyAffinity},
		"what fits on CPUs":              {node: static, pod: vm("new", "8"), want: Inexact},
		"half a core, with a device":     {node: func(*admission.Node) {}, pod: vm("new", "3", asking("intel.com/vf")), want: Kubelet, reason: admission.ReasonSMTAlignment},
		"a device whose node is unknown": {node: func(*admission.Node) {}, pod: vm("new", "2", asking("intel.com/vf")), want: Inexact},
		"a second container of half a core": {
			node: static, pod: vm("new", "2", second("3")), want: Kubelet, reason: admission.ReasonSMTAlignment,
		},
		"a second container that fits if the first one is elsewhere": { // alone the first one goes to NUMA node 0
			node: static, pod: vm("new", "6", second("6")), want: Inexact,
		},
		"two that do not fit on one NUMA node under scope pod": {
			node: func(n *admission.Node) {
				static(n)
				n.TopologyManager.Scope = topologymanager.ScopePod
			},
			pod: vm("new", "6", second("6")), want: Kubelet, reason: admission.ReasonTopologyAffinity,
		},
		"a pod in flight that takes the rest": {
			node: static, pod: vm("new", "8"), inFlight: []*corev1.Pod{vm("a", "8")}, want: Inexact,
		},
		"a kubelet that is not known": {node: func(n *admission.Node) {
			static(n)
			n.Minor = 20
		}, pod: vm("new", "3"), want: Inexact},
	} {
		report := reportOf(t, nil)
		test.node(report.Node)
		n := New(nodeObject(), report, podsOf(test.inFlight))
		d := DemandOf(test.pod)
		d.Dedicated = true
		v := Of(&n, &d)
		if v.Obstacle != test.want || v.Decision.Reason != test.reason {
			t.Errorf("%s: obstacle %q (%s), reason %q; want %q, %q", name, v.Obstacle, v.Why, v.Decision.Reason, test.want, test.reason)
		}
		d.Dedicated = false
		v = Of(&n, &d)
		if v.Fits() != (test.want != Kubelet) {
			t.Errorf("%s: a pod that is no VM: obstacle %q", name, v.Obstacle)
		}
	}
}
