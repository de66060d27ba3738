// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/agent/hostcpu"
)

func TestInterruptsOn(t *testing.T) {
	interrupt := func(cpus string, devices ...string) hostcpu.Interrupt {
		return hostcpu.Interrupt{Devices: devices, CPUs: set(cpus)}
	}
	const todo = "; keep them on the reserved CPUs with irqaffinity= or irqbalance's IRQBALANCE_BANNED_CPULIST"
	var many []hostcpu.Interrupt
	for i := range 11 {
		many = append(many, interrupt("2", fmt.Sprintf("nvme0q%02d", i)))
	}
	for name, tc := range map[string]struct {
		interrupts []hostcpu.Interrupt
		want       string
	}{
		"none":           {nil, ""},
		"elsewhere":      {[]hostcpu.Interrupt{interrupt("0-1", "eth0")}, ""},
		"one":            {[]hostcpu.Interrupt{interrupt("0-2", "eth0")}, "eth0 (CPU 2)" + todo},
		"two of one":     {[]hostcpu.Interrupt{interrupt("3", "usb1", "eth0")}, "usb1 and eth0 (CPU 3)" + todo},
		"sorted":         {[]hostcpu.Interrupt{interrupt("3", "nvme0q1"), interrupt("2-3", "eth0")}, "eth0 (CPU 2-3), nvme0q1 (CPU 3)" + todo},
		"more than fits": {many, "nvme0q00 (CPU 2), nvme0q01 (CPU 2), nvme0q02 (CPU 2), nvme0q03 (CPU 2), nvme0q04 (CPU 2), nvme0q05 (CPU 2), nvme0q06 (CPU 2), nvme0q07 (CPU 2) and 3 more" + todo},
	} {
		t.Run(name, func(t *testing.T) {
			got := interruptsOn(set("2-3"), tc.interrupts)
			if got != tc.want {
				t.Errorf("got %q\nwant %q", got, tc.want)
			}
		})
	}
}

// Only a VM with realtime is told. The words stay while irqbalance moves interrupts, and end with the interrupts.
func TestInterruptsOfRealtimeVMs(t *testing.T) {
	play(t, func(b *bench) {
		realtime := launcherPod("rt")
		realtime.Spec.NodeSelector["kubevirt.io/realtime"] = "true"
		on := func(cpus, device string) {
			b.change(func() { b.interrupts = []hostcpu.Interrupt{{Devices: []string{device}, CPUs: set(cpus)}} })
		}
		says := func(what, want string) {
			t.Helper()
			got := b.Of("rt", set("4-5")).Interrupts
			if got != want && (want == "" || !strings.HasPrefix(got, want)) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		on("2-5", "eth0")
		b.add(launcherPod("db"), "2-3")
		pass(period)
		b.change(func() {
			if b.interruptReads != 0 {
				t.Errorf("interrupts were read %d times where no VM asks for realtime", b.interruptReads)
			}
		})
		b.add(realtime, "4-5")
		pass(period)
		says("at first", "eth0 (CPU 4-5)")
		if got := b.Of("db", set("2-3")).Interrupts; got != "" {
			t.Errorf("a VM without realtime is told of %q", got)
		}
		on("5", "eth1")
		pass(10 * period)
		says("moved by irqbalance", "eth0 (CPU 4-5)")
		pass(interruptsPause)
		says("an hour later", "eth1 (CPU 5)")
		on("0", "eth1")
		pass(2 * time.Minute)
		says("kept off", "")
	})
}
