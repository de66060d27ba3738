// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/config"
)

const (
	// minGap is the least time between two looks at one guest, so that a libvirt that tells changes without end costs
	// little.
	minGap = 50 * time.Millisecond
	// firstRetry is the wait after a first failure. It doubles with each further one, up to the verify period.
	firstRetry = 100 * time.Millisecond
	// maxAbsent bounds the wait for a socket that is not there yet: looking for it is a few system calls, and a launcher
	// pod that starts should not wait for its pins. After starting, a pod whose socket has not come is looked at less often:
	// one that waits for a migration may do so for minutes.
	maxAbsent  = 250 * time.Millisecond
	lateAbsent = time.Second
	starting   = 30 * time.Second
	// maxGap is the longest wait between two looks at a guest whose threads somebody moves again and again. The gap
	// doubles with each repair, so that two programs that disagree cost little. It is short again after twice that time
	// without a repair.
	maxGap = 4 * time.Second
	// longestCalm is the longest time between two looks at a guest of which nothing was ever found wrong, or not for long. A look
	// costs libvirt about a millisecond, on a CPU of the guest, and is the largest disturbance that regularly comes to one.
	longestCalm = time.Minute
	// plugPeriod is the longest time between two looks at a guest that has CPUs for vCPUs that are still to be plugged.
	// libvirt has no event for that.
	plugPeriod = 250 * time.Millisecond
	// maxDeadline is how long a libvirt that did not answer in time is given in the end: each time twice as long, so that
	// one on a slow host gets there at all. It is longer than the 30 s for which libvirt lets a call wait for another on
	// the same domain, such as a migration (QEMU_JOB_WAIT_TIME, src/qemu/qemu_domainjob.c, 9.0). A call that is given up
	// keeps one of libvirt's few threads until then, and calls must not pile up.
	maxDeadline = time.Minute
)

// theGuest is the key of a pace's one guest in its backoffs.
const theGuest = "guest"

// pace decides when one guest is looked at, and how long a look may take.
type pace struct {
	config   config.Pinning
	failures *flowcontrol.Backoff // looks in a row that found a problem
	failing  time.Time            // when the row began; zero when the last look found none
	timeouts *flowcontrol.Backoff // looks in a row that took longer than the configured deadline
	repairs  *flowcontrol.Backoff
	// fixed is the time between two looks that find nothing, where the VM asks for one; 0 where it does not. calm is then the
	// time to the next one, or 0 after something was found.
	fixed, calm time.Duration
	// notBefore is the earliest time of the next look; zero for any.
	notBefore time.Time
	jitter    func(time.Duration) time.Duration
}

// spread keeps the looks at different guests apart.
func spread(d time.Duration) time.Duration { return wait.Jitter(d, 0.1) }

func newPace(c config.Pinning, clock clock.Clock, jitter func(time.Duration) time.Duration) *pace {
	backoff := func(initial, longest time.Duration) *flowcontrol.Backoff {
		b := flowcontrol.NewBackOff(min(initial, longest), longest)
		b.Clock = clock
		return b
	}
	never := func(_, _ time.Time, _ time.Duration) bool { return false }
	p := &pace{
		config:   c,
		failures: backoff(firstRetry, c.VerifyPeriod.Duration),
		timeouts: backoff(2*c.Deadline.Duration, max(maxDeadline, c.Deadline.Duration)),
		repairs:  backoff(2*minGap, maxGap),
		jitter:   jitter,
	}
	p.failures.HasExpiredFunc = never
	p.timeouts.HasExpiredFunc = never
	return p
}

// deadline is how long the next look may take.
func (p *pace) deadline() time.Duration {
	return max(p.config.Deadline.Duration, p.timeouts.Get(theGuest))
}

// looked takes note of a look that took so long.
func (p *pace) looked(found *problem, took time.Duration, now time.Time) {
	switch {
	case found != nil && found.reason == reasonTimeout:
		p.timeouts.Next(theGuest, now)
	case took < p.config.Deadline.Duration:
		p.timeouts.Reset(theGuest)
	}
	if found == nil {
		p.failures.Reset(theGuest)
		p.failing = time.Time{}
		return
	}
	p.failures.Next(theGuest, now)
	if p.failing.IsZero() {
		p.failing = now
	}
}

// fought takes note of pins that had to be made again, or did not last.
func (p *pace) fought(now time.Time) {
	p.repairs.Next(theGuest, now)
	p.notBefore = now.Add(p.repairs.Get(theGuest))
}

// gap is the least time before the next look.
func (p *pace) gap(now time.Time) time.Duration { return max(minGap, p.notBefore.Sub(now)) }

// calmly is the time to the look after one that found nothing. It doubles from the verify period on, up to longestCalm.
func (p *pace) calmly() time.Duration {
	if p.fixed > 0 {
		return p.fixed
	}
	shortest := p.config.VerifyPeriod.Duration
	period := max(p.calm, shortest)
	p.calm = min(2*period, max(longestCalm, shortest))
	return period
}

// stirred takes note of pins that were made, and of threads that were elsewhere.
func (p *pace) stirred() { p.calm = 0 }

// next is the time until the next look that nothing asks for.
func (p *pace) next(found *problem, quiet, expecting bool, now time.Time) time.Duration {
	period := p.config.VerifyPeriod.Duration
	switch {
	case found == nil && !expecting:
		period = p.calmly()
	case quiet:
	case found != nil && found.reason == reasonHousekeeping: // nothing changes before KubeVirt moves the thread
	case found != nil:
		period = p.failures.Get(theGuest)
		switch {
		case found.reason != reasonUnreachable:
		case now.Sub(p.failing) < starting:
			period = min(period, maxAbsent)
		default:
			period = min(period, lateAbsent)
		}
	case expecting:
		period = min(period, plugPeriod)
	}
	return p.jitter(period)
}
