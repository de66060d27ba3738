// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/test/harness/process"
)

// statistics is libvirt's answer about one domain: names and counters in turns.
func statistics(counters ...any) []byte {
	all := payloadOf(1, "vms_db", make([]byte, 16), 1, len(counters)/2)
	for i := 0; i < len(counters); i += 2 {
		all = append(all, payloadOf(counters[i])...)
		switch value := counters[i+1].(type) {
		case uint64:
			all = append(all, payloadOf(4, int(value>>32), int(value&0xffffffff))...)
		case int:
			all = append(all, payloadOf(1, value)...)
		}
	}
	return all
}

// telling is a connection to a libvirt that answers the question for statistics so, and its guest.
func telling(t *testing.T, statistics reply) (pinning.Connection, *pinning.Guest) {
	t.Helper()
	podDir := t.TempDir()
	replies := honest()
	replies[procConnectGetAllStats] = statistics
	listen(t, podDir, func(conn net.Conn) { go serve(conn, func(p uint32) reply { return replies[p] }) })
	c, err := New(config.Pinning{}).Connect(shortly(t), pinning.Place{PodDir: podDir, CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	guest, err := c.Guest(shortly(t), "vms_db")
	if err != nil {
		t.Fatal(err)
	}
	return c, guest
}

func TestWaitsAreReadOffTheStatistics(t *testing.T) {
	for name, tc := range map[string]struct {
		payload []byte
		want    map[int]time.Duration
	}{
		"no domain":         {payloadOf(0), nil},
		"no statistics":     {statistics(), nil},
		"delay alone":       {statistics("vcpu.current", 1, "vcpu.0.state", 1, "vcpu.0.time", uint64(9), "vcpu.0.delay", uint64(7)), map[int]time.Duration{0: 7}},
		"wait alone":        {statistics("vcpu.0.wait", uint64(8)), map[int]time.Duration{0: 8}},
		"both":              {statistics("vcpu.0.wait", uint64(8), "vcpu.0.delay", uint64(7)), map[int]time.Duration{0: 7}},
		"not counted":       {statistics("vcpu.0.wait", uint64(0), "vcpu.0.delay", uint64(0)), nil},
		"another vCPU":      {statistics("vcpu.1.delay", uint64(7)), nil},
		"no vCPU":           {statistics("vcpu.x.delay", uint64(7), "vcpu.delay", uint64(7), "delay", uint64(7)), nil},
		"of another kind":   {statistics("vcpu.0.delay", 7), nil},
		"KVM's":             {statistics("vcpu.0.delay.sum", uint64(7), "vcpu.0.halt_wait_ns.sum", uint64(7)), nil},
		"a made-up counter": {statistics("vcpu.0.delay", uint64(math.MaxUint64)), map[int]time.Duration{0: math.MaxInt64}},
	} {
		t.Run(name, func(t *testing.T) {
			c, guest := telling(t, reply{payload: tc.payload})
			got, err := c.Waits(shortly(t), guest)
			if err != nil || !maps.Equal(got, tc.want) {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

// What else libvirt tells of a vCPU is left out before anything is made of it.
func TestOnlyWaitsAreKept(t *testing.T) {
	const long = "vcpu.0.directed_yield_successful.sum"
	for name, tc := range map[string]struct{ payload, want []byte }{
		"no domain":  {payloadOf(0), payloadOf(0)},
		"no waits":   {statistics("vcpu.current", 1, long, uint64(1)), statistics()},
		"some waits": {statistics(long, uint64(1), "vcpu.0.wait", uint64(2), "vcpu.0.time", uint64(3), "vcpu.0.delay", uint64(4), long, uint64(5)), statistics("vcpu.0.wait", uint64(2), "vcpu.0.delay", uint64(4))},
	} {
		frame := append(payloadOf(headerSize+len(tc.payload), 0, 0, 0, 0, 0, 0), tc.payload...)
		want := append(payloadOf(headerSize+len(tc.want), 0, 0, 0, 0, 0, 0), tc.want...)
		err := answers[procConnectGetAllStats].check(tc.payload)
		got := answers[procConnectGetAllStats].trimmed(frame)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, got\n%x, want\n%x", name, err, got, want)
		}
	}
}

// TestWaitsOfAnOlderLibvirt: a libvirt that does not know the call, or the flag, gives an error, and the connection is as
// good as before.
func TestWaitsOfAnOlderLibvirt(t *testing.T) {
	c, guest := telling(t, reply{status: statusError, payload: payloadOf(3, 10, 1, "unsupported flags (0x20000000)", make([]byte, 40))})
	_, err := c.Waits(shortly(t), guest)
	if err == nil || !strings.Contains(err.Error(), "unsupported flags") {
		t.Errorf("got %v, want libvirt's error", err)
	}
	_, err = c.Guest(shortly(t), "vms_db")
	if err != nil {
		t.Errorf("after it: %v", err)
	}
}

// TestWaitsOfARealGuest has a busy loop on the CPU of a real guest's vCPU, and compares what libvirt says with the kernel's
// own counter before and after.
func TestWaitsOfARealGuest(t *testing.T) {
	l, xml, cpus := startQEMU(t)
	var mask unix.CPUSet
	mask.Set(cpus[0])
	busy := exec.Command("sh", "-c", "while :; do :; done")
	err := process.StartTied(busy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(busy.Process.Kill(), busy.Wait()) })
	err = unix.SchedSetaffinity(busy.Process.Pid, &mask)
	if err != nil {
		t.Fatal(err)
	}
	l.create(t, strings.Replace(xml, "<os>", fmt.Sprintf("<cputune><vcpupin vcpu='0' cpuset='%d'/></cputune><os>", cpus[0]), 1))
	kernels := func() time.Duration {
		return runDelay(t, l.guestPID(t, "vms_db"), l.threadID(t, "vms_db", "CPU 0/TCG"))
	}
	if kernels() == 0 {
		t.Skip("SKIPPED: this kernel does not count how long a thread waits (CONFIG_SCHED_INFO)")
	}
	c := l.connect(t, "qemu:///session")
	guest, err := c.Guest(shortly(t), "vms_db")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the vCPU to wait for 50 ms", func() error {
		before := kernels()
		got, err := c.Waits(shortly(t), guest)
		after := kernels()
		if err != nil || len(got) != 1 || got[0] < before || got[0] > after {
			t.Fatalf("libvirt says %v, %v; the kernel said %s before and %s after", got, err, before, after)
		}
		if got[0] < 50*time.Millisecond {
			return fmt.Errorf("it has waited for %s", got[0])
		}
		t.Logf("vCPU 0 has waited for %s beside a busy loop", got[0])
		return nil
	})
}

// runDelay is how long the kernel says that a thread was ready to run and waited: the second number of schedstat.
func runDelay(t *testing.T, pid, tid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, tid))
	if err != nil {
		t.Fatal(err)
	}
	nanoseconds, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(nanoseconds)
}
