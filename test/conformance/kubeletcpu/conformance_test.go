package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/kubeletcpu"
)

var (
	steps = flag.Int("steps", 3000, "admissions to compare")
	seed  = flag.Uint64("seed", 1, "seed of the first scenario; 0 takes one from the clock")
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	// The kubelet's alpha options are behind a gate; nothing else depends on it.
	if err := utilfeature.DefaultMutableFeatureGate.Set("CPUManagerPolicyAlphaOptions=true"); err != nil {
		fmt.Fprintln(os.Stderr, "setting the kubelet's feature gate:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestRandomScenarios(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", first)
	var seen coverage
	at := first
	defer func() {
		if r := recover(); r != nil {
			t.Logf("seed %d panics", at)
			panic(r)
		}
	}()
	for ; seen.admissions < *steps; at++ {
		s := newDice(at).scenario()
		bad, notStarted := run(s, seen.count)
		seen.scenarios++
		if notStarted != nil {
			seen.notStarted++
		}
		if bad != nil {
			small, bad := shrink(s)
			t.Fatalf("seed %d: at the end of this scenario\n\n%s\n%s", at, small, bad.text)
		}
	}
	t.Logf("coverage\n%s", &seen)
	if missing := seen.missing(); len(missing) > 0 && *steps >= 3000 {
		t.Errorf("never met: %q", missing)
	}
}

// TestScenarios holds both sides to the files in testdata.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding scenarios in testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := parseScenario(string(text))
			if err != nil {
				t.Fatal(err)
			}
			bad, notStarted := run(s, func(scenario, kubeletcpu.Pod, kubeletcpu.Decision) {})
			if notStarted != nil {
				t.Fatalf("the kubelet does not start: %v", notStarted)
			}
			if bad != nil {
				t.Errorf("at step %d, %s\n%s", bad.step+1, s.steps[max(0, bad.step)], bad.text)
			}
		})
	}
}

// TestScenarioText makes sure that what is printed of a failure can be read back.
func TestScenarioText(t *testing.T) {
	for at := range uint64(200) {
		text := newDice(at).scenario().String()
		again, err := parseScenario(text)
		if err != nil {
			t.Fatalf("seed %d: %v in\n%s", at, err, text)
		}
		if again.String() != text {
			t.Fatalf("seed %d: printed\n%s\nread back as\n%s", at, text, again)
		}
	}
}
