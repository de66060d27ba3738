// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	testclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// story is a node in a text scenario. A line is an event, or begins with = and says which pods are doubtful after it:
//
//	restart            a view that begins
//	saw a b            a NodeInfo with these pods
//	run a              pod a runs from now on
//	assume a           the scheduler assumes pod a
//	bind a             it binds pod a
//	unbind a           it gives pod a up
//	left a             pod a has left for good
//	report a           a report that has these pods
//	wait 2m            time passes
//	= a b              these pods are doubtful in a NodeInfo with all pods of the last one; = alone is none
//	= kept a           and no report is waited for on account of these pods, whose places are kept
//	= out a            and these pods are not in flight any more
//	= unseen           the last report came after a pod that no report had
type story struct {
	t      *testing.T
	clock  *testclock.FakeClock
	u      uncertainty
	pods   map[string]*corev1.Pod
	there  []string
	report *nodereport.Report
	unseen bool
}

func (s *story) pod(name string) *corev1.Pod {
	if s.pods[name] == nil {
		s.pods[name] = vm(name, "2")
	}
	return s.pods[name]
}

func (s *story) asks(name string) *admission.Pod {
	asks := admission.PodOf(s.pod(name))
	return &asks
}

// stages are the pods of a NodeInfo by what is said of them.
type stages struct{ doubtful, kept, out []string }

// of are those that a line of a scenario asks for, and those that it names.
func (s *stages) of(words []string) (got, want []string) {
	switch {
	case len(words) > 0 && words[0] == "kept":
		return s.kept, words[1:]
	case len(words) > 0 && words[0] == "out":
		return s.out, words[1:]
	}
	return s.doubtful, words
}

// see shows the uncertainty a NodeInfo, and returns what it says of the pods.
func (s *story) see(u *uncertainty, names []string) (said stages) {
	var infos []fwk.PodInfo
	if len(names) > 0 {
		pods := make([]*corev1.Pod, len(names))
		for i, name := range names {
			pods[i] = s.pod(name)
		}
		infos = nodeInfo(pods...).GetPods()
	}
	pods := u.read(holding(infos))
	listed := make([]verdict.Pod, len(pods))
	for i := range pods {
		listed[i] = verdict.Pod{UID: pods[i].uid, Asks: pods[i].asks}
	}
	n := verdict.New(nodeInfo().Node(), s.report, listed)
	u.saw(pods, n.Pods, s.clock.Now())
	for i := range n.Pods {
		pod := &n.Pods[i]
		uid := string(pod.UID)
		if pod.Doubtful || len(pod.Beside) > 0 {
			said.doubtful = append(said.doubtful, uid)
		}
		if pod.InFlight && pod.Kept {
			said.kept = append(said.kept, uid)
		}
		if !pod.Holds() {
			said.out = append(said.out, uid)
		}
	}
	return said
}

func (s *story) event(what string, names []string) {
	switch what {
	case "restart":
		s.u = uncertainty{began: s.clock.Now()}
	case "saw":
		s.there = names
		s.see(&s.u, names)
	case "run":
		now := metav1.NewTime(s.clock.Now())
		pod := s.pod(names[0]).DeepCopy()
		pod.Status.Phase = corev1.PodRunning
		pod.Status.StartTime = &now
		s.pods[names[0]] = pod
	case "assume":
		s.pods[names[0]] = with(vm(names[0], "2"), assumed)
		asks := admission.PodOf(s.pod(names[0]))
		s.u.assumed(s.pod(names[0]), &asks, claim{})
	case "bind":
		s.u.hears(types.UID(names[0]))
	case "unbind":
		s.u.unbound(types.UID(names[0]), s.asks(names[0]))
	case "left":
		s.u.left(types.UID(names[0]), s.asks(names[0]))
	case "report":
		s.report = &nodereport.Report{State: nodereport.Exact, Node: s.report.Node, Granted: map[types.UID][]admission.Grant{}}
		for i, name := range names {
			s.report.Granted[types.UID(name)] = []admission.Grant{{Container: "compute", CPUs: cpuSet(string(rune('1' + i)))}}
		}
		s.unseen = s.u.reported(s.clock.Now(), func(uid types.UID, asks *admission.Pod) bool {
			return verdict.Covers(s.report, uid, asks)
		})
	case "wait":
		pause, err := time.ParseDuration(names[0])
		if err != nil {
			s.t.Fatal(err)
		}
		s.clock.Step(pause)
	default:
		s.t.Fatalf("no event is called %q", what)
	}
}

// Text scenarios: what leaves a pod doubtful, and what settles it.
func TestUncertainty(t *testing.T) {
	files, err := filepath.Glob("testdata/uncertainty/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &story{t: t, clock: testclock.NewFakeClock(time.Now()), pods: map[string]*corev1.Pod{}, report: reportOf(t, nil)}
			s.event("restart", nil)
			checks := 0
			for i, line := range strings.Split(string(text), "\n") {
				line, _, _ = strings.Cut(line, "#")
				words := strings.Fields(line)
				switch {
				case len(words) == 0:
				case words[0] != "=":
					s.event(words[0], words[1:])
				case slices.Equal(words[1:], []string{"unseen"}):
					checks++
					if !s.unseen {
						t.Errorf("line %d: no pod went unseen", i+1)
					}
				default:
					checks++
					u := s.u.clone()
					said := s.see(&u, s.there)
					if got, want := said.of(words[1:]); !slices.Equal(got, want) && len(got)+len(want) > 0 {
						t.Errorf("line %d: %q: got %v", i+1, line, got)
					}
				}
			}
			if checks == 0 {
				t.Error("the scenario checks nothing")
			}
		})
	}
}
