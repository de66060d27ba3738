package pinning

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/placement"
)

const (
	// minGap is the least time between two looks at one guest, so that a libvirt that tells changes
	// without end costs little.
	minGap = 50 * time.Millisecond
	// firstRetry is the wait after a first failure; it doubles with each further one, up to the verify
	// period.
	firstRetry = 100 * time.Millisecond
	// maxAbsent bounds the wait for a socket that is not there yet: looking for it is a few system calls,
	// and a launcher pod that starts should not wait for its pins.
	maxAbsent = 250 * time.Millisecond
	// maxGap is the longest wait between two looks at a guest whose threads somebody moves again and again:
	// the gap doubles with each repair, so that two programs that disagree cost little.
	maxGap = 4 * time.Second
	// plugPeriod is the longest time between two looks at a guest that has been granted CPUs for vCPUs that are still to
	// be plugged. libvirt does not tell that they were.
	plugPeriod = 250 * time.Millisecond
	// maxDeadline is how long a libvirt that did not answer in time is given in the end: each time twice as long, so
	// that one on a slow host gets there at all. It is longer than the 30 s for which libvirt lets a call wait for
	// another on the same domain, such as a migration (QEMU_JOB_WAIT_TIME, src/qemu/qemu_domainjob.c, 9.0): a call
	// that is given up keeps one of libvirt's few threads until then, and calls must not pile up.
	maxDeadline = time.Minute
	// calm is how long a guest must have stayed in place for the gap to be the shortest again.
	calm = 3 * maxGap
)

// worker keeps the guest of one launcher pod pinned. Only its own goroutine uses its fields, except
// granted, which is the controller's.
type worker struct {
	*Controller
	pod      *corev1.Pod
	vm       *corev1.ObjectReference // its VMI, nil where there is none
	launcher launcher.Launcher
	domain   string // libvirt's name of the guest
	woken    chan struct{}
	stop     context.CancelFunc
	granted  cpuset.Set // the grant that the worker was last woken for

	connection Connection // nil while there is none
	current    guestRun
	arriving   bool // a guest is being started or migrated here, and was not seen before
	asked      asked
	failing    time.Time // when the row of failures began; zero when the last look did not fail
	retry      time.Duration
	deadline   time.Duration // for the next look
	told       string        // the last complaint that was told, "" once all is well
	seen       entry         // what the look that is under way has found
	moved      time.Time     // when the threads were first seen off their pins; zero while they are not
	mended     time.Time     // when that was repaired last
	gap        time.Duration
}

// guestRun is what is remembered of one run of a guest. Losing it costs nothing but a repaired thread
// coming back to another core than before.
type guestRun struct {
	uuid      [16]byte
	id        int32
	seen      time.Time
	settled   placement.Pins // the last valid pins, the zero value before there were any
	vcpus     []int          // the numbers of the vCPUs that they are of
	granted   cpuset.Set     // the grant that they are on, empty before there were any
	unread    *applied       // what libvirt was told, when it is not known yet what became of it
	expecting bool           // vCPUs are to be plugged
	arrived   bool           // it was seen being started or migrated here
	timed     bool           // seen to settled was observed, or was not ours to observe
	pins      string         // as last reported: a libvirt that does not answer for a while takes nothing back
}

// applied is what libvirt was told.
type applied struct {
	plan
	drift  bool       // it repairs what something else moved
	before cpuset.Set // the grant that the threads were on, where it is the kubelet that changed it; else empty
}

// after adds what libvirt was told before and did not answer to: nobody has been told of it yet.
func (a applied) after(before *applied) *applied {
	if before == nil {
		return &a
	}
	again := map[Thread]bool{}
	for _, s := range a.steps {
		again[s.thread] = true
	}
	steps := slices.DeleteFunc(slices.Clone(before.steps), func(s step) bool { return again[s.thread] })
	if a.before.IsEmpty() {
		a.before = before.before
	}
	// Where the grant has changed since, it does not matter any more what had moved before.
	drift := (a.drift || before.drift) && a.before.IsEmpty()
	return &applied{plan{a.pins, append(steps, a.steps...)}, drift, a.before}
}

func newWorker(c *Controller, pod *corev1.Pod, of launcher.Launcher) *worker {
	name := launcher.DomainName(of.VMI)
	if pattern := c.Config.DomainName; pattern != "" {
		name = strings.NewReplacer("{namespace}", of.VMI.Namespace, "{name}", of.VMI.Name).Replace(pattern)
	}
	return &worker{
		Controller: c, pod: pod, vm: vmiOf(pod, of), launcher: of, domain: name, woken: make(chan struct{}, 1),
		gap: minGap, deadline: c.Config.Deadline.Duration,
	}
}

// wake makes the worker look again. It never blocks.
func (w *worker) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// run looks at the guest until ctx ends: at once, then whenever it is woken, libvirt tells a change, or
// the time for the next look has come.
func (w *worker) run(ctx context.Context) {
	defer w.hangUp()
	for {
		next := w.clock.NewTimer(w.look(ctx))
		if !w.pause(ctx) {
			next.Stop()
			return
		}
		select {
		case <-ctx.Done():
		case <-next.C():
		case <-w.woken:
		case _, alive := <-w.changes():
			if !alive {
				w.hangUp()
			}
		}
		next.Stop()
	}
}

// pause keeps two looks a gap apart; false means that ctx ended.
func (w *worker) pause(ctx context.Context) bool {
	gap := w.clock.NewTimer(w.gap)
	defer gap.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-gap.C():
		return true
	}
}

func (w *worker) changes() <-chan struct{} {
	if w.connection == nil {
		return nil
	}
	return w.connection.Changed()
}

func (w *worker) hangUp() {
	if w.connection != nil {
		w.connection.Close()
		w.connection = nil
	}
}

// look makes one pass within the deadline and returns the wait until the next one.
func (w *worker) look(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	within, cancel := context.WithTimeout(ctx, w.deadline)
	defer cancel()
	start := w.clock.Now()
	p := w.pass(within)
	if ctx.Err() != nil {
		return 0
	}
	switch {
	case p != nil && p.reason == reasonTimeout:
		w.deadline = max(min(2*w.deadline, maxDeadline), w.deadline)
	case w.clock.Since(start) < w.Config.Deadline.Duration:
		w.deadline = w.Config.Deadline.Duration
	}
	next := wait.Jitter(w.Config.VerifyPeriod.Duration, 0.1)
	if w.current.expecting {
		next = min(next, plugPeriod)
	}
	if p == nil {
		w.failing, w.retry = time.Time{}, 0
		if w.seen.drift == "" {
			w.told = ""
		}
	} else {
		next = w.failed(ctx, p)
	}
	if pending := w.account(p); pending {
		next = min(next, conflictGrace)
	}
	return next
}

// account notes what the look has found where all workers see it, and tells of a CPU that another VM is on
// too; pending means that it is to be told if it lasts.
func (w *worker) account(p *problem) (pending bool) {
	switch {
	case p == nil:
	case p.reason == reasonNoGrant:
		w.seen.state = stateNotExclusive
	case w.seen.drift != "":
		w.seen.state = stateDrifted
	default:
		w.seen.state = stateFailing
	}
	now := w.clock.Now()
	w.book.put(w.pod.UID, w.seen)
	news, pending := w.book.conflictOf(w.pod.UID, now)
	if news != "" {
		w.tellConflict(news)
	}
	if w.book.show(w.pod.UID, now) {
		w.changed()
	}
	return pending
}

// failed counts, tells and logs a problem and returns the wait until the next try.
func (w *worker) failed(ctx context.Context, p *problem) time.Duration {
	passErrors.WithLabelValues(string(p.reason)).Inc()
	now := w.clock.Now()
	if w.failing.IsZero() {
		w.failing = now
	}
	klog.FromContext(ctx).V(2).Info("guest is not pinned", "reason", string(p.reason), "err", p.Error(), "since", w.failing)
	if now.Sub(w.failing) >= p.patience()*w.Config.Deadline.Duration {
		w.tellProblem(p)
		if p.reason == reasonCPUSet {
			w.seen.drift = p.Error()
		}
	}
	if p.ofConnection() {
		w.hangUp() // whatever state the connection is in, the next try does not depend on it
	}
	longest := w.Config.VerifyPeriod.Duration
	if p.reason == reasonUnreachable {
		longest = min(longest, maxAbsent)
	}
	w.retry = min(max(2*w.retry, firstRetry), longest)
	return wait.Jitter(w.retry, 0.1)
}
