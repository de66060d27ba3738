package difftest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

// TestShrink makes the kubelet lie in one case, and asks for the text that a person would get to read: no
// more than that case takes, and one that fails again when it is read back.
func (k Kubelet) TestShrink(t *testing.T) {
	lying := k
	lying.Start = func(c Config) (Oracle, error) {
		honest, err := k.Start(c)
		return &liar{Oracle: honest}, err
	}
	h := hunt{kubelet: lying, seed: 1}
	seed, found := h.run(false, 5000)
	if !found {
		t.Fatal("the lie was not found")
	}
	before := newDice(seed).scenario(false)
	small, bad := lying.shrink(before)
	again, err := parseScenario(small.String())
	if err != nil || bad == nil {
		t.Fatalf("mismatch %v, error %v, in\n%s", bad, err, small)
	}
	if worse, _ := lying.run(again, unseen); worse == nil {
		t.Errorf("no mismatch when it is read back:\n%s", small)
	}
	if right, _ := k.run(again, unseen); right != nil {
		t.Errorf("a mismatch without the lie: %s in\n%s", right.text, small)
	}
	last := small.steps[len(small.steps)-1]
	if len(small.steps) != 2 || len(small.cpuOptions)+len(small.topologyOptions) != 0 || len(last.wants) != 1 || last.wants[0].CPUs != lieFrom {
		t.Errorf("seed %d, %d steps, was shrunk to this only:\n%s", seed, len(before.steps), small)
	}
	t.Logf("seed %d, %d steps, shrunk to\n%s\n%s", seed, len(before.steps), small, bad.text)
}

// lieFrom is how many CPUs a pod asks for of which a liar tells another message.
const lieFrom = 3

// liar is a kubelet that tells something else of the second and every later pod that is admitted with that many
// CPUs or more.
type liar struct {
	Oracle
	admitted int
}

func (l *liar) Add(pod *corev1.Pod) kubeletcpu.Decision {
	d := l.Oracle.Add(pod)
	if d.Verdict != kubeletcpu.Admitted {
		return d
	}
	if l.admitted++; l.admitted > 1 && d.Granted().Len() >= lieFrom {
		d.Message = "a lie"
	}
	return d
}
