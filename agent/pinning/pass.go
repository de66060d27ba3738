package pinning

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/launcher"
)

// pass compares grant, guest and threads once, and pins what is missing. Nil means that nothing is left to
// do: the pins are right, or there is no guest, or grants or machine are not known yet.
func (w *worker) pass(ctx context.Context) *problem {
	granted, p := w.grant()
	host := w.Topology()
	if p != nil || granted.IsEmpty() || host == nil {
		return p
	}
	guest, p := w.readGuest(ctx)
	if guest == nil {
		return p
	}
	todo, p := planFor(guest, granted, host, w.current.settled)
	if p != nil {
		return p
	}
	if len(todo.steps) == 0 {
		w.settle(todo)
		w.current.timed = true
		return nil
	}
	drift := w.drifted(todo, guest)
	if w.Config.Mode == config.PinningObserve {
		if w.tellMisplaced(todo, granted) && drift {
			driftSeen.Inc()
		}
		return nil
	}
	if drift && w.failing.IsZero() {
		driftSeen.Inc()
	}
	if p := w.apply(ctx, guest, todo); p != nil {
		return p
	}
	w.settle(todo)
	w.observeTime()
	w.tellPinned(todo, guest, granted, drift)
	klog.FromContext(ctx).V(2).Info("pinned guest", "cpus", granted.String(), "pins", pinMap(todo.pins, guest), "drift", drift)
	return nil
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
func (w *worker) readGuest(ctx context.Context) (*Guest, *problem) {
	if w.connection == nil {
		connection, err := w.Hypervisor.Connect(ctx, filepath.Join(w.KubeletRootDir, "pods", string(w.pod.UID)))
		if err != nil {
			return nil, w.problemOf(fmt.Errorf("connecting to libvirt: %w", err))
		}
		w.connection = connection
	}
	guest, err := w.connection.Guest(ctx, launcher.DomainName(w.launcher.VMI))
	if errors.Is(err, ErrNoGuest) {
		klog.FromContext(ctx).V(4).Info("no guest to pin", "err", err)
		w.current = guestRun{}
		return nil, nil
	}
	if err != nil {
		return nil, w.problemOf(fmt.Errorf("reading the guest: %w", err))
	}
	if w.current.uuid != guest.UUID || w.current.id != guest.Run || w.current.seen.IsZero() {
		w.current = guestRun{uuid: guest.UUID, id: guest.Run, seen: w.clock.Now()}
	}
	return guest, nil
}

// apply takes all steps, also when one fails, and reads back whether the threads are there.
func (w *worker) apply(ctx context.Context, guest *Guest, todo plan) *problem {
	var errs []error
	for _, s := range todo.steps {
		if err := w.connection.Pin(ctx, guest, s.thread, s.to); err != nil {
			errs = append(errs, fmt.Errorf("pinning %s to CPU %s: %w", s.thread, s.to, err))
			continue
		}
		pinsApplied.WithLabelValues(string(s.thread.Kind)).Inc()
	}
	if len(errs) > 0 {
		return w.problemOf(errors.Join(errs...))
	}
	after, err := w.connection.Guest(ctx, guest.Domain)
	if err != nil {
		return w.problemOf(fmt.Errorf("reading the pins back: %w", err))
	}
	if left := diff(todo.pins, after); len(left) > 0 {
		return &problem{reasonNotVerified, fmt.Errorf("libvirt took the pins, but the threads are elsewhere: %s", list(left))}
	}
	return nil
}

func (w *worker) problemOf(err error) *problem {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s: %w", w.Config.Deadline.Duration, err)
	}
	return problemOf(err)
}

// drifted tells whether something moved the guest's threads off their pins. A thread that moves because the
// grant changed or a vCPU was plugged has not drifted: it was where it had been put.
func (w *worker) drifted(todo plan, guest *Guest) bool {
	if len(w.current.settled.VCPUs) > 0 {
		return len(diff(w.current.settled, guest)) > 0
	}
	return moves(todo.steps)
}

// settle remembers where the threads rightly are.
func (w *worker) settle(p plan) {
	w.current.settled = p.pins
	w.told = ""
}

func (w *worker) observeTime() {
	if !w.current.timed {
		pinSeconds.Observe(w.clock.Since(w.current.seen).Seconds())
		w.current.timed = true
	}
}
