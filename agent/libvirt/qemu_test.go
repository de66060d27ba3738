// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/vmi"
)

// qemuDomain is a guest without disks that QEMU emulates: one vCPU, one IO thread.
const qemuDomain = `<domain type="qemu"><name>vms_db</name><memory unit="MiB">32</memory><vcpu>1</vcpu><iothreads>1</iothreads>
	<os><type arch="x86_64" machine="pc">hvm</type></os><devices><emulator>%s</emulator></devices></domain>`

// startQEMU starts a libvirtd that runs guests in QEMU, on a machine with CPUs to pin to; xml is one such guest.
func startQEMU(t testing.TB) (l *libvirtd, xml string, cpus []int) {
	t.Helper()
	cpus = usableCPUs(t)
	qemu, err := exec.LookPath("qemu-system-x86_64")
	require(t, err == nil, "qemu-system-x86_64 is not installed (Debian: apt-get install qemu-system-x86)")
	require(t, len(cpus) >= 2, "this machine has only one CPU")
	return startLibvirtd(t, "qemu:///session"), fmt.Sprintf(qemuDomain, qemu), cpus
}

// TestPinsRealThreads runs the whole of agent/pinning on a real QEMU under a real libvirtd, and asks the
// kernel where the threads are.
func TestPinsRealThreads(t *testing.T) {
	l, xml, cpus := startQEMU(t)
	dom := l.create(t, xml)

	vcpuOn, restOn := cpuset.Of(cpus[0]), cpuset.Of(cpus[1])
	threads := func() map[string]cpuset.Set { return l.threads(t, "vms_db") }
	t.Logf("before: %v", threads())
	events := runController(t, l.kubelet, "", map[string]cpuset.Set{"db": vcpuOn.Union(restOn)})
	pinned := func() error {
		return same(threads(), map[string]cpuset.Set{"CPU 0/TCG": vcpuOn, "IO iothread1": restOn, mainThread: restOn})
	}
	await(t, "the threads to be pinned", pinned)
	await(t, "the event", func() error {
		return events.has(pinning.EventPinned, fmt.Sprintf("vCPU 0→%s, emulator→%s, IO thread 1→%s", vcpuOn, restOn, restOn))
	})

	start := time.Now()
	if err := l.rpc.DomainPinVcpu(dom, 0, toMap(restOn)); err != nil {
		t.Fatal(err)
	}
	await(t, "the event of a virsh vcpupin", func() error {
		return events.has(pinning.EventDriftRepaired, fmt.Sprintf("vCPU 0: %s → %s", restOn, vcpuOn))
	})
	await(t, "a virsh vcpupin to be repaired", pinned)
	t.Logf("a virsh vcpupin was repaired and told within %s", time.Since(start))

	start = time.Now()
	var mask unix.CPUSet
	mask.Set(cpus[1])
	if err := unix.SchedSetaffinity(l.threadID(t, "vms_db", "CPU 0/TCG"), &mask); err != nil {
		t.Fatal(err)
	}
	await(t, "a taskset to be repaired", pinned)
	t.Logf("a taskset was repaired within %s, with a verify period of 1s", time.Since(start))

	if err := unix.Kill(l.guestPID(t, "vms_db"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "libvirt to notice that QEMU was killed", func() error {
		_, err := l.rpc.DomainLookupByName("vms_db")
		if err == nil {
			return fmt.Errorf("the domain is still there")
		}
		return nil
	})
	l.create(t, xml)
	await(t, "the guest's next run to be pinned", pinned)
	if err := events.has(pinning.EventCannotPin, ""); err == nil {
		t.Errorf("a guest that came and went was told as a failure: %q", events.list())
	}
}

// TestPinsTwoVCPUs is the guest of two vCPUs and an IO thread. Where the machine has a third CPU, its emulator is
// isolated there; where it has two, nothing is left to isolate it on, and it stays on the vCPUs'.
func TestPinsTwoVCPUs(t *testing.T) {
	l, xml, cpus := startQEMU(t)
	dom := l.create(t, strings.Replace(xml, "<vcpu>1<", "<vcpu>2<", 1))
	granted := cpuset.Of(cpus[:min(len(cpus), 3)]...)
	want := map[string]cpuset.Set{"CPU 0/TCG": cpuset.Of(cpus[0]), "CPU 1/TCG": cpuset.Of(cpus[1]), "IO iothread1": granted}
	if granted.Len() == 3 {
		rest := cpuset.Of(cpus[2])
		want["IO iothread1"], want[mainThread] = rest, rest
	}
	threads := func() map[string]cpuset.Set { return l.threads(t, "vms_db") }
	before := threads()
	events := runController(t, l.kubelet, "", map[string]cpuset.Set{"db": granted})
	await(t, "the threads to be pinned", func() error { return same(threads(), want) })
	await(t, "the event", func() error { return events.has(pinning.EventPinned, "granted "+granted.String()) })
	t.Logf("granted %s; before: %v; after: %v; told: %q", granted, before, threads(), events.list())

	for round := range 5 {
		start := time.Now()
		if err := l.rpc.DomainPinVcpu(dom, uint32(round%2), toMap(cpuset.Of(cpus[(round+1)%2]))); err != nil {
			t.Fatal(err)
		}
		await(t, "the event of a virsh vcpupin", func() error {
			return events.count(pinning.EventDriftRepaired, round+1)
		})
		await(t, "a virsh vcpupin to be repaired", func() error { return same(threads(), want) })
		t.Logf("virsh vcpupin %d of 5 was repaired and told within %s", round+1, time.Since(start))
	}
}

// TestPluggedVCPU plugs a second vCPU into a running guest. libvirt tells nobody, and the next check of all pins is an hour
// away; but the guest has been granted a CPU more than it has a use for.
func TestPluggedVCPU(t *testing.T) {
	l, xml, cpus := startQEMU(t)
	dom := l.create(t, strings.Replace(xml, "<vcpu>1<", "<vcpu current='1'>2<", 1))
	first, second := cpuset.Of(cpus[0]), cpuset.Of(cpus[1])
	two, err := vmi.Decode([]byte("apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: db, namespace: vms}\n" +
		"spec: {domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, resources: {requests: {memory: 32Mi}}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	settings := config.Pinning{Mode: config.PinningEnforce, Deadline: metav1.Duration{Duration: 10 * time.Second}, VerifyPeriod: metav1.Duration{Duration: time.Hour}}
	events := runControllerWith(t, settings, l.kubelet, map[string]cpuset.Set{"db": first.Union(second)}, two)
	await(t, "the first vCPU to be pinned", func() error {
		return same(l.threads(t, "vms_db"), map[string]cpuset.Set{"CPU 0/TCG": first})
	})
	await(t, "the event", func() error { return events.has(pinning.EventPinned, "vCPU 0→"+first.String()) })
	<-time.After(500 * time.Millisecond) // until the looks are over that the pins themselves set off
	start := time.Now()
	if err := l.rpc.DomainSetVcpusFlags(dom, 2, uint32(golibvirt.DomainVCPULive)); err != nil {
		t.Fatal(err)
	}
	await(t, "the plugged vCPU to be pinned", func() error {
		return same(l.threads(t, "vms_db"), map[string]cpuset.Set{"CPU 0/TCG": first, "CPU 1/TCG": second})
	})
	t.Logf("a plugged vCPU was pinned within %s of the call that plugs it", time.Since(start))
	await(t, "the event of the plugged vCPU", func() error { return events.has(pinning.EventPinned, "1→"+second.String()) })
	if err := events.has(pinning.EventDriftRepaired, ""); err == nil {
		t.Errorf("a plugged vCPU was told as drift: %q", events.list())
	}
}

// TestKilledWhilePinning kills QEMU and libvirtd again and again while guests come and are being pinned.
func TestKilledWhilePinning(t *testing.T) {
	l, xml, cpus := startQEMU(t)
	events := runController(t, l.kubelet, "", map[string]cpuset.Set{"db": cpuset.Of(cpus[:2]...)})
	pinned := func() error {
		return same(l.threads(t, "vms_db"), map[string]cpuset.Set{"CPU 0/TCG": cpuset.Of(cpus[0]), "IO iothread1": cpuset.Of(cpus[1])})
	}
	for round := range 3 {
		l.create(t, xml)
		// Somewhere between the guest's start and its last pin, each round a little later.
		<-time.After(time.Duration(round) * 3 * time.Millisecond)
		if err := unix.Kill(l.guestPID(t, "vms_db"), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "libvirt to notice that QEMU was killed", func() error {
			if _, err := l.rpc.DomainLookupByName("vms_db"); err == nil {
				return fmt.Errorf("the domain is still there")
			}
			return nil
		})
	}
	l.create(t, xml)
	start := time.Now()
	l.restart(t) // the guest goes on; libvirtd finds it again
	l.link(t, "db")
	await(t, "the guest to be pinned after libvirtd was killed", pinned)
	t.Logf("QEMU killed 3 times while it was pinned; libvirtd killed -9 while it was pinned: pinned %s after; told: %q", time.Since(start), events.list())
	if err := unix.Kill(l.guestPID(t, "vms_db"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// usableCPUs are the CPUs that this test may run on, and its children too.
func usableCPUs(t testing.TB) []int {
	t.Helper()
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err != nil {
		t.Fatal(err)
	}
	var cpus []int
	for id := range cpuset.MaxCPUs {
		if mask.IsSet(id) {
			cpus = append(cpus, id)
		}
	}
	return cpus
}

func (l *libvirtd) guestPID(t testing.TB, domain string) int {
	t.Helper()
	pid, err := l.GuestPID(domain)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// mainThread stands for the name of QEMU's main thread, which others have too.
const mainThread = "main"

// threads tells where the kernel lets each thread of a guest run, by the thread's name.
func (l *libvirtd) threads(t testing.TB, domain string) map[string]cpuset.Set {
	t.Helper()
	allowed := map[string]cpuset.Set{}
	for _, status := range l.statuses(t, domain) {
		cpus, err := cpuset.Parse(field(status, "Cpus_allowed_list"))
		if err != nil {
			t.Fatal(err)
		}
		name := field(status, "Name")
		if field(status, "Pid") == field(status, "Tgid") {
			name = mainThread
		}
		allowed[name] = cpus
	}
	return allowed
}

func (l *libvirtd) threadID(t *testing.T, domain, name string) int {
	t.Helper()
	for _, status := range l.statuses(t, domain) {
		if field(status, "Name") == name {
			id, err := strconv.Atoi(field(status, "Pid"))
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
	}
	t.Fatalf("domain %s has no thread %q", domain, name)
	return 0
}

// statuses are the contents of /proc/<pid>/task/<tid>/status; a thread that ends meanwhile is left out.
func (l *libvirtd) statuses(t testing.TB, domain string) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", l.guestPID(t, domain)))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			all = append(all, string(data))
		}
	}
	return all
}

func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// same wants every thread in want to run where it says.
func same(got, want map[string]cpuset.Set) error {
	for name, cpus := range want {
		if got[name] != cpus {
			return fmt.Errorf("thread %q may run on %q, want %s; all threads: %v", name, got[name], cpus, got)
		}
	}
	return nil
}
