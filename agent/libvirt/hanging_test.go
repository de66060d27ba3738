// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
)

// hangingMount mounts a file system that does not answer, as an NFS server does that is away: a FUSE file system
// whose process never reads a request. When the test ends, those who wait get an error.
func hangingMount(t *testing.T, dir string) {
	t.Helper()
	require(t, os.Geteuid() == 0, "mounting needs root")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	require(t, err == nil, "there is no /dev/fuse")
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = unix.Close(fd)
	})
	if err := unix.Mount("hanging", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		require(t, false, "FUSE cannot be mounted: "+err.Error())
	}
}

// promptly runs f, which must not take long: the file systems of the test hang for ever.
func promptly(t *testing.T, f func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(5 * time.Second):
		t.Fatal("it hangs, 4 s after its deadline")
		return nil
	}
}

// What a tenant may put between the agent and the socket: links to a volume that hangs, and mounts.
func TestVolumesThatHangAreNotEntered(t *testing.T) {
	const volume = "volumes/kubernetes.io~nfs/data"
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, podDir string) error
		want    string
	}{
		"a link to it": {func(t *testing.T, podDir string) error {
			hangingMount(t, filepath.Join(podDir, volume))
			return os.Symlink("../../kubernetes.io~nfs/data/sock", filepath.Join(podDir, runtimeDir, "virtqemud-sock"))
		}, "it is a symbolic link"},
		"it is mounted on the socket's name": {func(t *testing.T, podDir string) error {
			hangingMount(t, filepath.Join(podDir, runtimeDir, "virtqemud-sock"))
			return nil
		}, "another file system is mounted there"},
		"it is mounted on the emptyDir": {func(t *testing.T, podDir string) error {
			hangingMount(t, filepath.Join(podDir, runtimeDir))
			return nil
		}, "another file system is mounted there"},
		"another socket is mounted on the socket": {func(t *testing.T, podDir string) error {
			other := t.TempDir()
			listen(t, other, nil)
			socket := socketPath(t, podDir)
			if err := os.WriteFile(socket, nil, 0o600); err != nil {
				return err
			}
			t.Cleanup(func() { _ = unix.Unmount(socket, unix.MNT_DETACH) })
			return unix.Mount(socketPath(t, other), socket, "", unix.MS_BIND, "")
		}, "another file system is mounted there"},
	} {
		t.Run(name, func(t *testing.T) {
			require(t, os.Geteuid() == 0, "mounting needs root")
			podDir := t.TempDir()
			socketPath(t, podDir)
			if err := tc.prepare(t, podDir); err != nil {
				t.Fatal(err)
			}
			err := promptly(t, func(ctx context.Context) error {
				_, err := New(config.Pinning{}).Connect(ctx, pinning.Place{PodDir: podDir})
				return err
			})
			if !errors.Is(err, pinning.ErrUnreachable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ErrUnreachable with %q", err, tc.want)
			}
		})
	}
}

// The kubelet mounts a tmpfs for an emptyDir whose medium is memory.
func TestAnEmptyDirInMemory(t *testing.T) {
	require(t, os.Geteuid() == 0, "mounting needs root")
	podDir := t.TempDir()
	dir := filepath.Dir(socketPath(t, podDir))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	t.Chdir(dir) // the whole path is too long to bind to
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: "virtqemud-sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := openInPod(podDir)
	conn, _, err := dialFile(shortly(t), socket, err)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// In mode process the launcher's own mounts are entered, but none that another machine or process serves.
func TestProcessesWithVolumesThatHang(t *testing.T) {
	require(t, os.Geteuid() == 0, "mounting needs root")
	proc, host, root := t.TempDir(), t.TempDir(), t.TempDir()
	fakeProcess(t, proc, "1", "0::/init.scope", host)
	fakeProcess(t, proc, "12", systemdGroup, root)
	if err := os.MkdirAll(filepath.Join(root, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	hangingMount(t, filepath.Join(root, "run/libvirt"))
	// As the process sees it.
	table := "36 35 98:0 / / rw - overlay overlay rw\n37 36 0:52 / /run/libvirt rw - fuse.nfs hanging rw\n"
	if err := os.WriteFile(filepath.Join(proc, "12/mountinfo"), []byte(table), 0o644); err != nil {
		t.Fatal(err)
	}
	c := config.Pinning{LibvirtFrom: config.FromProcess, ProcDir: proc, LibvirtSockets: []string{"/run/libvirt/virtqemud-sock"}}
	err := promptly(t, func(ctx context.Context) error {
		_, err := New(c).Connect(ctx, pinning.Place{PodUID: podUID("db")})
		return err
	})
	if !errors.Is(err, pinning.ErrUnreachable) || !strings.Contains(err.Error(), `type "fuse.nfs" is mounted there, which may hang`) {
		t.Errorf("got %v", err)
	}
}

// A look that hangs all the same is given up at its deadline, and nobody hangs beside it.
func TestALookThatHangs(t *testing.T) {
	var l lookups
	release := make(chan struct{})
	hang := func() (*os.File, error) {
		<-release
		return nil, os.ErrNotExist
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.within(ctx, "a", hang); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if _, err := l.within(t.Context(), "a", hang); err == nil || !strings.Contains(err.Error(), "a has not answered the last look") {
		t.Errorf("a second look: %v", err)
	}
	found := func() (*os.File, error) { return os.Open(os.DevNull) }
	if _, err := l.within(t.Context(), "b", found); err != nil {
		t.Errorf("another place: %v", err)
	}
	close(release)
	await(t, "the first look to end", func() error {
		_, err := l.within(t.Context(), "a", found)
		return err
	})
}

func TestMountedAt(t *testing.T) {
	table := filepath.Join(t.TempDir(), "mountinfo")
	text := `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
37 36 0:50 / /with\040space rw - tmpfs tmpfs rw
38 36 0:51 / /mnt2 rw shared:1 master:2 - nfs4 server:/ rw
39 36 0:52
`
	if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{"/mnt2": "nfs4", "/with space": "tmpfs", "/mnt": "", "/": ""} {
		if kind, err := mountedAt(table, dir); kind != want || err != nil {
			t.Errorf("at %s: %q, %v; want %q", dir, kind, err, want)
		}
	}
	if _, err := mountedAt(table+"x", "/"); err == nil {
		t.Error("a table that is not there is no error")
	}
}
