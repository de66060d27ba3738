package pinning

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/launcher"
)

// pass compares grant, cpuset, guest and threads once, and pins what is missing. Nil means that nothing is
// left to do: the pins are right, or there is no guest, or grants or machine are not known yet.
func (w *worker) pass(ctx context.Context) *problem {
	granted, p := w.grant()
	w.seen = entry{vm: w.launcher.VMI, state: stateWaiting, held: granted, pins: w.current.pins}
	host := w.Topology()
	if p == nil && (granted.IsEmpty() || host == nil) {
		return nil
	}
	if v := w.readVMI(ctx); v != nil && !v.Dedicated() {
		return nil // the pod looks dedicated by a node selector of its user's
	}
	if p == nil {
		p = w.launcherProblem()
	}
	if p != nil { // whoever is in that pod is not asked anything
		w.hangUp()
		return p
	}
	guest, unread := w.readGuest(ctx, granted)
	if guest == nil {
		return unread
	}
	w.seen.held = granted.Union(heldBy(guest))
	w.seen.pins = guest.text(pinsOf(guest))
	w.current.pins = w.seen.pins
	if unknown := granted.Minus(host.CPUs()); !unknown.IsEmpty() { // it has come online since the agent looked
		return &problem{reasonTopology, fmt.Errorf("the kubelet granted CPUs %s, and CPUs %s of these are not seen online", granted, unknown)}
	}
	early, late := w.compareCPUSet(granted)
	if early != nil {
		return early
	}
	if p := w.place(ctx, guest, granted, host); p != nil {
		return p
	}
	return late
}

// place moves the guest's threads to where they should be, or tells what it would move.
func (w *worker) place(ctx context.Context, guest *Guest, granted cpuset.Set, host *cputopology.Topology) *problem {
	shape := shapeOf(guest, granted, w.readVMI(ctx))
	// CPUs that neither its vCPUs nor its emulator and IO threads have any use for are for vCPUs that are still to come.
	w.current.expecting = guest.Pluggable && shape.CPUs() < granted.Len()
	todo, p := planFor(guest, shape, granted, host, renumber(w.current.settled, w.current.vcpus, guest))
	if p != nil {
		return p
	}
	if len(todo.steps) == 0 {
		w.settle(todo, guest, granted)
		if unread := w.current.unread; unread != nil {
			unread.pins = todo.pins
			w.pinned(ctx, *unread, guest, granted)
		}
		w.current.timed = true
		w.moved = time.Time{}
		if w.clock.Since(w.mended) > calm {
			w.gap = minGap
		}
		return nil
	}
	if w.Config.Mode == config.PinningRepair && guest.untouched() && len(w.current.settled.VCPUs) == 0 {
		return &problem{reasonUnpinned, fmt.Errorf("nobody has pinned the guest on the granted CPUs %s, and pinning.mode of the agent is repair", granted)}
	}
	drift := w.drifted(todo, guest, granted)
	if drift && w.moved.IsZero() {
		w.moved = w.clock.Now()
		driftSeen.Inc()
	}
	if drift || w.Config.Mode == config.PinningObserve {
		w.seen.state, w.seen.drift = stateDrifted, list(todo.steps)
	}
	if w.Config.Mode == config.PinningObserve {
		w.tellMisplaced(todo, granted)
		return nil
	}
	before := w.current.unread
	told := applied{todo, drift, w.regranted(granted)}
	w.current.unread = told.after(before)
	taken, done, p := w.apply(ctx, guest, todo, granted)
	switch {
	case p != nil:
		return p
	case !done && w.current.unread != nil: // the next look finds what was done, and nobody has been told of it
		w.current.unread = before
		if told.steps = todo.steps[:taken]; taken > 0 {
			w.current.unread = told.after(before)
		}
		return nil
	case !done:
		return nil
	}
	w.settle(todo, guest, granted)
	w.pinned(ctx, *w.current.unread, guest, granted)
	return nil
}

// pinned tells and counts pins that were read back.
func (w *worker) pinned(ctx context.Context, a applied, guest *Guest, granted cpuset.Set) {
	w.current.unread = nil
	w.observeTime(a.drift)
	w.tellPinned(a, guest, granted)
	klog.FromContext(ctx).V(2).Info("pinned guest", "cpus", granted.String(), "pins", pinMap(a.pins, guest), "drift", a.drift)
}

// compareCPUSet compares the container's cpuset with the grant. CPUs that are granted and not in it cannot be
// pinned to, which is an early problem; CPUs that are in it beyond the grant are a late one, since the pins
// keep the guest off them all the same.
func (w *worker) compareCPUSet(granted cpuset.Set) (early, late *problem) {
	if w.CPUSet == nil {
		return nil, nil
	}
	pod, err := w.Pods.Pods(w.pod.Namespace).Get(w.pod.Name)
	if err != nil || pod.UID != w.pod.UID {
		return nil, nil // it is gone, and so will be this worker
	}
	cpus, known, err := w.CPUSet(pod, w.launcher.Compute)
	if err != nil {
		return nil, &problem{reasonCPUSet, err}
	}
	if !known || cpus == granted {
		return nil, nil
	}
	p := &problem{reasonCPUSet, fmt.Errorf("the kubelet granted CPUs %s to container %s, and its cgroup lets it use %s",
		granted, w.launcher.Compute, cpus)}
	if granted.SubsetOf(cpus) {
		return nil, p
	}
	return p, nil
}

// grant is what the kubelet granted to the compute container: empty without a problem where it may have
// granted CPUs that are not known.
func (w *worker) grant() (cpuset.Set, *problem) {
	grants, current := w.Granted()
	granted := grants[w.pod.UID][w.launcher.Compute]
	if !granted.IsEmpty() {
		return granted, nil
	}
	causes := launcher.Problems(w.pod)
	if len(causes) == 0 && !current {
		return cpuset.Set{}, nil
	}
	if len(causes) == 0 {
		causes = []string{"the kubelet granted none, so its CPU manager's policy is not static, or was not when the pod started"}
	}
	return cpuset.Set{}, &problem{reasonNoGrant, fmt.Errorf("VM %s asked dedicated CPUs, but container %s has no exclusive ones: %s",
		w.launcher.VMI, w.launcher.Compute, strings.Join(causes, "; "))}
}

// readGuest connects if need be and reads the guest; nil without a problem means that none runs.
func (w *worker) readGuest(ctx context.Context, granted cpuset.Set) (*Guest, *problem) {
	if w.connection == nil {
		connection, err := w.Hypervisor.Connect(ctx, Place{
			PodUID: w.pod.UID, PodDir: filepath.Join(w.KubeletRootDir, "pods", string(w.pod.UID)), CPUs: granted.Len(),
		})
		if err != nil {
			return nil, w.problemOf(fmt.Errorf("connecting to libvirt: %w", err))
		}
		w.connection = connection
	}
	guest, err := w.connection.Guest(ctx, w.domain)
	if err != nil && w.absent(ctx, err) {
		return nil, nil
	}
	if err != nil {
		return nil, w.problemOf(fmt.Errorf("reading the guest: %w", err))
	}
	if w.current.uuid != guest.UUID || w.current.id != guest.Run || w.current.seen.IsZero() {
		w.current = guestRun{uuid: guest.UUID, id: guest.Run, seen: w.clock.Now(), arrived: w.arriving}
		w.arriving = false
	}
	return guest, nil
}

// apply takes all steps, also when one fails, and reads back whether the threads are there. libvirt may have taken
// long to get here, and may take long for each step, so it stops where these CPUs are not the VM's any more, and
// where the guest has ended or must be left alone for now: then it is not done, and taken is how many steps were.
func (w *worker) apply(ctx context.Context, guest *Guest, todo plan, granted cpuset.Set) (taken int, done bool, p *problem) {
	var errs []error
	for i, s := range todo.steps {
		if now, _ := w.grant(); now != granted {
			w.wake()
			return i, false, nil
		}
		err := w.connection.Pin(ctx, guest, s.thread, s.to)
		switch {
		case err == nil:
			pinsApplied.WithLabelValues(string(s.thread.Kind)).Inc()
		case len(errs) == 0 && w.absent(ctx, err):
			return i, false, nil
		default:
			errs = append(errs, fmt.Errorf("pinning %s to CPU %s: %w", s.thread, s.to, err))
		}
	}
	if len(errs) > 0 {
		return 0, false, w.problemOf(errors.Join(errs...))
	}
	after, err := w.connection.Guest(ctx, guest.Domain)
	switch {
	case err != nil && w.absent(ctx, err):
		return len(todo.steps), false, nil
	case err != nil:
		return 0, false, w.problemOf(fmt.Errorf("reading the pins back: %w", err))
	}
	if left := diff(renumber(todo.pins, guest.numbers(), after), after); len(left) > 0 {
		w.current.unread = nil
		w.gap = min(2*w.gap, maxGap) // our own pins are events, which would have us look again at once
		return 0, false, &problem{reasonNotVerified, fmt.Errorf("libvirt took the pins, but the threads are elsewhere: %s", list(left))}
	}
	return len(todo.steps), true, nil
}

// absent tells whether an error says that there is no guest to pin, or none that may be touched now.
func (w *worker) absent(ctx context.Context, err error) bool {
	switch {
	case errors.Is(err, ErrNoGuest):
		klog.FromContext(ctx).V(4).Info("no guest to pin", "err", err)
		w.current, w.seen.pins = guestRun{}, ""
	case errors.Is(err, ErrInTransit):
		klog.FromContext(ctx).V(4).Info("the guest is left alone for now", "err", err)
		w.arriving = w.arriving || w.current.seen.IsZero()
	default:
		return false
	}
	return true
}

func (w *worker) problemOf(err error) *problem {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s: %w", w.Config.Deadline.Duration, err)
	}
	return problemOf(err)
}

// drifted tells whether something moved the guest's threads off their pins. A thread that moves because the
// grant changed or a vCPU was plugged has not drifted: it was where it had been put, until the kubelet wrote the
// container another cpuset and the kernel moved the thread there. Nor has one of a guest that was just started or
// migrated here: libvirt takes the pins of the other node along. And what the last look did without reading it back
// was done by nobody else.
func (w *worker) drifted(todo plan, guest *Guest, granted cpuset.Set) bool {
	switch unread := w.current.unread; {
	case unread != nil && !unread.drift:
		return false
	case len(w.current.settled.VCPUs) == 0:
		return moves(todo.steps) && !w.current.arrived
	case !w.regranted(granted).IsEmpty():
		return false
	default:
		return len(diff(renumber(w.current.settled, w.current.vcpus, guest), guest)) > 0
	}
}

// regranted is the grant that the threads were settled on, where the kubelet has changed it since; else it is empty.
func (w *worker) regranted(granted cpuset.Set) cpuset.Set {
	if w.current.granted == granted {
		return cpuset.Set{}
	}
	return w.current.granted
}

// settle remembers where the threads rightly are.
func (w *worker) settle(p plan, guest *Guest, granted cpuset.Set) {
	w.current.settled, w.current.vcpus, w.current.granted = p.pins, guest.numbers(), granted
	w.seen.state, w.seen.drift = statePinned, ""
	w.seen.pins, w.seen.held = guest.text(p.pins), granted
	w.current.pins = w.seen.pins
}

// observeTime takes the time that pins or repairs took, and notes a repair.
func (w *worker) observeTime(drift bool) {
	now := w.clock.Now()
	if !w.current.timed {
		pinSeconds.Observe(now.Sub(w.current.seen).Seconds())
		w.current.timed = true
	}
	if drift {
		repairSeconds.Observe(now.Sub(w.moved).Seconds())
		w.gap = min(2*w.gap, maxGap)
		w.moved, w.mended = time.Time{}, now
	}
}
