// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
)

const testDriver = "test:///default"

func TestGuestAndPinInTestDriver(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	l.create(t, testDomain("vms_other"))
	l.create(t, testDomain("vms_db"))
	c := l.connect(t, testDriver)
	ctx := shortly(t)

	guest, err := c.Guest(ctx, "vms_db")
	if err != nil {
		t.Fatal(err)
	}
	if guest.Domain != "vms_db" || guest.ThreadsPerCore != 2 || len(guest.VCPUs) != 4 || len(guest.IOThreads) != 2 {
		t.Fatalf("read %+v, want vms_db with 4 of 6 vCPUs, 2 threads per core, 2 IO threads", guest)
	}
	for _, vcpu := range guest.VCPUs {
		if !vcpu.Pinned.IsEmpty() || vcpu.Affinity.Len() < 8 {
			t.Errorf("a fresh vCPU is pinned: %+v", vcpu)
		}
	}
	want := map[pinning.Thread]cpuset.Set{
		{Kind: pinning.VCPU, ID: 0}: cpuset.Of(2), {Kind: pinning.VCPU, ID: 1}: cpuset.Of(6),
		{Kind: pinning.VCPU, ID: 2}: cpuset.Of(3), {Kind: pinning.VCPU, ID: 3}: cpuset.Of(7),
		{Kind: pinning.IOThread, ID: 1}: cpuset.Of(0, 1), {Kind: pinning.IOThread, ID: 2}: cpuset.Of(4),
		{Kind: pinning.Emulator}: cpuset.Of(4, 5),
	}
	for thread, cpus := range want {
		if err := c.Pin(ctx, guest, thread, cpus); err != nil {
			t.Fatalf("pinning %s to %s: %v", thread, cpus, err)
		}
	}
	if guest, err = c.Guest(ctx, "vms_db"); err != nil {
		t.Fatal(err)
	}
	if guest.Emulator != cpuset.Of(4, 5) {
		t.Errorf("emulator is pinned to %s, want 4-5", guest.Emulator)
	}
	for kind, threads := range map[pinning.ThreadKind][]pinning.GuestThread{pinning.VCPU: guest.VCPUs, pinning.IOThread: guest.IOThreads} {
		for _, thread := range threads {
			if cpus := want[pinning.Thread{Kind: kind, ID: thread.ID}]; thread.Pinned != cpus || thread.Affinity != cpus {
				t.Errorf("%s %d: pinned to %s, runs on %s, want %s", kind, thread.ID, thread.Pinned, thread.Affinity, cpus)
			}
		}
	}
}

func TestGuestIsFoundByName(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	c := l.connect(t, testDriver)
	ctx := shortly(t)

	// The test driver comes with one running domain, named test.
	if guest, err := c.Guest(ctx, "vms_db"); err != nil || guest.Domain != "test" {
		t.Errorf("with one domain running, got %+v, %v; want that one", guest, err)
	}
	dom := l.create(t, testDomain("vms_other"))
	received(t, c, "a domain started")
	if _, err := c.Guest(ctx, "vms_db"); !errors.Is(err, pinning.ErrNoGuest) || !strings.Contains(err.Error(), "vms_db") {
		t.Errorf("with two domains of other names, got %v; want ErrNoGuest with the name", err)
	}
	guest, err := c.Guest(ctx, "vms_other")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.rpc.DomainDestroy(dom); err != nil {
		t.Fatal(err)
	}
	if err := c.Pin(ctx, guest, pinning.Thread{Kind: pinning.VCPU}, cpuset.Of(1)); err == nil {
		t.Error("a guest that has ended was pinned")
	}
	if err := l.rpc.DomainDestroy(l.domain(t, "test")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Guest(ctx, "vms_other"); !errors.Is(err, pinning.ErrNoGuest) {
		t.Errorf("with no domain running, got %v; want ErrNoGuest", err)
	}
}

// A guest's configuration is read when libvirt or the threads show that it changed. Otherwise only the threads are read.
func TestMostLooksReadTheThreadsOnly(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	dom := l.create(t, testDomain("vms_db"))
	c := l.connect(t, testDriver).(*connection)
	read := func(what string, vcpus, uses int, pinned cpuset.Set) {
		t.Helper()
		guest, err := c.Guest(shortly(t), "vms_db")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(guest.VCPUs) != vcpus || c.look.uses != uses || guest.VCPUs[0].Pinned != pinned || guest.Domain != "vms_db" || guest.ThreadsPerCore != 2 {
			t.Errorf("%s: %+v by a configuration that was used %d times; want %d vCPUs, the first pinned to %q, and %d", what, guest, c.look.uses, vcpus, pinned, uses)
		}
	}
	read("the first look", 4, 0, cpuset.Set{})
	for n := range fullEvery {
		read("a later look", 4, n+1, cpuset.Set{})
	}
	read("the look after these", 4, 0, cpuset.Set{})
	read("one more", 4, 1, cpuset.Set{})

	if err := l.rpc.DomainSetVcpusFlags(dom, 6, uint32(golibvirt.DomainVCPULive)); err != nil {
		t.Fatal(err)
	}
	read("after a vCPU was plugged", 6, 0, cpuset.Set{})
	guest, err := c.Guest(shortly(t), "vms_db")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Pin(shortly(t), guest, pinning.Thread{Kind: pinning.VCPU}, cpuset.Of(3)); err != nil {
		t.Fatal(err)
	}
	read("after a pin of our own", 6, 0, cpuset.Of(3))
	if err := l.rpc.DomainSuspend(dom); err != nil {
		t.Fatal(err)
	}
	received(t, c, "a domain was paused")
	read("after an event", 6, 0, cpuset.Of(3))
	if err := l.rpc.DomainDestroy(dom); err != nil {
		t.Fatal(err)
	}
	l.crowd(t) // else the one domain that is left would be taken for the pod's
	if _, err := c.Guest(shortly(t), "vms_db"); !errors.Is(err, pinning.ErrNoGuest) {
		t.Errorf("after the guest ended: %v, want ErrNoGuest", err)
	}
}

func TestLibvirtsRefusalIsAnError(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	c := l.connect(t, testDriver)
	ctx := shortly(t)
	guest, err := c.Guest(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range []pinning.Thread{{Kind: pinning.VCPU, ID: 99}, {Kind: pinning.IOThread, ID: 99}, {Kind: "gpu"}} {
		if err := c.Pin(ctx, guest, thread, cpuset.Of(1)); err == nil {
			t.Errorf("pinning %+v went well", thread)
		}
	}
	if _, err := c.Guest(ctx, "test"); err != nil {
		t.Errorf("after refusals the connection is of no use: %v", err)
	}
}

func TestChangesAreTold(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	c := l.connect(t, testDriver)
	dom := l.create(t, testDomain("vms_db"))
	received(t, c, "a domain started")
	if err := l.rpc.DomainSuspend(dom); err != nil {
		t.Fatal(err)
	}
	received(t, c, "a domain was paused")
	if err := l.rpc.DomainResume(dom); err != nil {
		t.Fatal(err)
	}
	received(t, c, "a domain resumed")

	if err := l.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case _, alive := <-c.Changed():
		if alive {
			if _, alive = <-c.Changed(); alive {
				t.Error("a libvirtd that was killed still tells changes")
			}
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing told that libvirtd was killed")
	}
	if _, err := c.Guest(shortly(t), "vms_db"); err == nil {
		t.Error("a libvirtd that was killed still answers")
	}
}

func received(t *testing.T, c pinning.Connection, what string) {
	t.Helper()
	select {
	case _, alive := <-c.Changed():
		if !alive {
			t.Fatalf("the connection was lost when %s", what)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("nothing was told after %s", what)
	}
}

func TestHungLibvirtEndsWithTheDeadline(t *testing.T) {
	podDir := t.TempDir()
	listen(t, podDir, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := New(config.Pinning{}).Connect(ctx, pinning.Place{PodDir: podDir})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s with a deadline of 200ms", took)
	}
}

func TestHungDuringACallEndsWithTheDeadline(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	c := l.connect(t, testDriver)
	if err := l.Signal(syscall.SIGSTOP); err != nil { // it hangs: its sockets stay, and nobody answers
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Guest(ctx, "test"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if _, err := c.Guest(shortly(t), "test"); err == nil {
		t.Error("the connection is of use after a call was cut short")
	}
}

func TestUnreachable(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, podDir string)
		want    string
	}{
		"no pod directory": {func(t *testing.T, podDir string) { remove(t, podDir) }, "no such file"},
		"no socket":        {func(*testing.T, string) {}, "libvirt-runtime/virtqemud-sock: no such file"},
		"nobody listens": {func(t *testing.T, podDir string) {
			listen(t, podDir, nil).Close()
		}, "connection refused"},
		"a file": {func(t *testing.T, podDir string) {
			if err := os.WriteFile(socketPath(t, podDir), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is not a socket"},
		"a link out of the pod": {func(t *testing.T, podDir string) {
			other := t.TempDir()
			listen(t, other, nil)
			if err := os.Symlink(socketPath(t, other), socketPath(t, podDir)); err != nil {
				t.Fatal(err)
			}
		}, "it is a symbolic link"},
		"a directory that leads out of the pod": {func(t *testing.T, podDir string) {
			other := t.TempDir()
			listen(t, other, nil)
			dir := filepath.Dir(socketPath(t, podDir))
			remove(t, dir)
			if err := os.Symlink(filepath.Dir(socketPath(t, other)), dir); err != nil {
				t.Fatal(err)
			}
		}, "it is a symbolic link"},
	} {
		t.Run(name, func(t *testing.T) {
			podDir := filepath.Join(t.TempDir(), "pod")
			socketPath(t, podDir)
			tc.prepare(t, podDir)
			_, err := New(config.Pinning{}).Connect(shortly(t), pinning.Place{PodDir: podDir})
			if !errors.Is(err, pinning.ErrUnreachable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ErrUnreachable with %q", err, tc.want)
			}
			if again := fmt.Sprint(err); strings.Contains(again, "/proc/self/fd/") {
				t.Errorf("the error has a number that is another at the next try, and so would be an event of its own: %s", again)
			}
		})
	}
}

func TestDriverFollowsTheSocketsOwner(t *testing.T) {
	for _, tc := range []struct {
		configured string
		owner      uint32
		want       string
	}{
		{"", 0, "qemu:///system"},
		{"", 107, "qemu:///session"},
		{"test:///default", 0, "test:///default"},
		{"test:///default", 107, "test:///default"},
	} {
		if got := New(config.Pinning{LibvirtURI: tc.configured}).driver(tc.owner); string(got) != tc.want {
			t.Errorf("with %q configured and a socket of user %d: %s, want %s", tc.configured, tc.owner, got, tc.want)
		}
	}
}

func TestSocketNames(t *testing.T) {
	l := startLibvirtd(t, testDriver)
	old := socketPath(t, l.podDir("db"))
	modular := filepath.Join(filepath.Dir(old), "virtqemud-sock")

	listen(t, l.podDir("other"), nil) // hangs, were it asked
	l.connect(t, testDriver)          // libvirtd's is taken where virtqemud's is missing

	if err := os.Symlink("libvirt-sock", modular); err != nil {
		t.Fatal(err)
	}
	_, err := New(config.Pinning{LibvirtURI: testDriver}).Connect(shortly(t), pinning.Place{PodDir: l.podDir("db")})
	if !errors.Is(err, pinning.ErrUnreachable) || !strings.Contains(err.Error(), "virtqemud-sock: it is a symbolic link") {
		t.Errorf("a link that stays in the pod: %v, want ErrUnreachable", err)
	}
	if err := os.Rename(old, modular); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(socketPath(t, l.podDir("other")), old); err != nil {
		t.Fatal(err)
	}
	l.connect(t, testDriver) // virtqemud's is asked first
}

// TestNonsenseIsAnError has libvirts that answer every call with a frame that would make go-libvirt panic,
// allocate without bound or never return.
func TestNonsenseIsAnError(t *testing.T) {
	for name, answer := range map[string][]uint32{
		"a frame shorter than its header": {4, remoteProgram, 1, 66, typeReply, 1, statusOK},
		"an endless frame":                {1 << 31, remoteProgram, 1, 66, typeReply, 1, statusOK},
		"a huge array":                    {32, remoteProgram, 1, 66, typeReply, 1, statusOK, 0x7fffffff},
		"an empty answer":                 {28, remoteProgram, 1, 66, typeReply, 1, statusOK},
	} {
		t.Run(name, func(t *testing.T) {
			podDir := t.TempDir()
			listen(t, podDir, func(conn net.Conn) { _ = binary.Write(conn, binary.BigEndian, answer) })
			start := time.Now()
			if _, err := New(config.Pinning{}).Connect(shortly(t), pinning.Place{PodDir: podDir}); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v after %s, want an error at once", err, time.Since(start))
			}
		})
	}
}
