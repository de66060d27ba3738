// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// refusalLasts is how long a vCPU that the kernel refused to move is left alone. The kernel's answer does not change
// before KubeVirt moves the thread to another cgroup.
const refusalLasts = time.Minute

// outcome is what became of a plan's steps.
type outcome struct {
	// taken is how many of the steps libvirt may have taken.
	taken int
	// refused are the threads that the kernel refused to move out of KubeVirt's housekeeping cgroup.
	refused []Thread
	// guest is the guest as read back; nil where it was not. verified reports whether its threads are where the plan says.
	guest    *Guest
	verified bool
	// presence and problem are why the steps were not taken or not read back.
	presence presence
	problem  *problem
}

// act takes all steps of a plan, also when one fails, and reads back whether the threads are there. libvirt may take long
// for each, so it stops where the CPUs are not the VM's any more, and where the guest has ended or may not be touched.
func (w *worker) act(ctx context.Context, o *observation, p *plan) outcome {
	if !p.acts {
		return outcome{}
	}
	var done outcome
	var errs []error
	var held []stuckThread
	for i, s := range p.steps {
		now, _ := w.grant()
		if now != o.granted {
			w.wake()
			return outcome{taken: i}
		}
		err := w.connection.Pin(ctx, o.guest, s.thread, s.to)
		if err == nil {
			pinsApplied.WithLabelValues(string(s.thread.Kind)).Inc()
			continue
		}
		presence, _ := w.absence(ctx, err)
		if len(errs) == 0 && (presence == gone || presence == inTransit) {
			return outcome{taken: i, presence: presence}
		}
		if ctx.Err() == nil && o.keptBack(s) {
			done.refused = append(done.refused, s.thread)
			held = append(held, stuckThread{s, housekeeping, o.housekeeping})
			continue
		}
		errs = append(errs, fmt.Errorf("pinning %s to CPU %s: %w", s.thread, s.to, err))
	}
	done.taken = len(p.steps)
	switch {
	case len(errs) > 0:
		done.presence, done.problem = w.absence(ctx, errors.Join(errs...))
	case len(held) > 0:
		done.problem = &problem{reason: reasonHousekeeping, err: errors.New(list(held))}
	default:
		return w.readBack(ctx, o, p)
	}
	return done
}

// readBack reads where the threads are after libvirt took all steps.
func (w *worker) readBack(ctx context.Context, o *observation, p *plan) outcome {
	done := outcome{taken: len(p.steps)}
	guest, err := w.connection.Guest(ctx, o.guest.Domain)
	if err != nil {
		done.presence, done.problem = w.absence(ctx, fmt.Errorf("reading the pins back: %w", err))
		return done
	}
	done.guest = guest
	left, _ := compare(p.belongs, guest, o.confines(guestState{}))
	if len(left) > 0 {
		done.problem = &problem{reason: reasonNotVerified, err: fmt.Errorf("libvirt took the pins, but the threads are elsewhere: %s", list(left))}
	}
	done.verified = len(left) == 0
	return done
}

// keptBack reports whether a step leads out of KubeVirt's housekeeping cgroup, in which the thread seems to be.
func (o *observation) keptBack(s step) bool {
	return !o.housekeeping.IsEmpty() && s.from.SubsetOf(o.housekeeping) && !s.to.Overlaps(o.housekeeping)
}
