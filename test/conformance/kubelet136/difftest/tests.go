// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"embed"
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/go-logr/logr"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
)

//go:embed testdata/*.txt
var testdata embed.FS

// Main is for the TestMain of a package that tests a Kubelet.
func Main(m *testing.M) {
	klog.SetLogger(logr.Discard())
	debug.SetGCPercent(400) // The kubelet's hints are all garbage.
	// The kubelet's alpha options are behind a gate; nothing else depends on it.
	if err := utilfeature.DefaultMutableFeatureGate.Set("CPUManagerPolicyAlphaOptions=true"); err != nil {
		fmt.Fprintln(os.Stderr, "setting the kubelet's feature gate:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestRandom compares both sides step by step in scenarios that are made up.
func (k Kubelet) TestRandom(t *testing.T) {
	p := *asked
	if p.podLevel < 0 || p.podLevel > 100 {
		t.Fatalf("-podlevel is %d; want 0 to 100", p.podLevel)
	}
	if p.seed == 0 {
		p.seed = uint64(time.Now().UnixNano())
	}
	if k.Minor < firstPodLevel {
		p.podLevel = 0
	}
	h := hunt{kubelet: k, seed: p.seed, began: time.Now()}
	if failed, found := h.follow(p); found {
		small, bad := k.shrink(newDice(failed.seed).scenario(failed.podLevel > 0))
		if bad == nil {
			t.Fatalf("seed %d: the two sides differed once, and not again", failed.seed)
		}
		t.Fatalf("seed %d: at the end of this scenario\n\n%s\n%s\n\nonce more:\n%s", failed.seed, small, bad.text, k.command(failed))
	}
	t.Logf("kubelet 1.%d: %d steps, seeds %d to %d, 0 mismatches\n%s", k.Minor, h.seen.admissions, p.seed, h.seed-1, &h.seen)
	missing := h.seen.missing(k.Minor >= firstPodLevel)
	if len(missing) > 0 && p.steps >= 20_000 && (p.podLevel == podLevelShare || k.Minor < firstPodLevel) {
		t.Errorf("never met: %q", missing)
	}
}

// TestFiles holds both sides to the scenarios in testdata.
func (k Kubelet) TestFiles(t *testing.T) {
	files, err := testdata.ReadDir("testdata")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding scenarios in testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(file.Name(), func(t *testing.T) {
			text, err := testdata.ReadFile("testdata/" + file.Name())
			if err != nil {
				t.Fatal(err)
			}
			s, err := parseScenario(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if s.podLevel && k.Minor < firstPodLevel {
				t.Skipf("kubelet 1.%d has no gate %s", k.Minor, podLevelGate)
			}
			bad, notStarted := k.run(s, unseen)
			if notStarted != nil {
				t.Fatalf("the kubelet does not start: %v", notStarted)
			}
			if bad != nil {
				t.Errorf("at step %d, %s\n%s", bad.step+1, s.steps[max(0, bad.step)], bad.text)
			}
		})
	}
}
