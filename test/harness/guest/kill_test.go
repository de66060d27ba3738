// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/digitalocean/go-libvirt"

	"corepin.dev/corepin/test/harness/await"
)

// victimEnv makes this test's binary a process that starts guests and waits to be killed. It names a folder.
const victimEnv = "GUEST_TEST_VICTIM"

func TestMain(m *testing.M) {
	dir := os.Getenv(victimEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := startVictims(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// startVictims starts two guests that libvirt does not destroy by itself, the libvirtd of one hangs, and writes a file with the
// private directories.
func startVictims(dir string) error {
	var private string
	for i := range 2 {
		sockets := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(sockets, 0o755); err != nil {
			return err
		}
		d, err := startDaemon(context.Background(), sockets, libvirt.QEMUSession, nil)
		if err != nil {
			return err
		}
		m, _, err := QEMU{}.machine(Spec{Name: "vms_victim", VCPUs: 1, MaxVCPUs: 1, Sockets: 1, Cores: 1, Threads: 1, MemoryMiB: 32})
		if err != nil {
			return err
		}
		if _, err := newDomain(context.Background(), d, m, libvirt.DomainNone); err != nil {
			return err
		}
		private += d.private + "\n"
		if i == 1 {
			if err := d.Signal(syscall.SIGSTOP); err != nil {
				return err
			}
		}
	}
	whole := filepath.Join(dir, "whole")
	if err := os.WriteFile(whole, []byte(private), 0o644); err != nil {
		return err
	}
	return os.Rename(whole, filepath.Join(dir, "started"))
}

// TestKilledStarter kills the process that started guests, as a time-out or a panic of a test does.
func TestKilledStarter(t *testing.T) {
	requireLibvirt(t, "qemu-system-x86_64")
	dir := t.TempDir()
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), victimEnv+"="+dir)
	victim.Stderr = os.Stderr
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var private []string
	err := await.For(t.Context(), "the guests of the process to be killed", patience, func(context.Context) error {
		text, err := os.ReadFile(filepath.Join(dir, "started"))
		private = strings.Fields(string(text))
		return err
	})
	var before []int
	for _, home := range private {
		pids, livingErr := living(home)
		if livingErr != nil || len(pids) < 2 {
			t.Errorf("before the kill: processes %v of %s (%v), want a libvirtd and a QEMU", pids, home, livingErr)
		}
		before = append(before, pids...)
	}
	if killErr := victim.Process.Kill(); killErr != nil {
		t.Fatal(killErr)
	}
	_ = victim.Wait()
	if err != nil {
		t.Fatal(err)
	}
	err = await.For(t.Context(), "all of it to be gone", patience, func(context.Context) error {
		for _, home := range private {
			pids, err := living(home)
			if err != nil || len(pids) > 0 {
				return fmt.Errorf("processes %v of %s (%v)", pids, home, err)
			}
			if _, err := os.Stat(home); !os.IsNotExist(err) {
				return fmt.Errorf("%s is still there (%v)", home, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("processes %v ended with the process that started them", before)
}
