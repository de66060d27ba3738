// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/test/harness/await"
)

const patience = time.Minute

// require skips a test whose prerequisite is missing, or fails it where everything must be tested.
func require(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("COREPIN_REQUIRE_ALL") == "1" {
		t.Fatal("missing: " + what)
	}
	t.Skip("missing: " + what)
}

func requireLibvirt(t *testing.T, programs ...string) {
	t.Helper()
	require(t, os.Geteuid() == 0, "root, to run libvirtd as another user")
	for _, program := range append(programs, "libvirtd", "virsh") {
		_, err := exec.LookPath(program)
		require(t, err == nil, program)
	}
}

// socketDir is a directory as the kubelet makes them: for root only, and too long for a socket address.
func socketDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, runner Runner, spec Spec) Guest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	guest, err := runner.Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, guest) })
	return guest
}

func stop(t *testing.T, guest Guest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := guest.Stop(ctx); err != nil {
		t.Errorf("stopping the guest: %v", err)
	}
}

// virsh runs one virsh, so one connection of its own, against the guest's libvirt.
func virsh(t *testing.T, dir, uri string, args ...string) string {
	t.Helper()
	handle, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	uri = fmt.Sprintf(uri, "unix") + "?socket=/proc/self/fd/3/" + SocketName
	cmd := exec.CommandContext(t.Context(), "virsh", append([]string{"-q", "-c", uri}, args...)...)
	cmd.ExtraFiles = []*os.File{handle}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("virsh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

const (
	testURI = "test+%s:///default"
	qemuURI = "qemu+%s:///session"
)

// alive reports whether a process runs; one that ended but that init has not yet waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// mustLeaveNothing is called once the guest was stopped.
func mustLeaveNothing(t *testing.T, dir string, private string, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	if _, err := os.Stat(private); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("libvirtd's private directory is still there (%v)", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the socket directory: %v (%v)", left, err)
	}
}

func TestTestDriverKeepsPinsAcrossConnections(t *testing.T) {
	requireLibvirt(t)
	dir := socketDir(t)
	guest := start(t, TestDriver{}, Spec{Name: "vms_demo", VCPUs: 4, Sockets: 1, Cores: 2, Threads: 2, IOThreads: 2, SocketDir: dir})

	if got := virsh(t, dir, testURI, "list", "--all", "--name"); got != "vms_demo" {
		t.Errorf("domains: %q; want vms_demo alone", got)
	}
	virsh(t, dir, testURI, "vcpupin", "vms_demo", "2", "5")
	virsh(t, dir, testURI, "emulatorpin", "vms_demo", "6-7")
	virsh(t, dir, testURI, "iothreadpin", "vms_demo", "2", "3")
	for _, want := range []struct{ query, state string }{
		{"vcpupin", "0 0-7 1 0-7 2 5 3 0-7"},
		{"emulatorpin", "6-7"},
		{"iothreadinfo", " 2 3"},
	} {
		if got := virsh(t, dir, testURI, want.query, "vms_demo"); !strings.HasSuffix(got, want.state) {
			t.Errorf("%s from another connection: %q; want %q at the end", want.query, got, want.state)
		}
	}
	if xml := virsh(t, dir, testURI, "dumpxml", "vms_demo"); !strings.Contains(xml, "cores='2' threads='2'") {
		t.Errorf("the guest does not have its topology: %s", xml)
	}

	d := guest.(*domain).daemon
	stop(t, guest)
	<-guest.Done()
	mustLeaveNothing(t, dir, d.private, d.PID())
}

func TestGuestComesPinnedAndCanBePlugged(t *testing.T) {
	requireLibvirt(t)
	dir := socketDir(t)
	guest := start(t, TestDriver{}, Spec{Name: "vms_demo", VCPUs: 2, MaxVCPUs: 8, IOThreads: 2, SocketDir: dir, Pins: placement.Pins{
		VCPUs: []cpuset.Set{cpuset.Of(1), cpuset.Of(5)}, Emulator: cpuset.Of(2, 3), IOThreads: map[int]cpuset.Set{1: cpuset.Of(2)}}})
	defer stop(t, guest)
	if got := virsh(t, dir, testURI, "vcpucount", "vms_demo", "--live", "--active"); got != "2" {
		t.Errorf("%s vCPUs are online, want 2", got)
	}
	virsh(t, dir, testURI, "setvcpus", "vms_demo", "4", "--live")
	xml := virsh(t, dir, testURI, "dumpxml", "vms_demo")
	for _, want := range []string{"current='4'>8</vcpu>", "<vcpupin vcpu='0' cpuset='1'/>", "<vcpupin vcpu='1' cpuset='5'/>",
		"<emulatorpin cpuset='2-3'/>", "<iothreadpin iothread='1' cpuset='2'/>"} {
		if !strings.Contains(xml, want) {
			t.Errorf("no %s in %s", want, xml)
		}
	}
	if pins := strings.Count(xml, "pin "); pins != 4 {
		t.Errorf("%d pins, want 4: %s", pins, xml)
	}
}

// threads are the names of a process's threads.
func threads(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d has no threads (%v)", pid, err)
	}
	var names []string
	for _, file := range files {
		if name, err := os.ReadFile(file); err == nil {
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	return names
}

func TestQEMUHasAThreadForEachVCPU(t *testing.T) {
	requireLibvirt(t, "qemu-system-x86_64")
	dir := socketDir(t)
	guest := start(t, QEMU{}, Spec{Name: "vms_real", VCPUs: 2, IOThreads: 1, SocketDir: dir})

	err := await.For(t.Context(), "a thread for each vCPU and IO thread", patience, func(context.Context) error {
		names := threads(t, guest.PID())
		for _, want := range []string{"CPU 0/TCG", "CPU 1/TCG", "IO iothread1"} {
			if !slices.Contains(names, want) {
				return fmt.Errorf("no %s among %q", want, names)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	virsh(t, dir, qemuURI, "vcpupin", "vms_real", "1", "0")
	if got := virsh(t, dir, qemuURI, "vcpupin", "vms_real", "--vcpu", "1"); got != "1 0" {
		t.Errorf("vCPU 1 is pinned to %q from another connection; want CPU 0", got)
	}
	if got := virsh(t, dir, qemuURI, "domstate", "vms_real"); got != "running" {
		t.Errorf("the guest is %q", got)
	}

	d := guest.(*domain).daemon
	stop(t, guest)
	mustLeaveNothing(t, dir, d.private, d.PID(), guest.PID())
}

func TestGuestThatDies(t *testing.T) {
	requireLibvirt(t, "qemu-system-x86_64")
	for name, victim := range map[string]func(*domain) int{
		"QEMU":     func(g *domain) int { return g.pid },
		"libvirtd": func(g *domain) int { return g.daemon.PID() },
	} {
		t.Run(name, func(t *testing.T) {
			dir := socketDir(t)
			guest := start(t, QEMU{}, Spec{Name: "vms_brief", VCPUs: 1, SocketDir: dir}).(*domain)
			if err := syscall.Kill(victim(guest), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			select {
			case <-guest.Done():
			case <-time.After(patience):
				t.Fatalf("nobody said that the guest ended within %s of killing its %s", patience, name)
			}
			stop(t, guest)
			mustLeaveNothing(t, dir, guest.daemon.private, guest.daemon.PID(), guest.pid)
		})
	}
}

// TestStarterDies shows what ends the guest of a process that was killed: the closing of its connection.
func TestStarterDies(t *testing.T) {
	requireLibvirt(t, "qemu-system-x86_64")
	guest := start(t, QEMU{}, Spec{Name: "vms_orphan", VCPUs: 1, SocketDir: socketDir(t)}).(*domain)
	if err := guest.daemon.libvirt.Disconnect(); err != nil {
		t.Fatal(err)
	}
	err := await.For(t.Context(), "QEMU and libvirtd ending by themselves", patience, func(context.Context) error {
		for _, pid := range []int{guest.pid, guest.daemon.PID()} {
			if alive(pid) {
				return fmt.Errorf("process %d is still there", pid)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStartRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		spec Spec
		want string
	}{
		"no name":            {Spec{VCPUs: 1, SocketDir: dir}, "needs a name"},
		"no socket dir":      {Spec{Name: "a", VCPUs: 1}, "socket directory"},
		"no vCPU":            {Spec{Name: "a", SocketDir: dir}, "0 vCPUs"},
		"another topology":   {Spec{Name: "a", VCPUs: 3, Sockets: 1, Cores: 2, Threads: 1, SocketDir: dir}, "are not the 3 vCPUs"},
		"negative IO thread": {Spec{Name: "a", VCPUs: 1, IOThreads: -1, SocketDir: dir}, "-1 IO threads"},
	} {
		for _, runner := range []Runner{TestDriver{}, QEMU{}} {
			if _, err := runner.Start(t.Context(), tc.spec); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s, %T: %v; want an error with %q", name, runner, err, tc.want)
			}
		}
	}
}

func TestMissingPrograms(t *testing.T) {
	require(t, os.Geteuid() == 0, "root")
	t.Setenv("PATH", t.TempDir())
	spec := Spec{Name: "a", VCPUs: 1, SocketDir: t.TempDir()}
	if _, err := (TestDriver{}).Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "apt-get install libvirt-daemon") {
		t.Errorf("without libvirtd: %v; want what to install", err)
	}
	if _, err := (QEMU{}).Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "apt-get install qemu-system-") {
		t.Errorf("without QEMU: %v; want what to install", err)
	}
}

func TestStartReportsWhatLibvirtSaid(t *testing.T) {
	requireLibvirt(t)
	dir := socketDir(t)
	_, err := TestDriver{}.Start(t.Context(), Spec{Name: "a/b", VCPUs: 1, SocketDir: dir})
	if err == nil || !strings.Contains(err.Error(), "starting guest a/b") {
		t.Errorf("a name that libvirt refuses: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the socket directory: %v (%v)", left, err)
	}
}

func TestNone(t *testing.T) {
	guest := start(t, None{}, Spec{})
	if guest.PID() != 0 {
		t.Errorf("a guest that does not exist has process %d", guest.PID())
	}
	stop(t, guest)
	<-guest.Done()
}
