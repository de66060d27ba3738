package libvirt

import (
	"bufio"
	"fmt"
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
	"corepin.dev/corepin/pkg/cpuset"
)

// benchGuests is how many guests start at once.
const benchGuests = 50

const benchEnv = "COREPIN_BENCH_ROOT"

// benchXML is how long the XML of each guest is, as that of a KubeVirt VM is: with a dozen devices.
const benchXML = 10 << 10

func benchVM(i int) string { return fmt.Sprintf("vm%d", i) }

func benchDomain(i int) string {
	x := testDomain("vms_" + benchVM(i))
	return strings.Replace(x, "<memory", "<description>"+strings.Repeat("x", benchXML)+"</description><memory", 1)
}

// benchCPUs are what each guest is granted: the test driver knows eight CPUs only, so guests share them here.
func benchCPUs(i int) cpuset.Set { return cpuset.Of(i%2, 2+i%2, 4+i%2, 6+i%2) }

// TestPinAlone is no test of its own: BenchmarkFiftyGuests runs it as a process that does nothing but pin, so that
// its memory and CPU are the pinning's. Each event is a line on its standard output, with its time.
func TestPinAlone(t *testing.T) {
	root := os.Getenv(benchEnv)
	if root == "" {
		t.Skip("run by BenchmarkFiftyGuests")
	}
	vms := map[string]cpuset.Set{}
	for i := range benchGuests {
		vms[benchVM(i)] = benchCPUs(i)
	}
	events := runController(t, root, testDriver, vms)
	told := 0
	for end := time.After(5 * time.Minute); ; {
		for ; told < len(events.list()); told++ {
			events.mu.Lock()
			fmt.Printf("\n%d %s %s\n", events.times[told].UnixNano(), events.pods[told], events.all[told])
			events.mu.Unlock()
		}
		select {
		case <-end:
			t.Fatal("nobody ended the benchmark")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// BenchmarkFiftyGuests measures how long guests wait for their pins when many start at once: from before the call
// that starts a guest until after the agent has read its pins back. The guests are those of libvirt's test driver
// behind a real libvirtd.
func BenchmarkFiftyGuests(b *testing.B) {
	// The timer runs, although it tells nothing: stopped, it would ask for thousands of rounds of ten seconds.
	for b.Loop() {
		benchOnce(b)
	}
}

func benchOnce(b *testing.B) {
	l := startLibvirtd(b, testDriver)
	l.crowd(b)
	for i := range benchGuests {
		l.link(b, benchVM(i))
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPinAlone$", "-test.v")
	cmd.Env = append(os.Environ(), benchEnv+"="+l.root())
	output, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	await(b, "the agent to connect to every libvirt", func() error { return l.clients(benchGuests) })
	before := cpuTime(b, cmd.Process.Pid)

	started := map[string]time.Time{}
	first := time.Now()
	for i := range benchGuests {
		started[podName(benchVM(i))] = time.Now()
		l.create(b, benchDomain(i))
	}
	starting := time.Since(first)
	waits := pinWaits(b, bufio.NewScanner(output), started)
	during := cpuTime(b, cmd.Process.Pid) - before
	for i := range benchGuests {
		if err := l.allPinned(benchVM(i), benchCPUs(i)); err != nil {
			b.Error(err)
		}
	}
	slices.Sort(waits)
	at := func(percent int) time.Duration { return waits[(len(waits)*percent+99)/100-1] }
	b.Logf("%d guests started within %s; from the call that starts a guest to pins read back: p50 %s, p90 %s, p99 %s, most %s",
		benchGuests, starting, at(50), at(90), at(99), at(100))
	idle := cpuTime(b, cmd.Process.Pid)
	<-time.After(10 * time.Second)
	idle = cpuTime(b, cmd.Process.Pid) - idle
	b.Logf("the agent meanwhile: %s of CPU, %s of memory at most; afterwards, checking all of them every second: %.1f%% of a CPU",
		during, peakMemory(b, cmd.Process.Pid), idle.Seconds()*10)
	b.ReportMetric(at(50).Seconds()*1e3, "p50-ms")
	b.ReportMetric(at(99).Seconds()*1e3, "p99-ms")
}

// pinWaits reads how long each guest waited.
func pinWaits(b *testing.B, lines *bufio.Scanner, started map[string]time.Time) []time.Duration {
	b.Helper()
	var waits []time.Duration
	for lines.Scan() {
		stamp, event, _ := strings.Cut(lines.Text(), " ")
		nano, err := strconv.ParseInt(stamp, 10, 64)
		pod, event, _ := strings.Cut(event, " ")
		if err != nil || !strings.HasPrefix(event, pinning.EventPinned+" ") {
			continue
		}
		start, known := started[pod]
		if !known {
			b.Fatalf("%s was pinned twice or is not known", pod)
		}
		delete(started, pod)
		if waits = append(waits, time.Unix(0, nano).Sub(start)); len(started) == 0 {
			return waits
		}
	}
	b.Fatalf("the agent ended: %v; not pinned: %v", lines.Err(), started)
	return nil
}

// clients wants so many connections to libvirtd besides the test's own.
func (l *libvirtd) clients(want int) error {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return err
	}
	got := -1 - 1 // the socket that listens, and the test's own connection
	for line := range strings.Lines(string(data)) {
		if strings.HasSuffix(strings.TrimSpace(line), l.socket) {
			got++
		}
	}
	if got < want {
		return fmt.Errorf("%d of %d", got, want)
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
	l.link(b, benchVM(0))
	l.create(b, benchDomain(0))
	c, err := New(config.Pinning{LibvirtURI: testDriver}).Connect(b.Context(), pinning.Place{PodDir: l.podDir(benchVM(0))})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	before := ownCPUTime(b)
	for b.Loop() {
		if _, err := c.Guest(b.Context(), "vms_"+benchVM(0)); err != nil {
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
