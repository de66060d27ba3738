// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"corepin.dev/corepin/pkg/kubelet/admission"
)

// TestShrink makes the kubelet lie in one case, and checks the text that a person would read. It must be no longer than
// that case needs, and fail again when it is read back.
func (k Kubelet) TestShrink(t *testing.T) {
	lying := k
	lying.Start = func(c Config) (Oracle, error) {
		honest, err := k.Start(c)
		return &liar{Oracle: honest}, err
	}
	h := hunt{kubelet: lying, seed: 1}
	failed, found := h.run(false, 5000)
	if !found {
		t.Fatal("the lie was not found")
	}
	before := newDice(failed.seed).scenario(false)
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
		t.Errorf("seed %d, %d steps, was shrunk to this only:\n%s", failed.seed, len(before.steps), small)
	}
	t.Logf("seed %d, %d steps, shrunk to\n%s\n%s", failed.seed, len(before.steps), small, bad.text)
}

// TestCommand makes the kubelet lie where the gate PodLevelResourceManagers is on, and follows the flags of the command
// that is printed. They must find the same lie at once, and must not find it without the gate.
func (k Kubelet) TestCommand(t *testing.T) {
	lying := k
	lying.Start = func(c Config) (Oracle, error) {
		honest, err := k.Start(c)
		if utilfeature.DefaultFeatureGate.Enabled(podLevelGate) {
			honest = &liar{Oracle: honest}
		}
		return honest, err
	}
	find := func(p plan) (plan, bool) { return (&hunt{kubelet: lying, seed: p.seed}).follow(p) }
	found, ok := find(plan{steps: 1000, seed: 1, podLevel: 90})
	if !ok {
		t.Fatal("the lie was not found")
	}
	command := strings.Fields(k.command(found))
	var again plan
	flags := flag.NewFlagSet("again", flag.ContinueOnError)
	again.flags(flags)
	if err := flags.Parse(command[slices.Index(command, "-steps"):]); err != nil {
		t.Fatalf("%q: %v", command, err)
	}
	if once, ok := find(again); !ok || once != found {
		t.Errorf("%q finds %v, want %v", command, once, found)
	}
	again.podLevel = 0
	if once, ok := find(again); ok {
		t.Errorf("%v is found without the gate", once)
	}
	if here, err := os.Getwd(); err != nil || !strings.HasSuffix(here, k.Folder) {
		t.Errorf("%q is not for this folder, %s (%v)", command, here, err)
	}
}

// lieFrom is the number of CPUs from which on a liar gives another message.
const lieFrom = 3

// liar is a kubelet that gives another message for the second and every later pod that it admits with that many CPUs or
// more.
type liar struct {
	Oracle
	admitted int
}

func (l *liar) Add(pod *corev1.Pod) admission.Decision {
	d := l.Oracle.Add(pod)
	if d.Verdict != admission.Admitted {
		return d
	}
	if l.admitted++; l.admitted > 1 && d.Granted().Len() >= lieFrom {
		d.Message = "a lie"
	}
	return d
}
