// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// interruptible is a kubelet whose CPU manager's state can be left as if the kubelet had stopped between two writes.
type interruptible interface {
	// Forget removes what a container holds, and gives it to nobody.
	Forget(pod *corev1.Pod, container string)
	// Share adds CPUs to the shared pool.
	Share(cpuset.Set)
}

// firstRestoring is the first minor that looks at what a pod with CPUs as a whole holds when it starts again.
const firstRestoring = 38

// TestInterrupted stops a kubelet while it divides the CPUs of a pod, or while it gives them back, and starts it again.
func (k Kubelet) TestInterrupted(t *testing.T) {
	if k.Minor < firstRestoring {
		t.Fatalf("kubelet 1.%d does not restore such pods", k.Minor)
	}
	seen := map[string]int{}
	for _, policy := range []string{"best-effort", "restricted", "single-numa-node"} {
		for _, options := range []string{"", "full-pcpus-only", "distribute-cpus-across-numa"} {
			for _, want := range []string{"8: init a 2, sidecar b 2, c 2, d shared", "4: init a 4, sidecar b 2, c 2, d 2", "6: a 2, b 2, c 1, d 1"} {
				s, err := parseScenario(fmt.Sprintf("machine 2 sockets x 1 numa x 8 cores x 2 threads\ncpu-manager %s\n"+
					"topology-manager %s pod\nreserved 0,16\nPodLevelResourceManagers\nadd other: x 4\nadd vm pod-level %s", options, policy, want))
				if err != nil {
					t.Fatal(err)
				}
				for forgotten := range 1 << 4 {
					seen[k.interrupt(t, s, forgotten, false)]++
				}
				seen[k.interrupt(t, s, 1<<4-1, true)]++
			}
		}
	}
	for _, row := range []string{"keeps them", "gets others"} {
		if seen[row] < 20 {
			t.Errorf("%s: met %d times only", row, seen[row])
		}
	}
	t.Logf("kubelet 1.%d: %v", k.Minor, seen)
}

// interrupt lets a kubelet admit the two pods of a scenario, and the first one leaves. The second loses what some of its
// containers hold, by bit. With shared its CPUs are in the shared pool besides. It returns what becomes of these CPUs.
func (k Kubelet) interrupt(t *testing.T, s scenario, forgotten int, shared bool) string {
	n, err := s.node(k.Minor)
	if err == nil {
		err = setGate(true)
	}
	if err != nil {
		t.Fatal(err)
	}
	kubelet, err := k.Start(s.config())
	if err != nil {
		t.Fatal(err)
	}
	defer kubelet.Close()
	var other, pod *corev1.Pod
	var p admission.Pod
	var before, d admission.Decision
	for i, step := range s.steps {
		other = pod
		before = d
		pod = step.spec(i)
		p = admission.PodOf(pod)
		d, *n = n.Admitting(&p)
		if text := differ(kubelet.Add(pod), d); text != "" {
			t.Fatalf("%s%s", s, text)
		}
	}
	kubelet.Remove(other) // so that there are better CPUs
	*n = n.Releasing(before.Grants, &admission.Held{})
	if d.Verdict != admission.Admitted {
		return "never had any"
	}
	state := kubelet.(interruptible)
	held := []admission.Grant{d.Grants[0]}
	for i, c := range p.Containers {
		if forgotten>>i&1 != 0 {
			state.Forget(pod, c.Name)
			continue
		}
		held = append(held, d.Grants[1+i])
	}
	if shared {
		state.Share(held[0].CPUs)
		n.Shared = n.Shared.Union(held[0].CPUs)
	}
	err = kubelet.Restart(false)
	if err != nil {
		t.Fatalf("%sforgotten %b, shared %t: the kubelet does not start: %v", s, forgotten, shared, err)
	}
	again := admission.Readmit(n, &p, held, &admission.Held{})
	text := differ(kubelet.Add(pod), again)
	if text != "" {
		t.Errorf("%sforgotten %b, shared %t: %s", s, forgotten, shared, text)
	}
	switch {
	case again.Verdict != admission.Admitted:
		return "loses them"
	case again.Grants[0].CPUs == held[0].CPUs:
		return "keeps them"
	}
	return "gets others"
}
