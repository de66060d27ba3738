// SPDX-License-Identifier: Apache-2.0

package heard

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/nodereport"
)

var began = time.Date(2026, 11, 30, 14, 2, 0, 0, time.UTC)

// world is the API server of a scenario.
type world struct {
	*Tracker
	now    time.Time
	listed bool
	pods   map[types.NamespacedName]*corev1.Pod
}

func newWorld() *world {
	w := &world{now: began, listed: true, pods: map[types.NamespacedName]*corev1.Pod{}}
	w.Tracker = NewTracker(15*time.Second, func(name types.NamespacedName) *corev1.Pod { return w.pods[name] })
	return w
}

func podNamed(name, uid string, ready bool) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "corepin-system", Name: name, UID: types.UID(uid)}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	return pod
}

func reportBy(pod string, seen metav1.ConditionStatus, since time.Time) *nodereport.Report {
	r := &nodereport.Report{State: nodereport.Exact, Seen: nodereport.Seen{Status: seen, Since: since}}
	if name, uid, ok := strings.Cut(pod, "/"); ok {
		r.Agent = v1alpha1.AgentPod{Namespace: "corepin-system", Name: name, UID: types.UID(uid)}
	}
	return r
}

// do runs a line of a scenario and gives what it says.
func (w *world) do(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(d)
	case "pod":
		name, uid, _ := strings.Cut(words[1], "/")
		pod := podNamed(name, uid, words[2] == "ready")
		key := types.NamespacedName{Namespace: pod.Namespace, Name: name}
		w.pods[key] = pod
		if words[2] == "gone" {
			delete(w.pods, key)
		}
		w.PodChanged(key, w.now)
	case "report": // node, pod/uid, what condition Seen says
		seen := map[string]metav1.ConditionStatus{"unsaid": "", "seen": metav1.ConditionTrue, "unseen": metav1.ConditionFalse}[words[3]]
		since := time.Time{}
		if seen == metav1.ConditionFalse {
			since = began.Add(-time.Hour)
		}
		_, silent := w.Reported(words[1], "7", reportBy(words[2], seen, since), w.now)
		return map[bool]string{true: "silent", false: "heard"}[silent]
	case "delete":
		w.Deleted(words[1])
	case "unlisted":
		w.listed = false
	case "listed":
		w.listed = true
	case "step":
		var all []string
		for _, turn := range w.Step(w.now, w.listed) {
			said := turn.Node + " is heard from"
			if turn.Silent {
				said = fmt.Sprintf("%s is %s", turn.Node, nodereport.NotHeard(turn.Since))
			}
			all = append(all, said)
		}
		if len(all) == 0 {
			return "nothing"
		}
		return strings.Join(all, ", ")
	case "due":
		due, ok := w.Due(words[1])
		switch {
		case !ok:
			return "nothing"
		case due.Seen:
			return "True"
		}
		return "False since " + nodereport.Moment(due.Since)
	default:
		t.Fatalf("unknown: %s", line)
	}
	return ""
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			w := newWorld()
			lines := bufio.NewScanner(file)
			for number := 1; lines.Scan(); number++ {
				line, want, _ := strings.Cut(lines.Text(), "->")
				line = strings.TrimSpace(line)
				if line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				got := w.do(t, line)
				if got != strings.TrimSpace(want) {
					t.Errorf("%s:%d: %s: got %q, want %q", name, number, line, got, strings.TrimSpace(want))
				}
			}
		})
	}
}

// largeCluster is a Tracker of as many nodes as Kubernetes clusters are made for, and more.
func largeCluster() *world {
	w := newWorld()
	for i := range 15_000 {
		name := fmt.Sprintf("corepin-agent-%05d", i)
		uid := fmt.Sprintf("00000000-0000-0000-0000-%012d", i)
		w.pods[types.NamespacedName{Namespace: "corepin-system", Name: name}] = podNamed(name, uid, true)
		w.Reported(fmt.Sprintf("worker-%05d.example.com", i), "7", reportBy(name+"/"+uid, metav1.ConditionTrue, began), w.now)
	}
	w.Step(w.now, true)
	return w
}

// What the Tracker of a large cluster costs is in the package comment. The pods are kube-scheduler's.
func TestMemory(t *testing.T) {
	var before, after runtime.MemStats
	pods := largeCluster().pods
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := newWorld()
	w.pods = pods
	for i := range 15_000 {
		w.Reported(fmt.Sprintf("worker-%05d.example.com", i), "7",
			reportBy(fmt.Sprintf("corepin-agent-%05d/00000000-0000-0000-0000-%012d", i, i), metav1.ConditionTrue, began), w.now)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	took := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("15,000 nodes take %d KiB", took>>10)
	if took > 10<<20 {
		t.Errorf("15,000 nodes take %d KiB", took>>10)
	}
	runtime.KeepAlive(w)
}

// BenchmarkPodChanged is what each event of kube-scheduler's pod watch costs.
func BenchmarkPodChanged(b *testing.B) {
	w := largeCluster()
	for name, key := range map[string]types.NamespacedName{
		"agent": {Namespace: "corepin-system", Name: "corepin-agent-00007"},
		"other": {Namespace: "vms", Name: "virt-launcher-db-x7k2p"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w.PodChanged(key, w.now)
			}
		})
	}
}

// BenchmarkStep is what each second costs while all nodes are heard from, and while all are silent.
func BenchmarkStep(b *testing.B) {
	w := largeCluster()
	b.Run("heard", func(b *testing.B) {
		for b.Loop() {
			w.Step(w.now, true)
		}
	})
	clear(w.pods)
	for name := range w.byPod {
		w.PodChanged(name, w.now)
	}
	w.now = w.now.Add(time.Hour)
	w.Step(w.now, true)
	b.Run("silent", func(b *testing.B) {
		for b.Loop() {
			w.Step(w.now, true)
		}
	})
}
