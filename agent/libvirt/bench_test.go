// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/test/harness/process"
)

const benchEnv = "COREPIN_BENCH_ROOT"

// TestPinAlone is no test of its own: BenchmarkFiftyGuests runs it as a process that does nothing but pin, so that
// its memory and CPU are the pinning's. Each event is a line on its standard output, with its time.
func TestPinAlone(t *testing.T) {
	root := os.Getenv(benchEnv)
	if root == "" {
		t.Skip("run by BenchmarkFiftyGuests")
	}
	events := runController(t, root, "", manyVMs(t))
	told := 0
	for end := time.After(5 * time.Minute); ; {
		for _, e := range events.since(told) {
			fmt.Printf("\n%d %s %s\n", e.at.UnixNano(), e.pod, e.text)
			told++
		}
		select {
		case <-end:
			t.Fatal("nobody ended the benchmark")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// BenchmarkFiftyGuests measures how long guests wait for their pins when many start at once: from when libvirt first
// reports that a guest runs until after the agent has read its pins back. Every guest is a QEMU under a libvirtd of its
// own.
func BenchmarkFiftyGuests(b *testing.B) {
	// The timer runs, although it tells nothing: stopped, it would ask for thousands of rounds of ten seconds.
	for b.Loop() {
		benchOnce(b)
	}
}

func benchOnce(b *testing.B) {
	vms := manyVMs(b)
	n := startLaunchers(b, vms)
	cmd := exec.Command(os.Args[0], "-test.run=^TestPinAlone$", "-test.v")
	cmd.Env = append(os.Environ(), benchEnv+"="+n.kubelet)
	output, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := process.StartTied(cmd); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	await(b, "the agent to connect to every libvirt", n.connected)
	before := cpuTime(b, cmd.Process.Pid)

	// Read meanwhile: an agent whose output nobody reads stands still.
	pinned := make(chan map[string]time.Time, 1)
	go func() { pinned <- pinTimes(output) }()
	starting := n.launch(b)
	waits := n.waits(b, <-pinned)
	during := cpuTime(b, cmd.Process.Pid) - before
	if err := n.pinned(b, vms); err != nil {
		b.Error(err)
	}
	slices.Sort(waits)
	at := func(percent int) time.Duration { return waits[(len(waits)*percent+99)/100-1] }
	b.Logf("%d guests started within %s; from running to pins read back: p50 %s, p90 %s, p99 %s, most %s",
		manyGuests, starting, at(50), at(90), at(99), at(100))
	idle := cpuTime(b, cmd.Process.Pid)
	<-time.After(10 * time.Second)
	idle = cpuTime(b, cmd.Process.Pid) - idle
	b.Logf("the agent meanwhile: %s of CPU, %s of memory at most; afterwards, checking all of them every second: %.1f%% of a CPU",
		during, peakMemory(b, cmd.Process.Pid), idle.Seconds()*10)
	b.ReportMetric(at(50).Seconds()*1e3, "p50-ms")
	b.ReportMetric(at(99).Seconds()*1e3, "p99-ms")
}

// pinTimes reads when each guest was first pinned, by pod, until all are or the agent ends.
func pinTimes(output io.Reader) map[string]time.Time {
	times := map[string]time.Time{}
	for lines := bufio.NewScanner(output); len(times) < manyGuests && lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || fields[2] != pinning.EventPinned {
			continue
		}
		nano, err := strconv.ParseInt(fields[0], 10, 64)
		if _, known := times[fields[1]]; err == nil && !known {
			times[fields[1]] = time.Unix(0, nano)
		}
	}
	return times
}

// waits are how long each guest ran before its pins were read back.
func (n *launchers) waits(b *testing.B, pinned map[string]time.Time) []time.Duration {
	b.Helper()
	var waits []time.Duration
	for vm, since := range n.running {
		at, known := pinned[podName(vm)]
		if !known {
			b.Fatalf("the agent ended before it had pinned %s", vm)
		}
		waits = append(waits, at.Sub(since))
	}
	return waits
}

// connected wants the agent to be connected to each libvirtd, beside the test itself.
func (n *launchers) connected() error {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return err
	}
	for _, socket := range n.sockets() {
		// The socket that listens, the test's connection and the agent's.
		if got := strings.Count(string(data), " "+socket+"\n"); got < 3 {
			return fmt.Errorf("%d of 3 sockets at %s", got, socket)
		}
	}
	return nil
}

// cpuTime is what a process has used of all CPUs.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		b.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		b.Fatal(err)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture that Go has
	return time.Duration(user+system) * tick
}

// peakMemory is the most memory a process had, as the kernel writes it.
func peakMemory(b *testing.B, pid int) string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		b.Fatal(err)
	}
	return field(string(data), "VmHWM")
}

// BenchmarkLook measures what one look at a guest costs the agent, which it pays for each guest every verify period:
// CPU time of this process, libvirtd's not included.
func BenchmarkLook(b *testing.B) {
	l := startLibvirtd(b, testDriver)
	l.create(b, withLongText(testDomain("vms_db")))
	c, err := New(config.Pinning{LibvirtURI: testDriver}).Connect(b.Context(), pinning.Place{PodDir: l.podDir("db")})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	before := ownCPUTime(b)
	for b.Loop() {
		if _, err := c.Guest(b.Context(), "vms_db"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((ownCPUTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/look")
}

func ownCPUTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
