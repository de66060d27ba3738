// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/process"
)

// fakeProcess makes a process of a pod in a /proc of the test's own, whose file system is root.
func fakeProcess(t *testing.T, proc, pid, cgroup, root string) {
	t.Helper()
	dir := filepath.Join(proc, pid)
	err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "ns"), 0o755),
		os.WriteFile(filepath.Join(dir, "cgroup"), []byte(cgroup+"\n"), 0o644),
		os.Symlink("mnt:["+pid+"]", filepath.Join(dir, "ns", "mnt")),
		os.Symlink(root, filepath.Join(dir, "root")),
	)
	if err != nil {
		t.Fatal(err)
	}
}

const systemdGroup = "0::/kubepods.slice/kubepods-pod3f1c7f0a_0000_4000_8000_0000000000db.slice/cri-containerd-abc.scope"

func TestReachByProcess(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	proc, root, other, host := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	fakeProcess(t, proc, "1", "0::/init.scope", host)
	fakeProcess(t, proc, "7", "0::/system.slice/sshd.service", other)
	fakeProcess(t, proc, "12", systemdGroup, other) // the sandbox's own process, which has no libvirt
	fakeProcess(t, proc, "13", systemdGroup, root)
	// As in KubeVirt's image: /var/run is an absolute link, which must lead to the launcher's /run.
	err := errors.Join(
		os.MkdirAll(filepath.Join(root, "run/libvirt"), 0o755), os.MkdirAll(filepath.Join(root, "var"), 0o755),
		os.Symlink("/run", filepath.Join(root, "var/run")), os.Link(l.socket, filepath.Join(root, "run/libvirt/virtqemud-sock")),
	)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Pinning{LibvirtFrom: config.FromProcess, ProcDir: proc, LibvirtURI: testDriver, LibvirtSockets: []string{"/var/run/libvirt/virtqemud-sock"}}
	connection, err := New(c).Connect(shortly(t), pinning.Place{PodUID: podUID("db")})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if guest, err := connection.Guest(shortly(t), "vms_db"); !errors.Is(err, pinning.ErrNoGuest) {
		t.Errorf("guest %+v, error %v; want none, since the only one there is has another name", guest, err)
	}
	if guest, err := connection.Guest(shortly(t), "test"); err != nil || guest.Domain != "test" {
		t.Errorf("guest %+v, error %v; want the one of that name", guest, err)
	}
	if _, err := New(c).Connect(shortly(t), pinning.Place{PodUID: podUID("web")}); !errors.Is(err, pinning.ErrUnreachable) || !strings.Contains(err.Error(), "no process of the pod with files of its own is seen") {
		t.Errorf("a pod without processes: %v", err)
	}
	// A launcher that leads the agent to the host's libvirt gets its own file system instead.
	if err := errors.Join(os.Remove(filepath.Join(root, "run/libvirt/virtqemud-sock")), os.Symlink(l.socket, filepath.Join(root, "run/libvirt/virtqemud-sock"))); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c).Connect(shortly(t), pinning.Place{PodUID: podUID("db")}); !errors.Is(err, pinning.ErrUnreachable) {
		t.Errorf("a link out of the launcher's file system: %v", err)
	}
}

// In mode process, whatever leads to the files of the host leads to its own libvirt. The agent, which may do everything
// there, would pin somebody else's guest.
func TestTheHostsLibvirtIsNoLaunchers(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, proc, host, root string) error
		want    string
	}{
		"the mounts of the host, as a container's monitor has them": {func(t *testing.T, proc, host, root string) error {
			fakeProcess(t, proc, "12", systemdGroup, root)
			link := filepath.Join(proc, "12/ns/mnt")
			return errors.Join(os.Remove(link), os.Symlink("mnt:[1]", link), os.Link(l.socket, filepath.Join(root, "sock")))
		}, "no process of the pod with files of its own"},
		"the root of the host": {func(t *testing.T, proc, host, root string) error {
			fakeProcess(t, proc, "12", systemdGroup, host)
			return os.Link(l.socket, filepath.Join(host, "sock"))
		}, "it is the host's file system"},
		"the socket of the host in a volume": {func(t *testing.T, proc, host, root string) error {
			fakeProcess(t, proc, "12", systemdGroup, root)
			return errors.Join(os.Link(l.socket, filepath.Join(host, "sock")), os.Link(l.socket, filepath.Join(root, "sock")))
		}, "it is the socket of the host's own libvirt"},
		"no process of the host to compare with": {func(t *testing.T, proc, host, root string) error {
			fakeProcess(t, proc, "12", systemdGroup, root)
			return errors.Join(os.RemoveAll(filepath.Join(proc, "1")), os.Link(l.socket, filepath.Join(root, "sock")))
		}, "telling the launcher's files from the host's"},
	} {
		t.Run(name, func(t *testing.T) {
			proc, host, root := t.TempDir(), t.TempDir(), t.TempDir()
			fakeProcess(t, proc, "1", "0::/init.scope", host)
			if err := tc.prepare(t, proc, host, root); err != nil {
				t.Fatal(err)
			}
			c := config.Pinning{LibvirtFrom: config.FromProcess, ProcDir: proc, LibvirtURI: testDriver, LibvirtSockets: []string{"/sock"}}
			_, err := New(c).Connect(shortly(t), pinning.Place{PodUID: podUID("db")})
			if !errors.Is(err, pinning.ErrUnreachable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ErrUnreachable with %q", err, tc.want)
			}
		})
	}
}

func TestPodsOfProcesses(t *testing.T) {
	proc := t.TempDir()
	for pid, group := range map[string]string{
		"1": "0::/init.scope",
		"2": "0::/kubepods/burstable/pod3f1c7f0a-0000-4000-8000-0000000000db/9f86",
		"3": systemdGroup,
		"4": "12:cpuset:/kubepods/pod3f1c7f0a-0000-4000-8000-0000000000db/9f86\n11:memory:/kubepods/pod3f1c7f0a-0000-4000-8000-0000000000db/9f86",
		"5": "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod3f1c7f0a_0000_4000_8000_0000000000db.slice/crio-abc.scope/housekeeping",
		"6": "0::/kubepods/podother/container/pod3f1c7f0a-0000-4000-8000-0000000000db", // of its own making
	} {
		fakeProcess(t, proc, pid, group, "/")
	}
	pids, err := newProcesses(proc).of(podUID("db"))
	if got := fmt.Sprint(pids); err != nil || got != "[2 3 4 5]" {
		t.Errorf("processes %s, error %v", got, err)
	}
	if _, err := newProcesses(filepath.Join(proc, "missing")).of(podUID("db")); err == nil {
		t.Error("a /proc that is not there is no error")
	}
}

func TestReachTheHostsLibvirt(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	l.create(t, testDomain("prod-db"))
	c := config.Pinning{LibvirtFrom: config.FromHost, LibvirtURI: testDriver, LibvirtSockets: []string{filepath.Join(l.Private(), "absent"), l.socket}}
	connection, err := New(c).Connect(shortly(t), pinning.Place{})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	guest, err := connection.Guest(shortly(t), "prod-db")
	if err != nil || guest.Domain != "prod-db" {
		t.Fatalf("guest %+v, error %v", guest, err)
	}
	if err := connection.Pin(shortly(t), guest, pinning.Thread{Kind: pinning.VCPU}, cpuset.Of(3)); err != nil {
		t.Error(err)
	}
	if err := l.rpc.DomainDestroy(l.domain(t, "prod-db")); err != nil {
		t.Fatal(err)
	}
	// The one that is left is somebody else's.
	if guest, err := connection.Guest(shortly(t), "prod-db"); !errors.Is(err, pinning.ErrNoGuest) {
		t.Errorf("guest %+v, error %v; want none", guest, err)
	}
}

const capabilityEnv = "COREPIN_TEST_PODDIR"

// TestConnectAndPin is no test of its own: TestCapabilities runs it in a process with fewer capabilities.
func TestConnectAndPin(t *testing.T) {
	podDir := os.Getenv(capabilityEnv)
	if podDir == "" {
		t.Skip("run by TestCapabilities")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := New(config.Pinning{LibvirtURI: testDriver}).Connect(ctx, pinning.Place{PodDir: podDir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	guest, err := c.Guest(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Pin(ctx, guest, pinning.Thread{Kind: pinning.VCPU}, cpuset.Of(1)); err != nil {
		t.Fatal(err)
	}
}

// The one capability that the agent needs for libvirt is CAP_DAC_OVERRIDE; without it, root gets nowhere at the
// socket of another user.
func TestCapabilities(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	require(t, err == nil, "setpriv is not installed (Debian: apt-get install util-linux)")
	l := startLibvirtd(t, testDriver)
	for capabilities, want := range map[string]string{
		"-all,+dac_override":    "",
		"-all":                  "permission denied",
		"-all,+dac_read_search": "permission denied",
		"-dac_override":         "permission denied",
	} {
		t.Run(capabilities, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), setpriv, "--bounding-set="+capabilities, "--inh-caps=-all",
				os.Args[0], "-test.run=^TestConnectAndPin$", "-test.v")
			cmd.Env = append(os.Environ(), capabilityEnv+"="+l.podDir("db"))
			output, err := process.CombinedOutput(cmd)
			if (err == nil) != (want == "") || !strings.Contains(string(output), want) {
				t.Errorf("ended with %v, want %q:\n%s", err, want, output)
			}
		})
	}
}

// However many processes a host has, looking at all of them takes a small part of a CPU.
func TestLookingAtProcessesCostsLittle(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0: scanEvery, time.Millisecond: scanEvery, 10 * time.Millisecond: time.Second, 200 * time.Millisecond: 20 * time.Second,
	} {
		if got := scanPause(took); got != want {
			t.Errorf("after a look of %s the next is %s later, want %s", took, got, want)
		}
	}
	dir := t.TempDir()
	p := newProcesses(dir)
	process := func(pid, uid string) {
		if err := os.Mkdir(filepath.Join(dir, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, pid, "cgroup"), []byte("0::/kubepods/pod"+uid+"/x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	process("11", "a")
	if pids, err := p.of("a"); err != nil || len(pids) != 1 {
		t.Fatalf("processes %v, error %v", pids, err)
	}
	process("12", "a")
	if pids, err := p.of("a"); err != nil || len(pids) != 1 {
		t.Errorf("processes %v, error %v: looked again at once", pids, err)
	}
	p.next = time.Now()
	if pids, err := p.of("a"); err != nil || len(pids) != 2 {
		t.Errorf("processes %v, error %v: want both after the pause", pids, err)
	}
}
