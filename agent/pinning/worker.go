// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/exclusive"
	"corepin.dev/corepin/agent/pinning/ledger"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/launcher"
)

// worker keeps the guest of one launcher pod pinned. Only its own goroutine uses its fields, except granted and verdict,
// which are the controller's.
type worker struct {
	options  *Options
	clock    clock.WithTicker
	ledger   *ledger.Ledger
	entry    *ledger.Guest
	pod      *corev1.Pod
	vmRef    *corev1.ObjectReference // its VMI, nil where there is none
	launcher launcher.Launcher
	domain   string // libvirt's name of the guest; "" where only the node knows of the pod
	woken    chan struct{}
	stop     context.CancelFunc
	granted  cpuset.Set // the grant that the worker was last woken for
	verdict  exclusive.Verdict

	connection Connection // nil while there is none
	vmi        vmiOfPod
	state      guestState
	pace       *pace
	complaints *complaints
	deleted    bool   // the pod is being deleted
	confined   string // the confined threads that were told last
	proof      proof
	waits      waits
	// wrongPeriod is what was told of the pod's PeriodAnnotation.
	wrongPeriod string
}

func newWorker(c *Controller, pod *corev1.Pod, of launcher.Launcher) *worker {
	w := &worker{
		options: &c.Options, clock: c.clock, ledger: c.ledger, entry: c.ledger.Open(pod.UID, of.VMI),
		pod: pod, vmRef: vmiOf(pod, of), launcher: of, domain: domainName(c.Config.DomainName, pod, of),
		woken: make(chan struct{}, 1), pace: newPace(c.Config, c.clock, c.jitter), complaints: newComplaints(c.Config.Deadline.Duration, c.clock),
	}
	w.entry.OnConflict(w.wake)
	return w
}

// domainName is libvirt's name of a VM's domain, by a pattern of the configuration or as KubeVirt names it. It is "" for a
// pod that only the node knows of: its libvirt runs one domain, whatever its name.
func domainName(pattern string, pod *corev1.Pod, of launcher.Launcher) string {
	switch {
	case pod.Name == "":
		return ""
	case pattern == "":
		return launcher.DomainName(of.VMI)
	}
	return strings.NewReplacer("{namespace}", of.VMI.Namespace, "{name}", of.VMI.Name).Replace(pattern)
}

// wake makes the worker look again. It never blocks.
func (w *worker) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// run looks at the guest until ctx ends: at once, then whenever it is woken, libvirt tells a change, or the time for the
// next look has come.
func (w *worker) run(ctx context.Context) {
	defer w.hangUp()
	for {
		w.drain()
		next := w.clock.NewTimer(w.look(ctx))
		now := w.clock.Now()
		earliest := now.Add(w.pace.gap(now))
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
		if !w.pause(ctx, earliest) {
			return
		}
	}
}

// drain takes the signals that have come so far: the look that follows sees what they are about.
func (w *worker) drain() {
	select {
	case <-w.woken:
	default:
	}
	select {
	case _, alive := <-w.changes():
		if !alive {
			w.hangUp()
		}
	default:
	}
}

// pause waits until the next look may be; false means that ctx ended.
func (w *worker) pause(ctx context.Context, earliest time.Time) bool {
	wait := earliest.Sub(w.clock.Now())
	if wait <= 0 {
		return ctx.Err() == nil
	}
	gap := w.clock.NewTimer(wait)
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

// currentPod is the pod as it is now; as it was when the worker began where it is gone.
func (w *worker) currentPod() *corev1.Pod {
	pod, err := w.options.Pods.Pods(w.pod.Namespace).Get(w.pod.Name)
	if err != nil || pod.UID != w.pod.UID {
		return w.pod
	}
	return pod
}

// look observes, plans, acts and tells once, within the deadline. It returns the wait until the next look.
func (w *worker) look(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	within, cancel := context.WithTimeout(ctx, w.pace.deadline())
	defer cancel()
	start := w.clock.Now()
	o := w.observe(within)
	state := w.state.observed(o)
	p := planFor(w.options.Config.Mode, state, o)
	done := w.act(within, o, p)
	if ctx.Err() != nil {
		return 0
	}
	if p.cause == repaired && state.offSince.IsZero() {
		driftSeen.Inc()
	}
	state, made := state.concluded(o, p, done)
	w.state = state
	w.deleted = o.deleted
	found := p.problem
	if done.problem != nil {
		found = done.problem
	}
	w.readWaits(within, o)
	now := w.clock.Now()
	w.pace.looked(found, now.Sub(start), now)
	return w.tell(ctx, o, p, found, made)
}

// tell makes known what the look has found and done: in events, the log, metrics and the ledger. It returns the wait until
// the next look.
func (w *worker) tell(ctx context.Context, o *observation, p *plan, found *problem, made *change) time.Duration {
	now := w.clock.Now()
	if made != nil {
		w.tellMade(ctx, o, made, now)
	}
	if p.observes && w.state.drift != "" {
		w.tellMisplaced(w.state.drift, o.granted)
	}
	if o.guest != nil {
		w.tellExclusive(w.options.verdict(w.pod.UID, o.granted), o.granted)
		w.tellConfined(p.confined())
	}
	quiet := w.quiet(o, found)
	drift := w.state.drift
	complaint := w.complain(ctx, found, quiet, now)
	if complaint != "" {
		drift = complaint
	}
	if found == nil && drift == "" {
		w.complaints.told = ""
	} else {
		w.pace.stirred()
	}
	if found != nil && found.ofConnection() {
		w.hangUp() // the next try does not depend on the state of this connection
	}
	if found != nil && found.reason == reasonNotVerified {
		w.pace.fought(now) // our own pins are events, which would make the worker look again at once
	}
	update := w.entry.Put(ledger.Entry{
		VM: w.launcher.VMI, State: w.ledgerState(found, drift), Pins: w.state.whereabouts, Waits: w.waits.text(now), Drift: drift, Held: o.claims(),
	})
	w.tellConflicts(update.Conflicts)
	if update.Shown {
		w.options.changed()
	}
	next := w.pace.next(found, quiet, p.expecting, now)
	if update.Again > 0 {
		next = min(next, update.Again)
	}
	return next
}

// tellMade tells and counts pins that were read back.
func (w *worker) tellMade(ctx context.Context, o *observation, made *change, now time.Time) {
	w.pace.stirred()
	if made.first {
		pinSeconds.Observe(now.Sub(w.state.seen).Seconds())
	}
	if made.cause == repaired {
		repairSeconds.Observe(now.Sub(made.offSince).Seconds())
		w.ledger.Repaired(w.launcher.VMI, list(made.steps))
		w.pace.fought(now)
	}
	w.tellPinned(made, o.granted)
	klog.FromContext(ctx).V(2).Info("pinned guest", "cpus", o.granted.String(), "pins", made.pins.String(), "drift", made.cause == repaired)
}

// quiet reports whether a problem belongs to an ordinary start or end, so that it is neither told nor retried fast. A
// guest that ended takes its libvirt along before the pod ends. The target of a migration waits for its guest, and is
// looked for at the usual pace.
func (w *worker) quiet(o *observation, found *problem) bool {
	switch {
	case found == nil:
		return false
	case o.deleted:
		return true
	}
	return found.ofConnection() && w.state.phase == ended
}

// silent reports whether a problem is not told, though it is retried as usual.
func (w *worker) silent(found *problem) bool {
	return found.ofConnection() && w.launcher.Role == launcher.MigrationTarget && !w.state.phase.ran()
}

// complain counts, tells and logs the problem of a look. It returns what the report is to show of it; "" for nothing.
func (w *worker) complain(ctx context.Context, found *problem, quiet bool, now time.Time) string {
	if found != nil && (quiet || w.silent(found)) {
		klog.FromContext(ctx).V(4).Info("guest is not pinned yet or any more", "reason", string(found.reason), "err", found.Error())
		return ""
	}
	due := w.complaints.note(found, now)
	if found == nil {
		return w.complaints.recurring()
	}
	passErrors.WithLabelValues(string(found.reason)).Inc()
	if !due {
		return ""
	}
	text := w.complaints.rows[found.reason].text
	w.tellProblem(found, text)
	if w.complaints.logs(found, now) {
		klog.FromContext(ctx).Info("guest is not pinned", "reason", string(found.reason), "err", text, "since", w.complaints.rows[found.reason].first)
	}
	if found.reason == reasonCPUSet {
		return text
	}
	return ""
}

// ledgerState is the guest's state in the ledger.
func (w *worker) ledgerState(found *problem, drift string) ledger.State {
	switch {
	case found != nil && found.reason == reasonNoGrant:
		return ledger.NotExclusive
	case drift != "":
		return ledger.Drifted
	case found != nil:
		return ledger.Failing
	case w.state.phase == pinned:
		return ledger.Pinned
	}
	return ledger.Waiting
}
