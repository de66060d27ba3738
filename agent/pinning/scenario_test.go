// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/vmi"
)

var update = flag.Bool("update", false, "write what the scenarios in testdata come to into their files")

// TestScenarios plays each file of testdata: what happens to the guests of a node, line by line, and what the agent makes
// of it. A line that begins with "=" is a result of the command above it. Time is the bubble's, so that hours pass in
// milliseconds and every wait is exact. The settings are those that are shipped. The commands:
//
//	mode MODE                  before any pod: enforce, repair or observe
//	pod NAME CPUS [target|realtime|period=PERIOD]  a launcher pod whose compute container runs and was granted CPUS ("-":
//	                           none). NAME may be NAMESPACE/NAME, and is NAME from then on
//	guest NAME THREADS         its guest runs, with pins and affinities as in guestOf; "none": it does not any more
//	libvirt NAME STATE         answers, unreachable, hangs, transit (the guest is being started or migrated here), busy (it is
//	                           migrated away), ignores (pins), or refuses (every call)
//	vcpupin NAME ID CPUS       somebody pins a vCPU through libvirt, which tells
//	affinity NAME THREAD CPUS  something moves a thread ("0", "io1"), and nobody tells
//	grant NAME CPUS            the kubelet changes the grant
//	cpuset NAME CPUS           the cpuset of the compute container's cgroup
//	housekeeping NAME CPUS THREADS  KubeVirt moves threads ("0,io1") into its child cgroup with these CPUs
//	online CPUS                the CPUs that are online
//	delete NAME                the pod is being deleted
//	container NAME ends|starts the compute container
//	remove NAME                the pod is gone
//	agent restarts
//	api away|back              the API server, with the pods and the VMIs
//	wait DURATION
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding scenarios: %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = play(t, string(want)) })
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("it comes to\n%s", difference(string(want), got))
			}
		})
	}
}

// difference gives the lines around the first one that differs.
func difference(want, got string) string {
	wants, gots := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(wants), len(gots)) {
		if wants[i] != gots[i] {
			return fmt.Sprintf("line %d:\n%s\nwant\n%s", i+1, strings.Join(gots[max(0, i-3):min(len(gots), i+6)], "\n"), wants[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(gots), len(wants))
}

// scenario is one that is being played.
type scenario struct {
	*fixture
	context context.Context // of the agents; nil: the test's
	stop    context.CancelFunc
	ended   chan error
	away    bool  // the API server
	listed  []any // the pods that it had listed before
	host    *cputopology.Topology
	cpusets map[string]cpuset.Set
	keeping map[string]cpuset.Set
	// namespaces are those of the pods.
	namespaces map[string]string

	began     time.Time // of the command
	calls     []call
	condition string
	pins      string
}

// call is one to a libvirt.
type call struct {
	pod, what string
	at        time.Duration
}

func play(t *testing.T, text string) string {
	s := &scenario{
		fixture: newFixtureWith(t, config.Pinning{
			Mode: config.PinningEnforce, Deadline: metav1.Duration{Duration: 5 * time.Second}, VerifyPeriod: metav1.Duration{Duration: 4 * time.Second},
			LauncherNamespaces: []string{"vms", "stranger"},
		}),
		host: smt, cpusets: map[string]cpuset.Set{}, keeping: map[string]cpuset.Set{}, namespaces: map[string]string{}, condition: "none", pins: "none",
	}
	s.fixture.called = func(pod, what string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls = append(s.calls, call{pod, what, time.Since(s.began)})
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "="):
			continue
		case line != "" && !strings.HasPrefix(line, "#"):
			s.mu.Lock()
			s.began = time.Now()
			s.mu.Unlock()
			s.do(strings.Fields(line))
			synctest.Wait()
		}
		out.WriteString(line + "\n")
		for _, result := range s.results() {
			out.WriteString("= " + result + "\n")
		}
	}
	s.end()
	return out.String()
}

// begin starts an agent.
func (s *scenario) begin() {
	options := s.controller.Options
	options.Topology = func() *cputopology.Topology { s.mu.Lock(); defer s.mu.Unlock(); return s.host }
	options.Known = func() bool { s.mu.Lock(); defer s.mu.Unlock(); return !s.away }
	options.Node = func() runtime.Object { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}} }
	options.CPUSet = func(pod *corev1.Pod, _ string) (cpuset.Set, bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		cpus, known := s.cpusets[string(pod.UID)]
		return cpus, known, nil
	}
	options.Housekeeping = func(pod *corev1.Pod, _ string) (cpuset.Set, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.keeping[string(pod.UID)], nil
	}
	options.VMI = func(context.Context, *corev1.Pod) (*vmi.VMI, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.away {
			return nil, errors.New("connection refused")
		}
		return nil, nil
	}
	s.controller = New(options)
	s.controller.jitter = func(d time.Duration) time.Duration { return d }
	parent := s.context
	if parent == nil {
		parent = s.t.Context()
	}
	ctx, stop := context.WithCancel(parent)
	s.stop = stop
	ended := make(chan error, 1)
	controller := s.controller
	go func() { ended <- controller.Run(ctx) }()
	s.ended = ended
}

func (s *scenario) end() {
	if s.stop == nil {
		return
	}
	s.stop()
	if err := <-s.ended; err != nil {
		s.t.Errorf("the agent ended with %v", err)
	}
	for name, l := range s.libvirts {
		if l.open != 0 {
			s.t.Errorf("%d connections to the libvirt of %s were left open", l.open, name)
		}
	}
}

// do carries out one command.
func (s *scenario) do(words []string) {
	arg := func(i int) string {
		if i >= len(words) {
			s.t.Fatalf("%q has too few words", words)
		}
		return words[i]
	}
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			s.t.Fatal(err)
		}
		<-time.After(d)
		return
	case "mode":
		s.controller.Config.Mode = config.PinningMode(arg(1))
		return
	case "agent":
		s.end()
		if s.away {
			if err := s.fixture.pods.Replace(nil, ""); err != nil {
				s.t.Fatal(err)
			}
		}
		s.begin()
		return
	}
	if s.stop == nil {
		s.begin()
		synctest.Wait()
	}
	if words[0] == "pod" {
		s.addPod(arg(1), arg(2), strings.Join(words[3:], " "))
		return
	}
	if !s.ofNode(words[0], arg(1)) && !s.ofPod(words[0], arg(1), words[2:]) && !s.ofLibvirt(words[0], s.libvirts[arg(1)], words[2:]) {
		s.t.Fatalf("no command %q", words)
	}
	s.controller.Trigger()
}

func (s *scenario) addPod(full, granted, kind string) {
	if granted == "-" {
		granted = ""
	}
	namespace, name, given := strings.Cut(full, "/")
	if !given {
		namespace, name = "vms", full
	}
	cpus := mustParse(granted)
	pod := launcherPod(name, max(1, cpus.Len()))
	pod.Namespace = namespace
	period, periodGiven := strings.CutPrefix(kind, "period=")
	switch {
	case kind == "target":
		pod.Labels["kubevirt.io/migrationJobUID"] = "job"
	case kind == "realtime":
		pod.Spec.NodeSelector["kubevirt.io/realtime"] = "true"
	case periodGiven:
		pod.Annotations[PeriodAnnotation] = period
	}
	s.mu.Lock()
	s.namespaces[name] = namespace
	s.libvirts[name] = &fakeLibvirt{fixture: s.fixture, err: fmt.Errorf("%w: no such file", ErrUnreachable)}
	s.grants = maps.Clone(s.grants)
	if !cpus.IsEmpty() {
		s.grants[pod.UID] = map[string]cpuset.Set{"compute": cpus}
	}
	s.mu.Unlock()
	if err := s.fixture.pods.Add(pod); err != nil {
		s.t.Fatal(err)
	}
	s.controller.Trigger()
}

func (s *scenario) changePod(name string, f func(*corev1.Pod)) {
	object, _, _ := s.fixture.pods.GetByKey(s.namespaces[name] + "/" + name)
	pod := object.(*corev1.Pod).DeepCopy()
	f(pod)
	if err := s.fixture.pods.Update(pod); err != nil {
		s.t.Fatal(err)
	}
}

// ofNode carries out what concerns the whole node.
func (s *scenario) ofNode(command, argument string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch command {
	case "api":
		s.away = argument == "away"
		if s.away {
			s.listed = s.fixture.pods.List()
			break
		}
		if err := s.fixture.pods.Replace(s.listed, ""); err != nil {
			s.t.Fatal(err)
		}
	case "online":
		online := mustParse(argument)
		var cores []cputopology.Core
		for _, c := range smt.Cores() {
			if c.CPUs = c.CPUs.Intersect(online); !c.CPUs.IsEmpty() {
				cores = append(cores, c)
			}
		}
		host, err := cputopology.New(cores, smt.NUMANodes()...)
		if err != nil {
			s.t.Fatal(err)
		}
		s.host = host
	default:
		return false
	}
	return true
}

// ofPod carries out what concerns a pod and its cgroup.
func (s *scenario) ofPod(command, name string, arguments []string) bool {
	switch command {
	case "delete":
		s.changePod(name, func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: time.Now()} })
	case "remove":
		pod := launcherPod(name, 1)
		pod.Namespace = s.namespaces[name]
		if err := s.fixture.pods.Delete(pod); err != nil {
			s.t.Fatal(err)
		}
	case "container":
		state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		if arguments[0] == "ends" {
			state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
		}
		s.changePod(name, func(pod *corev1.Pod) {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "compute", State: state}}
		})
	case "grant":
		s.mu.Lock()
		s.grants = maps.Clone(s.grants)
		s.grants[types.UID(name)] = map[string]cpuset.Set{"compute": mustParse(arguments[0])}
		s.mu.Unlock()
	case "cpuset":
		s.mu.Lock()
		s.cpusets[name] = mustParse(arguments[0])
		s.mu.Unlock()
	default:
		return false
	}
	return true
}

// ofLibvirt carries out what concerns a guest and its libvirt. libvirt tells of it, except where the kernel did it.
func (s *scenario) ofLibvirt(command string, l *fakeLibvirt, arguments []string) bool {
	switch command {
	case "guest":
		l.tell(func() {
			l.err = nil
			if arguments[0] == "none" {
				l.guest = nil
				return
			}
			run := int32(1)
			if l.guest != nil {
				run = l.guest.Run
			}
			l.guest = guestOf(strings.Join(arguments, " "))
			l.guest.Run = run
		})
	case "libvirt":
		l.tell(func() { l.become(arguments[0]) })
	case "vcpupin":
		id, _ := strconv.Atoi(arguments[0])
		cpus := mustParse(arguments[1])
		l.tell(func() { l.guest.VCPUs[id] = GuestThread{id, cpus, cpus} })
	case "affinity":
		s.mu.Lock()
		*threadOf(l.guest, arguments[0]) = mustParse(arguments[1])
		s.mu.Unlock()
	case "housekeeping":
		s.mu.Lock()
		defer s.mu.Unlock()
		for name, libvirt := range s.libvirts {
			if libvirt == l {
				s.keeping[name] = mustParse(arguments[0])
			}
		}
		l.held = map[Thread]bool{}
		for word := range strings.SplitSeq(arguments[1], ",") {
			*threadOf(l.guest, word) = mustParse(arguments[0])
			l.held[threadNamed(word)] = true
		}
	default:
		return false
	}
	return true
}

// become makes libvirt answer from now on as a word says. It is called with the fixture's mutex held.
func (l *fakeLibvirt) become(state string) {
	l.err = nil
	l.hangs = false
	l.busy = false
	l.ignores = false
	switch state {
	case "unreachable":
		l.err = fmt.Errorf("%w: connection refused", ErrUnreachable)
	case "refuses":
		l.err = errors.New("access denied")
	case "transit":
		l.err = fmt.Errorf("reading domain db: %w", ErrInTransit)
	case "hangs":
		l.hangs = true
	case "busy":
		l.busy = true
	case "ignores":
		l.ignores = true
	}
}

func threadNamed(word string) Thread {
	if id, isIOThread := strings.CutPrefix(word, "io"); isIOThread {
		n, _ := strconv.Atoi(id)
		return Thread{IOThread, n}
	}
	n, _ := strconv.Atoi(word)
	return Thread{VCPU, n}
}

// threadOf is the affinity of a thread.
func threadOf(guest *Guest, word string) *cpuset.Set {
	thread := threadNamed(word)
	if thread.Kind == IOThread {
		return &guest.IOThreads[thread.ID-1].Affinity
	}
	return &guest.VCPUs[thread.ID].Affinity
}

// results are what happened since the last command, in one line each.
func (s *scenario) results() []string {
	if s.stop == nil {
		return nil
	}
	condition, reported := "none", "none"
	if c := s.controller.Condition(); c != nil {
		condition = fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	}
	if pins := s.controller.Pins(); pins != nil {
		var texts []string
		for _, pod := range slices.Sorted(maps.Keys(pins)) {
			texts = append(texts, string(pod)+" "+pins[pod])
		}
		reported = "{" + strings.Join(texts, "; ") + "}"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The order of what happens to several guests at the same time is nobody's promise.
	slices.SortStableFunc(s.calls, func(a, b call) int { return strings.Compare(a.pod, b.pod) })
	slices.SortStableFunc(s.events, func(a, b string) int { return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0]) })
	lines := summary(s.calls)
	for _, event := range s.events {
		lines = append(lines, "event "+event)
	}
	s.calls, s.events = nil, nil
	if condition != s.condition {
		lines = append(lines, "condition "+condition)
	}
	if reported != s.pins {
		lines = append(lines, "report "+reported)
	}
	s.condition, s.pins = condition, reported
	return lines
}

// shownTimes is how many times of a call are shown.
const shownTimes = 6

// summary gives calls in the order of the first of each, with the times of all of the same.
func summary(calls []call) []string {
	times := map[string][]string{}
	var order []string
	for _, c := range calls {
		what := c.pod + " " + c.what
		if times[what] == nil {
			order = append(order, what)
		}
		times[what] = append(times[what], c.at.String())
	}
	var lines []string
	for _, what := range order {
		at := times[what]
		text := strings.Join(at[:min(len(at), shownTimes)], " ")
		if len(at) > shownTimes {
			text += fmt.Sprintf(" … %s, %d in all", at[len(at)-1], len(at))
		}
		lines = append(lines, what+" at "+text)
	}
	return lines
}
