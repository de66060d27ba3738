// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/nodereport"
)

const (
	// waitsPeriod is the time between two readings of how long a guest's vCPUs have waited. A look is every few seconds, and
	// each further call to libvirt takes time of the guest's own CPUs.
	waitsPeriod = time.Minute
	// waitsEarly is how much sooner a reading may be. A guest of which nothing is found wrong is looked at about once a minute.
	waitsEarly = 10 * time.Second
	// longestSpan is how far two readings may be apart. A longer time is not "the last minute" any more.
	longestSpan = 2 * waitsPeriod
	// waitsInRow is how many minutes in a row must be above the limit before an event is written: a job that runs for a
	// minute or two is no news.
	waitsInRow = 3
	// waitsChange is by which part a vCPU's share must change before the report shows another number. Each change is a
	// write at the API server.
	waitsChange = 0.25
	// waitsNamed is how many vCPUs an event names.
	waitsNamed = 8
)

// waits is what is remembered of how long the vCPUs of one run of a guest have waited for a CPU.
type waits struct {
	uuid [16]byte
	run  int32
	// at is when last was read; both are empty before the first reading.
	at   time.Time
	last map[int]time.Duration
	// asked is when libvirt was asked, whatever it answered.
	asked time.Time
	// row is the number of minutes in a row in which some vCPU was above the limit. told reports whether an event says so.
	row  int
	told bool
	// shown are the shares of vCPUs above the limit, as the report has them.
	shown nodereport.Waits
}

// of gives what is remembered of that guest: nothing where it is another run.
func (w waits) of(guest *Guest) waits {
	if guest.UUID == w.uuid && guest.Run == w.run {
		return w
	}
	return waits{uuid: guest.UUID, run: guest.Run}
}

// due reports whether libvirt is to be asked about a guest that was first seen at that time. The first minute of a guest is
// left out: while it starts, QEMU's other threads have much to do on its CPUs.
func (w *waits) due(seen, now time.Time) bool {
	return now.Sub(seen) >= waitsPeriod && now.Sub(w.asked) >= waitsPeriod-waitsEarly
}

// look takes a reading. It gives the part of the time since the last one that each vCPU has waited; nil where that was none,
// or too long ago. A vCPU that was not there, or whose counter went back because its thread is another one, is left out.
func (w *waits) look(counted map[int]time.Duration, now time.Time) map[int]float64 {
	before := w.last
	span := now.Sub(w.at)
	w.at = now
	w.last = counted
	if before == nil || span > longestSpan {
		return nil
	}
	shares := map[int]float64{}
	for id, total := range counted {
		earlier, known := before[id]
		if known && total >= earlier {
			shares[id] = min(1, float64(total-earlier)/float64(span))
		}
	}
	return shares
}

// judge compares the shares with the limit. It reports whether an event is due.
func (w *waits) judge(shares map[int]float64, limit float64) (news bool) {
	above := nodereport.Waits{}
	calm := true
	for id, share := range shares {
		if share >= limit {
			above[id] = share
		}
		calm = calm && share < limit/2
	}
	same := maps.EqualFunc(w.shown, above, func(a, b float64) bool { return math.Abs(a-b) <= waitsChange*a })
	if !same {
		w.shown = above
	}
	switch {
	case len(above) > 0:
		w.row++
		news = w.row >= waitsInRow && !w.told
		w.told = w.told || news
	case calm || !w.told:
		w.row = 0
		w.told = false
	}
	return news
}

// text is what the report has of it; "" where no vCPU is above the limit, or nothing has been read for long.
func (w *waits) text(now time.Time) string {
	if now.Sub(w.at) > longestSpan {
		return ""
	}
	return w.shown.String()
}

// readWaits asks libvirt how long the guest's vCPUs have waited, once a minute. What goes wrong with that is no problem of the
// guest's pins: an older libvirt does not know the call.
func (w *worker) readWaits(ctx context.Context, o *observation) {
	if w.state.phase == ended {
		w.waits = waits{}
	}
	limit := w.options.Config.WaitLimitPercent
	if o.guest == nil || w.connection == nil || limit == nil || *limit == 0 {
		return
	}
	w.waits = w.waits.of(o.guest)
	if !w.waits.due(w.state.seen, o.at) {
		return
	}
	w.waits.asked = o.at
	counted, err := w.connection.Waits(ctx, o.guest)
	if err != nil {
		klog.FromContext(ctx).V(2).Info("how long the guest's vCPUs wait for a CPU is not known", "err", err)
		return
	}
	shares := w.waits.look(counted, w.clock.Now())
	for _, share := range shares {
		waitRatio.Observe(share)
	}
	if shares != nil && w.waits.judge(shares, float64(*limit)/100) {
		w.event(corev1.EventTypeWarning, EventVCPUWaits, w.waits.message(shares))
	}
}

// message names the vCPUs above the limit that have waited longest.
func (w *waits) message(shares map[int]float64) string {
	var parts []string
	for _, id := range w.shown.Longest(waitsNamed) {
		parts = append(parts, fmt.Sprintf("vCPU %d waited %s", id, nodereport.Percent(shares[id])))
	}
	return fmt.Sprintf("%s of the last minute for its CPU, after %d such minutes in a row; see condition Exclusive of the NodeCPU for who else may run there;"+
		" QEMU's own threads are kept off the vCPUs' CPUs by isolateEmulatorThread and ioThreadsPolicy", strings.Join(parts, ", "), waitsInRow)
}
