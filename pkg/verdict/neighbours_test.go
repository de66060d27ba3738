// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/nodereport"
)

func assumed(p *corev1.Pod) { p.Status.Conditions = nil }

func nominated(p *corev1.Pod) {
	assumed(p)
	p.Spec.NodeName = ""
	p.Status.NominatedNodeName = "n1"
}

func ending(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }

// Places are kept for pods that no kubelet has heard of. NUMA node 0 has 6 CPUs, NUMA node 1 has 8.
func TestPlacesAreKept(t *testing.T) {
	for name, test := range map[string]struct {
		granted map[string]string
		pods    []*corev1.Pod
		asks    string
		want    Obstacle
	}{
		"room beside one that is assumed":        {pods: []*corev1.Pod{vm("a", "8", assumed)}, asks: "6", want: None},
		"the room of one that is assumed":        {pods: []*corev1.Pod{vm("a", "8", assumed)}, asks: "8", want: Kept},
		"the room of one that is bound":          {pods: []*corev1.Pod{vm("a", "8")}, asks: "8", want: InFlight},
		"one of both":                            {pods: []*corev1.Pod{vm("a", "8"), vm("b", "6", assumed)}, asks: "2", want: InFlight},
		"assumed, while granted pods have gone":  {granted: map[string]string{"gone": "1-3,9-11"}, pods: []*corev1.Pod{vm("a", "2", assumed)}, asks: "8", want: None},
		"nothing is kept for who can never come": {pods: []*corev1.Pod{vm("a", "10", assumed)}, asks: "8", want: None},

		// v1 and v2 end on NUMA node 1, for vip. v1 has gone already.
		"what a victim has left": {granted: map[string]string{"v2": "6-7,14-15", "x": "1-2,9-10"},
			pods: []*corev1.Pod{vm("v2", "4", ending), vm("x", "4"), vm("vip", "8", nominated)}, asks: "4", want: Kept},
		"what is beside it": {granted: map[string]string{"v2": "6-7,14-15", "x": "1-2,9-10"},
			pods: []*corev1.Pod{vm("v2", "4", ending), vm("x", "4"), vm("vip", "8", nominated)}, asks: "2", want: None},
		"nobody is ending": {granted: map[string]string{"v2": "6-7,14-15", "x": "1-2,9-10"},
			pods: []*corev1.Pod{vm("v2", "4"), vm("x", "4"), vm("vip", "8", nominated)}, asks: "4", want: None},
		"the victims have gone": {granted: map[string]string{"x": "1-2,9-10"},
			pods: []*corev1.Pod{vm("x", "4"), vm("vip", "8", nominated)}, asks: "8", want: Kept},
	} {
		report := reportOf(t, test.granted)
		n := New(nodeObject(), report, podsOf(test.pods))
		d := DemandOf(vm("new", test.asks))
		if v := Of(&n, &d); v.Obstacle != test.want || v.Obstacle == Kept && !v.Evictable {
			t.Errorf("%s: %q (%s), want %q", name, v.Obstacle, v.Why, test.want)
		}
	}
}

// A kubelet 1.36 with full-pcpus-only fails running pods at its restart where fewer CPUs are free than one of them has.
func TestRestartSafety(t *testing.T) {
	for name, test := range map[string]struct {
		minor   int
		granted map[string]string
		pods    []*corev1.Pod
		asks    string
		lost    int
	}{
		"six of fourteen":            {minor: 36, asks: "6"},
		"eight of fourteen":          {minor: 36, asks: "8", lost: 1},
		"that is right in 1.37":      {minor: 37, asks: "8"},
		"the second VM loses both":   {minor: 36, granted: map[string]string{"a": "1-3,9-11"}, pods: []*corev1.Pod{vm("a", "6")}, asks: "6", lost: 2},
		"a small one is still safe":  {minor: 36, granted: map[string]string{"a": "1-3,9-11"}, pods: []*corev1.Pod{vm("a", "6")}, asks: "2"},
		"one in flight counts":       {minor: 36, pods: []*corev1.Pod{vm("a", "6")}, asks: "6", lost: 2},
		"one that is assumed counts": {minor: 36, pods: []*corev1.Pod{vm("a", "6", assumed)}, asks: "6", lost: 2},
	} {
		for _, safety := range []RestartSafety{RestartIgnored, RestartPreferred, RestartRequired} {
			report := reportOf(t, test.granted)
			report.Node.Minor = test.minor
			n := New(nodeObject(), report, podsOf(test.pods))
			d := DemandOf(vm("new", test.asks))
			d.Dedicated = true
			d.Restart = safety
			v := Of(&n, &d)
			want := None
			if test.lost > 0 && safety == RestartRequired {
				want = Restart
			}
			lost := test.lost
			if safety == RestartIgnored {
				lost = 0
			}
			if v.State != nodereport.Exact || v.Obstacle != want || v.LostAtRestart != lost {
				t.Errorf("%s, %d: %q (%s), %d lost; want %q, %d", name, safety, v.Obstacle, v.Why, v.LostAtRestart, want, lost)
			}
		}
	}
}
