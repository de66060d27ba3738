// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/nodereport"
)

// reading is what libvirt has counted at some time after the first, by vCPU.
type reading struct {
	at      time.Duration
	counted map[int]time.Duration
}

func TestWhatCountsAsWaiting(t *testing.T) {
	const second = time.Second
	for name, tc := range map[string]struct {
		before, now reading
		want        string
	}{
		"a part of the minute":      {reading{0, map[int]time.Duration{0: second, 1: second}}, reading{time.Minute, map[int]time.Duration{0: second, 1: 4 * second}}, "0=0.0 1=5.0"},
		"by the time that it was":   {reading{0, map[int]time.Duration{0: 0}}, reading{90 * second, map[int]time.Duration{0: 9 * second}}, "0=10"},
		"more than all":             {reading{0, map[int]time.Duration{0: 0}}, reading{time.Minute, map[int]time.Duration{0: time.Hour}}, "0=100"},
		"the counter went back":     {reading{0, map[int]time.Duration{0: 9 * second, 1: 0}}, reading{time.Minute, map[int]time.Duration{0: second, 1: 0}}, "1=0.0"},
		"a vCPU was plugged":        {reading{0, map[int]time.Duration{0: 0}}, reading{time.Minute, map[int]time.Duration{0: 0, 1: 9 * second}}, "0=0.0"},
		"a vCPU was unplugged":      {reading{0, map[int]time.Duration{0: 0, 1: 0}}, reading{time.Minute, map[int]time.Duration{0: 0}}, "0=0.0"},
		"nothing is counted":        {reading{0, map[int]time.Duration{}}, reading{time.Minute, map[int]time.Duration{}}, ""},
		"not read for long":         {reading{0, map[int]time.Duration{0: 0}}, reading{longestSpan + 1, map[int]time.Duration{0: 9 * second}}, ""},
		"one reading was left out":  {reading{0, map[int]time.Duration{0: 0}}, reading{longestSpan, map[int]time.Duration{0: 12 * second}}, "0=10"},
		"the first reading of them": {reading{}, reading{time.Minute, map[int]time.Duration{0: 9 * second}}, ""},
	} {
		var w waits
		if tc.before.counted != nil {
			w.look(tc.before.counted, noon.Add(tc.before.at))
		}
		got := nodereport.Waits(w.look(tc.now.counted, noon.Add(tc.now.at))).String()
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestWhenWaitingIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		minutes []float64 // the share of vCPU 1, minute by minute
		news    string    // "!" for each minute with an event
		shown   string    // what the report has, minute by minute
	}{
		"never above":               {[]float64{0, 0.049, 0.049, 0.049, 0.049}, "-----", "- - - - -"},
		"two minutes are no news":   {[]float64{0.5, 0.5, 0, 0.5, 0.5}, "-----", "50 50 - 50 50"},
		"three in a row, and once":  {[]float64{0.05, 0.05, 0.05, 0.05, 0.05}, "--!--", "5.0 5.0 5.0 5.0 5.0"},
		"a break begins anew":       {[]float64{0.05, 0.05, 0.04, 0.05, 0.05, 0.05}, "-----!", "5.0 5.0 - 5.0 5.0 5.0"},
		"not again before it ends":  {[]float64{0.1, 0.1, 0.1, 0.03, 0.1, 0.1, 0.1}, "--!----", "10 10 10 - 10 10 10"},
		"again once it has ended":   {[]float64{0.1, 0.1, 0.1, 0.02, 0.1, 0.1, 0.1}, "--!---!", "10 10 10 - 10 10 10"},
		"the number stays for long": {[]float64{0.1, 0.12, 0.08, 0.124, 0.126, 0.13}, "--!---", "10 10 10 10 13 13"},
	} {
		var w waits
		var news strings.Builder
		var shown []string
		for _, share := range tc.minutes {
			if w.judge(map[int]float64{0: 0.01, 1: share}, 0.05) {
				news.WriteString("!")
			} else {
				news.WriteString("-")
			}
			_, text, _ := strings.Cut(w.shown.String(), "=")
			if text == "" {
				text = "-"
			}
			shown = append(shown, text)
		}
		if news.String() != tc.news || strings.Join(shown, " ") != tc.shown {
			t.Errorf("%s: events %s, report %q, want %s and %q", name, news.String(), shown, tc.news, tc.shown)
		}
	}
}

// waiting begins a bench whose libvirt says, of the guest of VM db, that vCPU 1 waits for so much of the time.
func waiting(t *testing.T, limit int32, share float64) (*fixture, *fakeLibvirt) {
	b := serialFixture(t, config.PinningEnforce)
	b.controller.Config.VerifyPeriod.Duration = 4 * time.Second
	b.controller.Config.WaitLimitPercent = &limit
	l := b.vm("db", "2,6", "2 6")
	b.owned("db")
	began := time.Now()
	l.counts = func() map[int]time.Duration {
		return map[int]time.Duration{0: time.Hour, 1: time.Duration(share * float64(time.Since(began)))}
	}
	b.run()
	return b, l
}

// asks is how often libvirt was asked how long the vCPUs have waited.
func (l *fakeLibvirt) asks() int {
	l.fixture.mu.Lock()
	defer l.fixture.mu.Unlock()
	return l.counted
}

// TestWaitingIsToldAndReported plays minutes of a guest whose vCPU waits, as a worker sees it.
func TestWaitingIsToldAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l := waiting(t, 5, 0.0612)
		calls := 0
		minute := func(what, waits string, events int) {
			t.Helper()
			calls++
			start := time.Now()
			for l.asks() < calls && time.Since(start) < 2*waitsPeriod {
				<-time.After(time.Second)
			}
			synctest.Wait()
			told := b.eventsOf("db")
			took := time.Since(start)
			if l.asks() != calls || took > waitsPeriod+10*time.Second || b.controller.Waits()["db"] != waits || len(told) != events {
				t.Errorf("%s: asked %d times, %s after the last time, report %v, events %q; want %d, %q and %d", what, l.asks(), took, b.controller.Waits(), told, calls, waits, events)
			}
		}
		<-time.After(50 * time.Second)
		if l.asks() > 0 {
			t.Error("a guest that has just begun was asked about")
		}
		minute("the first reading", "", 0)
		minute("a minute", "1=6.1", 0)
		minute("the second", "1=6.1", 0)
		minute("the third", "1=6.1", 1)
		const told = "VCPUWaits vCPU 1 waited 6.1 % of the last minute for its CPU, after 3 such minutes in a row; see"
		b.awaitEvents("db", told)
		l.tell(func() { l.guest = nil })
		<-time.After(time.Minute)
		if len(b.controller.Waits()) > 0 {
			t.Errorf("a guest that ended waits: %v", b.controller.Waits())
		}
		l.tell(func() {
			l.guest = guestOf("2 6")
			l.guest.Run++
		})
		<-time.After(50 * time.Second)
		minute("the first reading of the next run", "", 1)
		minute("a minute of it", "1=6.1", 1)
	})
}

// TestWaitingIsOff: with a limit of 0 libvirt is asked nothing. One that gives an error is asked once a minute, and that is no
// problem of the guest's.
func TestWaitingIsOff(t *testing.T) {
	for name, tc := range map[string]struct {
		limit       int32
		err         error
		least, most int
	}{
		"off":                       {0, nil, 0, 0},
		"a libvirt that is too old": {5, errors.New("unsupported flags"), 4, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, l := waiting(t, tc.limit, 0.5)
				b.set(func() { l.countsError = tc.err })
				<-time.After(5*time.Minute + 10*time.Second)
				synctest.Wait()
				asked := l.asks()
				b.mu.Lock()
				dialled := l.dialled
				b.mu.Unlock()
				pins := b.controller.Pins()[types.UID("db")]
				if asked < tc.least || asked > tc.most || dialled != 1 || pins != "0=2 1=6" || len(b.eventsOf("db")) > 0 || len(b.controller.Waits()) > 0 {
					t.Errorf("asked %d times by %d connections, pins %q, events %q, waits %v", asked, dialled, pins, b.eventsOf("db"), b.controller.Waits())
				}
			})
		})
	}
}
