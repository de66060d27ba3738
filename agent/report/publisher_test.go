// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// server keeps one object, with the resource versions of an API server.
type server struct {
	dynamic.ResourceInterface

	mu      sync.Mutex
	object  *unstructured.Unstructured
	version int
	writes  int
	down    int  // number of requests that fail before the server is up again
	up      int  // number of requests that it answers before it goes down for one; 0: any number
	lost    int  // number of writes that it makes and whose answers are lost
	older   bool // its NodeCPU definition does not have hostTuning
}

var (
	errDown = errors.New("connection refused")
	errLost = errors.New("no answer came")
)

func (s *server) request(ctx context.Context) error {
	if s.up > 0 {
		if s.up--; s.up == 0 {
			s.down = 1
		}
		return ctx.Err()
	}
	if s.down > 0 {
		s.down--
		return errDown
	}
	return ctx.Err()
}

func (s *server) Get(ctx context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.request(ctx); err != nil {
		return nil, err
	}
	if s.object == nil {
		return nil, apierrors.NewNotFound(v1alpha1.Resource.GroupResource(), name)
	}
	return s.object.DeepCopy(), nil
}

func (s *server) Apply(ctx context.Context, name string, o *unstructured.Unstructured, options metav1.ApplyOptions, _ ...string) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.request(ctx); err != nil {
		return nil, err
	}
	if s.object == nil {
		s.object = newObject(name)
	}
	s.object.SetOwnerReferences(o.GetOwnerReferences())
	return s.stored(options)
}

func (s *server) ApplyStatus(ctx context.Context, name string, o *unstructured.Unstructured, options metav1.ApplyOptions) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.request(ctx); err != nil {
		return nil, err
	}
	if s.object == nil {
		return nil, apierrors.NewNotFound(v1alpha1.Resource.GroupResource(), name)
	}
	if version := o.GetResourceVersion(); version != s.object.GetResourceVersion() {
		return nil, apierrors.NewConflict(v1alpha1.Resource.GroupResource(), name, fmt.Errorf("version %q is outdated", version))
	}
	_, unknown, err := unstructured.NestedFieldNoCopy(o.Object, "status", "hostTuning")
	if err != nil || s.older && unknown {
		return nil, errors.Join(err, errors.New("failed to create typed patch object (/n1): .status.hostTuning: field not declared in schema"))
	}
	s.object.Object["status"] = o.DeepCopy().Object["status"]
	return s.stored(options)
}

func (s *server) stored(options metav1.ApplyOptions) (*unstructured.Unstructured, error) {
	if options.FieldManager != "corepin-agent" || !options.Force {
		return nil, fmt.Errorf("applied with %+v", options)
	}
	s.version++
	s.writes++
	s.object.SetResourceVersion(fmt.Sprint(s.version))
	if s.lost > 0 {
		s.lost--
		return nil, errLost
	}
	return s.object.DeepCopy(), nil
}

// report is what the server has, nil for nothing; it is not a request.
func (s *server) report() *v1alpha1.NodeCPU {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.object == nil {
		return nil
	}
	nc, err := decode(s.object.DeepCopy())
	if err != nil {
		return nil
	}
	return nc
}

// change is a write by somebody else.
func (s *server) change(f func(object *unstructured.Unstructured)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.object)
	s.version++
	s.object.SetResourceVersion(fmt.Sprint(s.version))
}

// world is a node, its API server and what its agent reads.
type world struct {
	t        *testing.T
	clock    clock.WithTicker
	server   *server
	recorder *record.FakeRecorder
	node     *corev1.Node

	mu    sync.Mutex
	facts Facts
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, clock: clock.RealClock{}, server: &server{}, recorder: record.NewFakeRecorder(20), facts: facts()}
	w.node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-uid"}}
	w.node.Status.NodeInfo.KubeletVersion = "v1.36.3"
	return w
}

func (w *world) read(f func(*Facts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.facts)
}

func (w *world) publisher() *Publisher {
	return New(Options{
		FieldManager: "corepin-agent", Client: w.server, Recorder: w.recorder, Clock: w.clock,
		Node: func() (*corev1.Node, error) {
			if w.node == nil {
				return nil, apierrors.NewNotFound(corev1.Resource("nodes"), "n1")
			}
			return w.node, nil
		},
		Kubelet: func() *kubelet.State {
			w.mu.Lock()
			defer w.mu.Unlock()
			state := w.facts.Kubelet
			return &state
		},
		Host: func() source.Reading[*cputopology.Topology] {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.facts.Host
		},
	})
}

func (w *world) sync(p *Publisher, wantWritten bool, wantErr string) {
	w.t.Helper()
	written, err := p.sync(w.t.Context())
	if written != wantWritten || (err == nil) != (wantErr == "") || (err != nil && !strings.Contains(err.Error(), wantErr)) {
		w.t.Fatalf("written %t, error %v; want written %t, error %q", written, err, wantWritten, wantErr)
	}
}

func (w *world) stored() *v1alpha1.NodeCPU {
	w.t.Helper()
	nc := w.server.report()
	if nc == nil {
		w.t.Fatal("the server has no report that can be read")
	}
	return nc
}

func (w *world) events(want ...string) {
	w.t.Helper()
	for _, reason := range want {
		select {
		case got := <-w.recorder.Events:
			if !strings.Contains(got, reason) {
				w.t.Errorf("event %q, want one of reason %s", got, reason)
			}
		default:
			w.t.Errorf("no event of reason %s", reason)
		}
	}
	if len(w.recorder.Events) > 0 {
		w.t.Errorf("another event: %s", <-w.recorder.Events)
	}
}

func TestPublisherOverRestarts(t *testing.T) {
	w := newWorld(t)
	p := w.publisher()
	w.sync(p, true, "")
	if nc := w.stored(); nc.Status.Generation != 1 || nc.Status.Summary.Granted != 2 || nc.OwnerReferences[0].UID != "node-uid" {
		t.Errorf("the first report is %+v", nc)
	}
	w.events(EventCPUManagerDetected)
	w.sync(p, false, "")
	w.sync(w.publisher(), false, "") // the agent was restarted
	w.events()

	w.read(func(f *Facts) {
		f.Kubelet.Checkpoint = known(kubelet.Checkpoint{Policy: "static", Shared: cpuset.Of(0, 1, 2, 3, 4, 5, 6, 7)})
	})
	p = w.publisher() // and again, while something changed
	w.sync(p, true, "")
	if nc := w.stored(); nc.Status.Generation != 2 || nc.Status.Summary.Granted != 0 {
		t.Errorf("the second report is %+v", nc)
	}
	w.read(func(f *Facts) { fail(&f.Kubelet.Checkpoint, "garbage") })
	w.sync(p, true, "")
	w.events(EventStateUnreadable)
	if nc := w.stored(); nc.Status.Generation != 3 || nc.Status.Summary.Free != 6 || nc.Status.SharedCPUs != "0-7" {
		t.Errorf("with an unreadable state the report is %+v", nc)
	}
	w.read(func(f *Facts) { // the agent is restarted: all it knows is that the state cannot be read now
		never(&f.Kubelet.Checkpoint)
		f.Kubelet.Checkpoint = f.Kubelet.Checkpoint.Next(kubelet.Checkpoint{}, errors.New("garbage"), noon.Add(time.Hour))
	})
	w.sync(w.publisher(), false, "")
}

func TestPublisherPutsOthersChangesRight(t *testing.T) {
	w := newWorld(t)
	p := w.publisher()
	w.sync(p, true, "")
	w.server.change(func(o *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(o.Object, "0", "status", "sharedCPUs")
	})

	// Unaware of the change, the Publisher writes over an outdated version and is refused.
	w.read(func(f *Facts) { f.Kubelet.File.Value.ReservedCPUs = cpuset.Of(0) })
	w.sync(p, false, "is outdated")
	w.sync(p, true, "")
	if got := w.stored().Status; got.SharedCPUs != "0,2-4,6-7" || got.ReservedCPUs != "0" || got.Generation != 2 {
		t.Errorf("the report is %+v", got)
	}
	// Told of a change, it reads before it writes.
	w.server.change(func(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) })
	p.Observed("3")
	w.sync(p, false, "")
	if owners := w.stored().OwnerReferences; len(owners) != 1 || owners[0].UID != "node-uid" {
		t.Errorf("owners are %+v", owners)
	}
	w.server.object = nil
	p.Observed("")
	w.sync(p, true, "")
	if got := w.stored().Status; got.Generation != 3 || got.Summary.Granted != 2 {
		t.Errorf("after its removal the report is %+v, want it again with a higher generation", got)
	}
}

// A Node that was made again under its old name, perhaps as another machine, takes nothing over from the
// report of the earlier one, and until its own is there that one stays recognizable.
func TestPublisherOfANodeMadeAgain(t *testing.T) {
	w := newWorld(t)
	w.sync(w.publisher(), true, "")
	w.events(EventCPUManagerDetected)
	w.node = w.node.DeepCopy()
	w.node.UID = "new-uid"
	w.read(func(f *Facts) { // the agent is a new one, and its kubelet has not started yet
		never(&f.Kubelet.Checkpoint)
	})
	p := w.publisher()
	w.server.up = 2 // Get and ApplyStatus
	w.sync(p, false, errDown.Error())
	if owner := w.stored().OwnerReferences[0].UID; owner != "node-uid" {
		t.Errorf("the report is of %s before it was complete", owner)
	}
	w.sync(p, true, "")
	w.sync(p, false, "")
	nc := w.stored()
	if owners := nc.OwnerReferences; len(owners) != 1 || owners[0].UID != "new-uid" {
		t.Errorf("owners are %+v", owners)
	}
	if s := nc.Status; s.SharedCPUs != "" || len(s.Granted) != 0 || s.CPUManager.Policy != "" || s.Generation < 2 {
		t.Errorf("the report has what is known of the earlier Node only: %+v", s)
	}
	if running := find(nc.Status.Conditions, v1alpha1.ConditionCPUManagerRunning); running.Status != metav1.ConditionUnknown {
		t.Errorf("condition %+v, want Unknown", running)
	}
}

func TestPublisherLeavesANewerReportAlone(t *testing.T) {
	for name, newer := range map[string]func(*unstructured.Unstructured){
		"a new field": func(o *unstructured.Unstructured) { _ = unstructured.SetNestedField(o.Object, "x", "status", "lease") },
		"a new inner field": func(o *unstructured.Unstructured) {
			_ = unstructured.SetNestedField(o.Object, int64(1), "status", "summary", "held")
		},
		"a spec":          func(o *unstructured.Unstructured) { _ = unstructured.SetNestedField(o.Object, int64(1), "spec", "x") },
		"another version": func(o *unstructured.Unstructured) { o.SetAPIVersion("corepin.dev/v1") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.sync(w.publisher(), true, "")
			w.events(EventCPUManagerDetected)
			w.server.change(newer)
			writes := w.server.writes
			w.read(func(f *Facts) { f.Kubelet.File.Value.ReservedCPUs = cpuset.Of(0) })
			p := w.publisher()
			w.sync(p, false, "a newer agent wrote it")
			w.sync(p, false, "a newer agent wrote it")
			w.events(EventReportRefused)
			if w.server.writes != writes {
				t.Error("the report was written")
			}
		})
	}
}

func TestPublisherTakesOverANewerFormat(t *testing.T) {
	w := newWorld(t)
	w.sync(w.publisher(), true, "")
	w.server.change(func(o *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(o.Object, int64(v1alpha1.FormatVersion+1), "status", "format")
	})
	w.sync(w.publisher(), true, "")
	if got := w.stored().Status; got.Format != 1 || got.Generation != 2 {
		t.Errorf("format %d, generation %d; want the oldest format that will do in the second report", got.Format, got.Generation)
	}
}

func TestPublisherWithoutNode(t *testing.T) {
	w := newWorld(t)
	node := w.node
	w.node = nil
	p := w.publisher()
	w.sync(p, false, "")
	if w.server.object != nil || p.Published() {
		t.Error("a report without a Node")
	}
	w.node = node
	w.sync(p, true, "")
	if !p.Published() {
		t.Error("the report is not published")
	}
}

func TestPublisherRun(t *testing.T) {
	w := newWorld(t)
	w.server.down = 2
	p := w.publisher()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	await := func(what string, ok func(*v1alpha1.NodeCPUStatus) bool) {
		t.Helper()
		var last *v1alpha1.NodeCPUStatus
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			if nc := w.server.report(); nc != nil {
				if last = &nc.Status; ok(last) {
					return
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		t.Fatalf("never saw %s; the last report is %+v", what, last)
	}
	p.Trigger()
	await("the report after the API server came back", func(s *v1alpha1.NodeCPUStatus) bool { return s.Generation == 1 })

	// A burst of changes is one write.
	for cpus := range 6 {
		w.read(func(f *Facts) {
			f.Kubelet.Checkpoint = known(kubelet.Checkpoint{Policy: "static", Shared: cpuset.Of(0, 4, cpus)})
		})
		p.Trigger()
	}
	await("the last change", func(s *v1alpha1.NodeCPUStatus) bool { return s.SharedCPUs == "0,4-5" })
	if generation := w.stored().Status.Generation; generation != 2 {
		t.Errorf("generation %d after one burst, want 2", generation)
	}
	if w.server.down != 0 {
		t.Errorf("%d failures were not met", w.server.down)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// An agent overlaps with its successor, which knows more and so words things differently. Neither gives up,
// for either may be the one that stays; but they do not answer each other as fast as they can.
func TestTwoAgentsDoNotFight(t *testing.T) {
	clock := testingclock.NewFakeClock(noon)
	older, newer := newWorld(t), newWorld(t)
	newer.server, newer.facts = older.server, allFacts()
	older.clock, newer.clock = clock, clock
	agents := []*Publisher{older.publisher(), newer.publisher()}
	minutes := func(n int) (writes int) {
		before := older.server.writes
		for range n * 600 { // a look every 100 ms
			for _, p := range agents {
				p.Observed(older.server.object.GetResourceVersion())
				if _, err := p.sync(t.Context()); err != nil && !errors.Is(err, errOtherWriter) {
					t.Fatal(err)
				}
			}
			clock.Step(100 * time.Millisecond)
		}
		return older.server.writes - before
	}
	older.sync(agents[0], true, "")
	if got := minutes(10); got > 2*(7+10) {
		t.Errorf("%d writes in ten minutes", got)
	}
	agents = agents[1:]
	minutes(1)
	if got := minutes(10); got != 0 {
		t.Errorf("%d writes after the older one is gone", got)
	}
	if c := find(older.stored().Status.Conditions, typeExact); c.Reason != ReasonPredictable {
		t.Errorf("in the end the report is the older agent's: %+v", c)
	}
}

// The watch tells of each of the agent's own writes a moment later, when there may be a newer one. That is
// nobody else.
func TestOwnWritesSeenLateAreNobodyElses(t *testing.T) {
	w := newWorld(t)
	w.clock = testingclock.NewFakeClock(noon)
	p := w.publisher()
	w.sync(p, true, "")
	earlier := w.server.object.GetResourceVersion()
	for n := range 20 {
		w.read(func(f *Facts) {
			f.Kubelet.Checkpoint.Value.Shared = cpuset.Of(0, 2, 3, 4, 6, 7).Minus(cpuset.Of([]int{2, 3}[n%2]))
		})
		p.Observed(earlier)
		earlier = w.server.object.GetResourceVersion()
		w.sync(p, true, "")
	}
}

// A write whose answer is lost is this agent's own all the same, and what people hang on a report is no quarrel
// about what it says.
func TestNobodyIsAccusedWrongly(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world, p *Publisher){
		"a lost answer": func(w *world, p *Publisher) {
			w.server.lost = 1
			w.sync(p, false, errLost.Error())
		},
		"a lost answer to the first request": func(w *world, p *Publisher) {
			w.server.object = nil
			p.Observed("")
			w.server.lost = 1
			w.sync(p, false, errLost.Error())
		},
		"a lost answer about the owner": func(w *world, p *Publisher) {
			w.node = w.node.DeepCopy()
			w.node.UID = "new-uid"
			w.sync(p, true, "")
			w.node = w.node.DeepCopy()
			w.node.UID = "newer-uid"
			w.server.change(func(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) })
			p.Observed("9")
			w.server.lost = 1
			w.sync(p, false, errLost.Error())
		},
		"an annotation": func(w *world, p *Publisher) {
			w.server.change(func(o *unstructured.Unstructured) { o.SetAnnotations(map[string]string{"note": "ours"}) })
			p.Observed(w.server.object.GetResourceVersion())
		},
		"a removal": func(w *world, p *Publisher) {
			w.server.object = nil
			p.Observed("")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.clock = testingclock.NewFakeClock(noon)
			p := w.publisher()
			w.sync(p, true, "")
			for _, shared := range []int{2, 3, 6} {
				w.read(func(f *Facts) { f.Kubelet.Checkpoint.Value.Shared = cpuset.Of(0, 4, shared) })
				meanwhile(w, p)
				if _, err := p.sync(t.Context()); err != nil {
					t.Fatalf("at once after its own or no change: %v", err)
				}
				if got := w.stored().Status.SharedCPUs; got != cpuset.Of(0, 4, shared).String() {
					t.Errorf("the report says %s", got)
				}
			}
		})
	}
}
