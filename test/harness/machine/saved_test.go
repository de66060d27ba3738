// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"corepin.dev/corepin/test/harness/process"
)

// requireQEMU skips the test where QEMU is missing, or fails it where nothing may be.
func requireQEMU(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath(qemu)
	if err == nil {
		return
	}
	if os.Getenv("COREPIN_REQUIRE_ALL") == "1" {
		t.Fatal(err)
	}
	t.Skipf("SKIPPED: %v", err)
}

// bare is a machine without an operating system, whose disks have a line each.
func bare(t *testing.T, incoming string) *Machine {
	t.Helper()
	m := &Machine{options: Options{Name: "bare", Dir: t.TempDir()}}
	for _, disk := range disks {
		if err := os.WriteFile(m.path(disk), []byte(disk+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	arguments := []string{"-nodefaults", "-display", "none", "-m", "16", "-qmp", "unix:" + m.path(controlSocket) + ",server=on,wait=off"}
	if incoming != "" {
		arguments = append(arguments, "-incoming", incoming)
	}
	var err error
	m.qemu, err = process.Start(process.Command{Name: "qemu", Path: qemu, Args: arguments, Logs: m.options.Dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop() })
	return m
}

// status is what QEMU says of the machine.
func status(t *testing.T, m *Machine) (status string) {
	t.Helper()
	err := m.control(t.Context(), func(_ context.Context, q *monitor) error {
		var now struct{ Status string }
		defer func() { status = now.Status }()
		return q.do("query-status", nil, &now)
	})
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func TestSavedMachineGoesOnAndIsRestored(t *testing.T) {
	requireQEMU(t)
	saved := filepath.Join(t.TempDir(), "saved", "it's this one")
	m := bare(t, "")
	for range 2 { // the second time it is there already
		if err := m.save(t.Context(), saved); err != nil {
			t.Fatal(err)
		}
	}
	if got := status(t, m); got != "running" {
		t.Errorf("the machine that was saved is %s", got)
	}
	if left, err := os.ReadDir(filepath.Dir(saved)); err != nil || len(left) != 1 {
		t.Errorf("beside what was saved: %v (%v)", left, err)
	}
	for _, disk := range disks {
		if text, err := os.ReadFile(filepath.Join(saved, disk)); err != nil || string(text) != disk+"\n" {
			t.Errorf("disk %s: %q (%v)", disk, text, err)
		}
	}
	again := bare(t, "exec:cat <"+quoted(filepath.Join(saved, stateFile)))
	if err := again.control(t.Context(), func(ctx context.Context, q *monitor) error { return q.goOn(ctx) }); err != nil {
		t.Fatal(err)
	}
	if got := status(t, again); got != "running" {
		t.Errorf("the machine that was restored is %s", got)
	}
}

func TestNothingIsRestoredFromADamagedState(t *testing.T) {
	requireQEMU(t)
	saved := t.TempDir()
	m := &Machine{options: Options{Name: "m", Dir: t.TempDir(), Parts: t.TempDir(), Shape: Shape{1, 1, 1}, MemoryMiB: 64}, commands: "127.0.0.1:1", kubelet: "127.0.0.1:2"}
	if err := m.restore(t.Context(), saved); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing was saved, and the error is %v", err)
	}
	for _, file := range append(disks, stateFile) {
		if err := os.WriteFile(filepath.Join(saved, file), []byte("damaged\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := m.restore(t.Context(), saved)
	if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "restoring machine m") {
		t.Errorf("the error is %v", err)
	}
	if m.qemu.Running() {
		t.Error("QEMU goes on")
	}
}

func TestSavedMachinesAreTakenApart(t *testing.T) {
	requireQEMU(t)
	of := func(o Options) string {
		o.Parts = "/p"
		folder, err := (&Machine{options: o, commands: o.Dir + ":1", kubelet: o.Dir + ":2"}).saved()
		if err != nil {
			t.Fatal(err)
		}
		return folder
	}
	one := of(Options{Name: "a", Dir: "/a", APIServer: "127.0.0.1:1", MemoryMiB: 64, Shape: Shape{1, 2, 1}})
	if other := of(Options{Name: "b", Dir: "/b", APIServer: "127.0.0.1:2", MemoryMiB: 64, Shape: Shape{1, 2, 1}}); other != one {
		t.Errorf("machines that are alike are at %s and %s", one, other)
	}
	for _, o := range []Options{{MemoryMiB: 128, Shape: Shape{1, 2, 1}}, {MemoryMiB: 64, Shape: Shape{1, 1, 2}}} {
		if other := of(o); other == one || filepath.Dir(other) != "/p/saved" {
			t.Errorf("%+v is at %s, as another is", o, other)
		}
	}
}
