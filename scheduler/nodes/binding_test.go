// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// A pod has its place and waits for a volume. What happens meanwhile decides whether it is bound.
func TestBinding(t *testing.T) {
	waiting := with(vm("waiting", "8"), assumed)
	leaver := vm("leaver", "2")
	other := vm("other", "6")
	for name, test := range map[string]struct {
		// story is what happens, on a node with a pod that has 1 and 9. It returns the pods that are bound to the node then.
		story func(v *View) []*corev1.Pod
		// asked reports whether the pod is judged again.
		asked bool
		want  verdict.Obstacle
	}{
		"nothing": {story: func(*View) []*corev1.Pod { return nil }},
		"another has left": {
			story: func(v *View) []*corev1.Pod { v.Left("n1", leaver); return nil }, asked: true,
		},
		"another has left, as a NodeInfo shows": {
			story: func(v *View) []*corev1.Pod { v.predict(demand(vm("any", "2")), nodeInfo(waiting)); return nil }, asked: true,
		},
		"the report has another no longer": {
			story: func(v *View) []*corev1.Pod { v.Set("n1", reportOf(t, nil)); return []*corev1.Pod{leaver} }, asked: true,
		},
		"one has left, and another scheduler has bound one": {
			story: func(v *View) []*corev1.Pod { v.Left("n1", leaver); return []*corev1.Pod{other} }, asked: true, want: verdict.InFlight,
		},
		"one has left, and a report shows another in its place": {
			story: func(v *View) []*corev1.Pod {
				v.Left("n1", leaver)
				v.Set("n1", reportOf(t, grants{"other": compute("4-6,12-14")}))
				return []*corev1.Pod{other}
			}, asked: true, want: verdict.Kubelet,
		},
		"the report is deleted": {
			story: func(v *View) []*corev1.Pod { v.Delete("n1"); return nil }, asked: true, want: verdict.Report,
		},
		"the report is deleted and written again": {
			story: func(v *View) []*corev1.Pod {
				v.Delete("n1")
				v.Set("n1", reportOf(t, grants{"leaver": compute("1,9")}))
				return []*corev1.Pod{leaver}
			}, asked: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newView()
			v.list()
			v.Set("n1", reportOf(t, grants{"leaver": compute("1,9")}))
			d := demand(waiting)
			if p := v.predict(d, nodeInfo(leaver)); !p.Fits() {
				t.Fatal(p.Why)
			}
			v.Assumed("n1", waiting, &d.Pod)
			bound := test.story(v)
			asked := false
			got := verdict.None
			refused := v.Binding(nodeInfo().Node(), func() []*corev1.Pod { asked = true; return bound }, waiting.UID, d)
			if refused != nil {
				got = refused.Obstacle
			}
			if asked != test.asked || got != test.want || refused != nil && refused.Fits() && refused.State == nodereport.Exact {
				t.Errorf("judged again: %t, want %t; obstacle %q, want %q", asked, test.asked, got, test.want)
			}
		})
	}
}

// A report that is deleted takes nothing away of what is known of the pods: the kubelet has heard of this one.
func TestADeletedReportForgetsNoBinding(t *testing.T) {
	v := newView()
	report := reportOf(t, grants{"a": compute("3,11"), "b": compute("4,12")})
	v.Set("n1", report)
	bound := with(vm("bound", "6"), assumed) // the informer has not shown it yet
	d := demand(bound)
	v.predict(d, nodeInfo(vm("a", "2"), vm("b", "2")))
	v.Assumed("n1", bound, &d.Pod)
	v.Bound("n1", bound.UID)
	v.predict(d, nodeInfo(vm("a", "2"), vm("b", "2"), bound))
	v.Delete("n1")
	v.Set("n1", report)
	v.Left("n1", vm("a", "2"))
	v.Left("n1", vm("b", "2"))
	if got := v.predict(demand(vm("new", "8")), nodeInfo(bound)); got.Obstacle != verdict.InFlight {
		t.Errorf("nobody knows where the pod in flight is, and the obstacle is %q", got.Obstacle)
	}
}

// bind binds a pod, if its place still holds. The informer may show that later.
func (c *town) bind(pod *corev1.Pod) bool {
	if c.view.Binding(c.info().Node(), c.shown, pod.UID, demand(pod)) != nil {
		c.changed++
		c.view.Unbound("n1", pod)
		delete(c.known, pod.Name)
		c.again = append(c.again, pod)
		c.tries[pod.UID]++
		if c.tries[pod.UID] > 3 {
			c.t.Fatalf("pod %s was accepted and not bound %d times", pod.Name, c.tries[pod.UID])
		}
		return false
	}
	c.binds++
	c.excused[pod.UID] = c.excused[pod.UID] || c.uncertain()
	c.view.Bound("n1", pod.UID)
	c.came[pod.UID] = c.ends
	c.bound = append(c.bound, pod)
	if c.random.IntN(2) == 0 {
		c.showBinding(pod)
	}
	return true
}

// showBinding lets the informer see that a pod is bound.
func (c *town) showBinding(pod *corev1.Pod) {
	c.known[pod.Name] = with(pod.DeepCopy(), func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	})
}

// showBound lets the informer catch up with all bindings.
func (c *town) showBound() {
	for _, pod := range c.known {
		if !slices.Contains(c.waiting, pod) && verdict.Unheard(pod) && pod.Status.Phase != corev1.PodFailed {
			c.showBinding(pod)
		}
	}
}

// shown are the pods that the informer shows as bound.
func (c *town) shown() []*corev1.Pod {
	return slices.DeleteFunc(slices.Collect(mapsValues(c.known)), verdict.Unheard)
}

// retry is that a pod which was not bound, since its place had changed, is tried again.
func (c *town) retry() {
	if len(c.again) == 0 {
		return
	}
	pod := c.again[0]
	c.again = c.again[1:]
	if c.schedule(pod) {
		c.rebound++
	}
}
