// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// drawn are the first faults by a seed, in words.
func drawn(seed uint64) []string {
	w := &world{names: []string{"a", "b", "c"}}
	source := rand.New(rand.NewPCG(seed, 1))
	var all []string
	for range 200 {
		f, gap := w.draw(source)
		all = append(all, fmt.Sprint(f.kind, f.target, f.length, gap))
	}
	return all
}

func TestTheSeedDecides(t *testing.T) {
	if !slices.Equal(drawn(1), drawn(1)) {
		t.Error("one seed draws different faults")
	}
	if slices.Equal(drawn(1), drawn(2)) {
		t.Error("two seeds draw the same faults")
	}
	w := &world{names: []string{"a"}}
	all := strings.Join(drawn(1), " ")
	for _, kind := range w.kinds() {
		if f := kind(rand.New(rand.NewPCG(1, 1))); !strings.Contains(all, f.kind) {
			t.Errorf("%s is not drawn in 200 faults", f.kind)
		}
	}
}

// Each invariant can be seen not to hold.
func TestTheInvariantsCanFail(t *testing.T) {
	entries := func(cpus ...string) map[string]map[string]string {
		all := map[string]map[string]string{}
		for i, list := range cpus {
			all[fmt.Sprint("pod", i)] = map[string]string{"compute": list}
		}
		return all
	}
	for name, tc := range map[string]struct {
		c     checkpoint
		holds bool
	}{
		"nothing granted": {checkpoint{Shared: "0-7"}, true},
		"each its own":    {checkpoint{Shared: "0-3", Entries: entries("4,5", "6-7")}, true},
		"two on one":      {checkpoint{Shared: "0-3", Entries: entries("4,5", "5-7")}, false},
		"in the pool too": {checkpoint{Shared: "0-4", Entries: entries("4,5")}, false},
		"no list":         {checkpoint{Shared: "0-4", Entries: entries("x")}, false},
	} {
		if err := tc.c.twice(); (err == nil) != tc.holds {
			t.Errorf("%s: %v", name, err)
		}
	}
	pod := func(node string, cpus string, phase corev1.PodPhase) corev1.Pod {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus)}
		p := corev1.Pod{Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: list}}}}}
		p.Status.Phase = phase
		return p
	}
	got := promises([]corev1.Pod{pod("n", "2", corev1.PodRunning), pod("n", "4", corev1.PodPending), pod("n", "8", corev1.PodFailed), pod("", "16", corev1.PodPending)})
	if len(got) != 1 || got["n"] != 6 {
		t.Errorf("promised %v, want 6 on n", got)
	}
	w := newWatch([]string{"n"})
	before := figure{goroutines: 70, descriptors: 12, rss: 40 << 20}
	compareFigures(w, figures{"a": before}, figures{"a": before})
	if len(w.violations) != 0 {
		t.Errorf("%q of figures that are the same", w.violations)
	}
	for _, after := range []figure{{170, 12, 40 << 20}, {70, 40, 40 << 20}, {70, 12, 400 << 20}} {
		compareFigures(w, figures{"a": before}, figures{"a": after})
	}
	if len(w.violations) != 3 {
		t.Errorf("%q, want a violation each for goroutines, descriptors and memory", w.violations)
	}
}

func TestAnnounced(t *testing.T) {
	const named = "started again, the kubelet will fail 1 pods that run: vms/a (SMTAlignmentError)"
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	for name, tc := range map[string]struct {
		said string
		want bool
	}{
		"named":          {named, true},
		"another":        {strings.Replace(named, "vms/a", "vms/ab", 1), false},
		"among others":   {strings.Replace(named, "vms/a", "vms/ab", 1) + " and 3 others", true},
		"nothing at all": {"", false},
	} {
		if got := (start{said: tc.said}).announced(pod); got != tc.want {
			t.Errorf("%s: announced: %t, want %t", name, got, tc.want)
		}
	}
}

func TestSince(t *testing.T) {
	now := time.Now()
	starts := []start{{at: now.Add(-time.Second)}, {at: now.Add(-5 * time.Minute)}, {at: now.Add(-time.Hour)}}
	for name, tc := range map[string]struct {
		ran  time.Time
		want int
	}{
		"it never ran":          {time.Time{}, 0},
		"it ran until the last": {now.Add(-2 * time.Second), 1},
		"it is still shown as running after the last": {now, 1},
		"it ran until the last but one":               {now.Add(-301 * time.Second), 2},
	} {
		if got := since(starts, tc.ran); len(got) != tc.want {
			t.Errorf("%s: %d starts, want %d", name, len(got), tc.want)
		}
	}
}

func TestLeftovers(t *testing.T) {
	c := checkpoint{Entries: map[string]map[string]string{"runs": {"compute": "1,5"}, "ended": {"compute": "2,6"}, "gone": {"compute": "3,7"}}}
	pods := []corev1.Pod{{}, {}}
	pods[0].UID = "runs"
	pods[1].UID = "ended"
	pods[1].Status.Phase = corev1.PodFailed
	left := c.leftBy(pods)
	slices.Sort(left)
	if want := []string{"ended map[compute:2,6]", "gone map[compute:3,7]"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	started := time.Now()
	for name, tc := range map[string]struct {
		bound time.Time
		want  bool
	}{
		"just before": {started.Add(-time.Second), true},
		"long before": {started.Add(-time.Hour), false},
		"after":       {started.Add(time.Second), false},
	} {
		pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(tc.bound)}}}}
		if got := boundBefore(pod, started); got != tc.want {
			t.Errorf("bound %s: %t, want %t", name, got, tc.want)
		}
	}
}

func TestIsReported(t *testing.T) {
	written := checkpoint{Shared: "0,3-7", Entries: map[string]map[string]string{"a": {"compute": "1"}, "b": {"compute": "2"}}}
	granted := func(uids ...types.UID) []v1alpha1.PodGrant {
		var pods []v1alpha1.PodGrant
		for _, uid := range uids {
			pods = append(pods, v1alpha1.PodGrant{PodUID: uid})
		}
		return pods
	}
	for name, tc := range map[string]struct {
		status v1alpha1.NodeCPUStatus
		want   bool
	}{
		"the same":         {v1alpha1.NodeCPUStatus{SharedCPUs: "0,3-7", Granted: granted("b", "a")}, true},
		"another pool":     {v1alpha1.NodeCPUStatus{SharedCPUs: "0,4-7", Granted: granted("b", "a")}, false},
		"a grant is new":   {v1alpha1.NodeCPUStatus{SharedCPUs: "0,3-7", Granted: granted("b")}, false},
		"a pod has ended":  {v1alpha1.NodeCPUStatus{SharedCPUs: "0,3-7", Granted: granted("a", "b", "c")}, false},
		"another pod":      {v1alpha1.NodeCPUStatus{SharedCPUs: "0,3-7", Granted: granted("a", "c")}, false},
		"nothing reported": {v1alpha1.NodeCPUStatus{}, false},
	} {
		if got := written.isReported(&tc.status); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
