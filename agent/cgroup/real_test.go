// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// skip skips a test for want of something, unless nothing may be skipped.
func skip(t *testing.T, missing string) {
	t.Helper()
	if os.Getenv("COREPIN_REQUIRE_ALL") == "1" {
		t.Fatalf("%s, and COREPIN_REQUIRE_ALL=1 does not allow to skip", missing)
	}
	t.Skipf("SKIPPED: %s", missing)
}

// startSleeper starts a process that ends with the test.
func startSleeper(t *testing.T) *os.Process {
	t.Helper()
	command := exec.Command("sleep", "600")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // the test may have ended it
		_ = command.Wait()
	})
	return command.Process
}

// removeCgroups removes a cgroup and those above it, up to the mount.
func removeCgroups(dir, mount string) {
	for ; dir != mount; dir = filepath.Dir(dir) {
		_ = os.Remove(dir)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
