// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/launcher"
)

// fixture is a node for a Controller: pods, grants and one libvirt for each pod, all in memory, so that
// hanging, failing and changing can be played. What real libvirts do is tested in agent/libvirt.
type fixture struct {
	t          *testing.T
	controller *Controller
	pods       cache.Indexer

	mu       sync.Mutex
	grants   map[types.UID]map[string]cpuset.Set
	torn     bool                    // the kubelet's state cannot be read; grants are from before
	called   func(pod, call string)  // receives each call to a libvirt, if not nil
	libvirts map[string]*fakeLibvirt // by pod UID
	events   []string                // "<pod> <reason> <message>"
}

// fakeLibvirt is the libvirt of one pod. Its fields are guarded by the fixture's mutex.
type fakeLibvirt struct {
	fixture *fixture
	guest   *Guest // nil while none runs
	err     error  // of every call
	hangs   bool
	slow    time.Duration // each call takes so long
	ignores bool          // takes pins and does nothing
	busy    bool          // something is done to the guest: it cannot be pinned
	// busyAfter is how many pins are taken before busy, if not 0.
	busyAfter int
	held      map[Thread]bool // the kernel refuses to move these
	changed   []chan struct{}
	pins      []string
	// counts is what its vCPUs have waited by now, and countsError why that is not known; counted is how often it was asked.
	counts      func() map[int]time.Duration
	countsError error
	counted     int
	open        int
	asked       int // calls so far
	dialled     int // connections so far
}

// newFixture is serialFixture for a test that runs beside others.
func newFixture(t *testing.T, mode config.PinningMode) *fixture {
	t.Helper()
	t.Parallel()
	return serialFixture(t, mode)
}

// serialFixture has short deadlines. In a bubble of synctest its time is exact.
func serialFixture(t *testing.T, mode config.PinningMode) *fixture {
	t.Helper()
	return newFixtureWith(t, config.Pinning{
		Mode:         mode,
		Deadline:     metav1.Duration{Duration: 300 * time.Millisecond},
		VerifyPeriod: metav1.Duration{Duration: 200 * time.Millisecond},
	})
}

func newFixtureWith(t *testing.T, settings config.Pinning) *fixture {
	t.Helper()
	b := &fixture{
		t: t, pods: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}),
		grants: map[types.UID]map[string]cpuset.Set{}, libvirts: map[string]*fakeLibvirt{},
	}
	b.controller = New(Options{
		Config:   settings,
		NodeName: "n1", KubeletRootDir: "/kubelet",
		Pods: corelisters.NewPodLister(b.pods), Granted: b.granted,
		Topology: func() *cputopology.Topology { return smt },
		Recorder: b, Hypervisor: b,
	})
	return b
}

// run starts the controller; it is stopped, and must stop, when the test ends.
func (b *fixture) run() {
	ended := make(chan error, 1)
	go func() { ended <- b.controller.Run(b.t.Context()) }()
	b.t.Cleanup(func() {
		select {
		case err := <-ended:
			if err != nil {
				b.t.Errorf("Run returned %v", err)
			}
		case <-time.After(10 * time.Second):
			b.t.Error("Run did not return when its context ended")
		}
		for uid, l := range b.libvirts {
			if l.open != 0 {
				b.t.Errorf("%d connections to the libvirt of %s were left open", l.open, uid)
			}
		}
	})
}

// vm adds a launcher pod of a dedicated VM, with its libvirt and its guest.
func (b *fixture) vm(name, granted, guest string) *fakeLibvirt {
	b.t.Helper()
	pod := launcherPod(name, max(1, mustParse(granted).Len()))
	if err := b.pods.Add(pod); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &fakeLibvirt{fixture: b}
	if guest != "" {
		l.guest = guestOf(guest)
	}
	b.libvirts[name] = l
	if granted != "" {
		b.grants[pod.UID] = map[string]cpuset.Set{"compute": mustParse(granted)}
	}
	return l
}

// launcherOf is what the controller reads off the pod.
func (b *fixture) launcherOf(name string) launcher.Launcher {
	b.t.Helper()
	of, ok := launcher.Of(launcherPod(name, 1))
	if !ok {
		b.t.Fatal("the pod is no launcher")
	}
	return of
}

func launcherPod(name string, cpus int) *corev1.Pod {
	resources := corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewQuantity(int64(cpus), resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("64Mi"),
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "vms", UID: types.UID(name),
			Labels:      map[string]string{"kubevirt.io": "virt-launcher"},
			Annotations: map[string]string{"kubevirt.io/domain": "db"},
		},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"cpumanager": "true"},
			Containers:   []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: corev1.PodQOSGuaranteed},
	}
}

// set changes something of the fixture, and triggers the controller.
func (b *fixture) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.controller.Trigger()
}

// tell changes a libvirt and has it tell the change.
func (l *fakeLibvirt) tell(f func()) {
	l.fixture.mu.Lock()
	defer l.fixture.mu.Unlock()
	f()
	for _, changed := range l.changed {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

func (b *fixture) granted() (grants map[types.UID]map[string]cpuset.Set, current bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.grants, b.grants != nil && !b.torn
}

func (b *fixture) Event(object runtime.Object, eventType, reason, message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var name string
	switch o := object.(type) {
	case *corev1.Pod:
		name = o.Name
	case *corev1.Node:
		name = "node/" + o.Name
	case *corev1.ObjectReference:
		name = "vmi/" + o.Name
	default:
		b.t.Errorf("an event on a %T", object)
	}
	b.events = append(b.events, name+" "+reason+" "+message)
}

func (b *fixture) Eventf(object runtime.Object, eventType, reason, format string, args ...any) {
	b.Event(object, eventType, reason, fmt.Sprintf(format, args...))
}

func (b *fixture) AnnotatedEventf(object runtime.Object, _ map[string]string, eventType, reason, format string, args ...any) {
	b.Eventf(object, eventType, reason, format, args...)
}

// Connect implements Hypervisor.
func (b *fixture) Connect(ctx context.Context, place Place) (Connection, error) {
	b.mu.Lock()
	name := filepath.Base(place.PodDir)
	l := b.libvirts[name]
	b.mu.Unlock()
	b.note(name, "dial")
	if err := l.answer(ctx); err != nil && !errors.Is(err, ErrInTransit) { // which is about the guest
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := make(chan struct{}, 1)
	l.changed = append(l.changed, changed)
	l.open++
	l.dialled++
	return &fakeConnection{l, name, changed, false}, nil
}

// answer waits as long as libvirt takes, and fails as it does.
func (l *fakeLibvirt) answer(ctx context.Context) error {
	l.fixture.mu.Lock()
	err, hangs, slow := l.err, l.hangs, l.slow
	l.asked++
	l.fixture.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if slow > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(slow):
		}
	}
	return err
}

// note passes a call on to the scenario that wants to see it.
func (b *fixture) note(pod, call string) {
	if b.called != nil {
		b.called(pod, call)
	}
}

type fakeConnection struct {
	*fakeLibvirt
	pod     string
	changes chan struct{}
	closed  bool
}

func (c *fakeConnection) Guest(ctx context.Context, domain string) (*Guest, error) {
	c.fixture.note(c.pod, "read")
	if err := c.answer(ctx); err != nil {
		return nil, err
	}
	c.fixture.mu.Lock()
	defer c.fixture.mu.Unlock()
	if !strings.HasSuffix(domain, "_db") && domain != "" {
		return nil, errors.New("asked for a domain of another name: " + domain)
	}
	if c.guest == nil {
		return nil, ErrNoGuest
	}
	guest := *c.guest
	guest.VCPUs = append([]GuestThread(nil), guest.VCPUs...)
	guest.IOThreads = append([]GuestThread(nil), guest.IOThreads...)
	return &guest, nil
}

func (c *fakeConnection) Pin(ctx context.Context, _ *Guest, thread Thread, cpus cpuset.Set) error {
	c.fixture.note(c.pod, "pin "+thread.String()+"→"+cpus.String())
	if err := c.answer(ctx); err != nil {
		return err
	}
	c.fixture.mu.Lock()
	defer c.fixture.mu.Unlock()
	if c.busy || c.busyAfter > 0 && len(c.pins) >= c.busyAfter {
		return fmt.Errorf("pinning: %w", ErrInTransit)
	}
	if c.held[thread] {
		return errors.New("cannot set CPU affinity: Invalid argument")
	}
	c.pins = append(c.pins, thread.String()+"→"+cpus.String())
	if c.ignores {
		return nil
	}
	switch thread.Kind {
	case VCPU:
		at := slices.IndexFunc(c.guest.VCPUs, func(v GuestThread) bool { return v.ID == thread.ID })
		c.guest.VCPUs[at] = GuestThread{thread.ID, cpus, cpus}
	case IOThread:
		c.guest.IOThreads[thread.ID-1] = GuestThread{thread.ID, cpus, cpus}
	case Emulator:
		c.guest.Emulator = cpus
	}
	return nil
}

func (c *fakeConnection) Waits(ctx context.Context, _ *Guest) (map[int]time.Duration, error) {
	if err := c.answer(ctx); err != nil {
		return nil, err
	}
	c.fixture.mu.Lock()
	defer c.fixture.mu.Unlock()
	c.counted++
	if c.counts == nil || c.countsError != nil {
		return nil, c.countsError
	}
	return c.counts(), nil
}

func (c *fakeConnection) Changed() <-chan struct{} { return c.changes }

func (c *fakeConnection) Close() {
	c.fixture.mu.Lock()
	defer c.fixture.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.open--
	}
}

// pinned gives the pins that libvirt was asked for so far.
func (l *fakeLibvirt) pinned() string {
	l.fixture.mu.Lock()
	defer l.fixture.mu.Unlock()
	return strings.Join(l.pins, " ")
}

// eventsOf gives the events of a pod so far.
func (b *fixture) eventsOf(pod string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var events []string
	for _, event := range b.events {
		if text, ok := strings.CutPrefix(event, pod+" "); ok {
			events = append(events, text)
		}
	}
	return events
}

// awaitEvents waits until the pod's events are as many as want, each beginning so, and no others.
func (b *fixture) awaitEvents(pod string, want ...string) {
	b.t.Helper()
	b.await("the events", func() error {
		events := b.eventsOf(pod)
		if len(events) != len(want) {
			return fmt.Errorf("%s has events %q, want %q", pod, events, want)
		}
		for i, prefix := range want {
			if !strings.HasPrefix(events[i], prefix) {
				return fmt.Errorf("%s has events %q, want %q", pod, events, want)
			}
		}
		return nil
	})
}

func (b *fixture) await(what string, f func() error) {
	b.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			b.t.Fatalf("waiting for %s: %v", what, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// quiet lets several verify periods pass, so that what is done for each look would have been done again.
func (b *fixture) quiet() {
	<-time.After(5 * b.controller.Config.VerifyPeriod.Duration)
}
