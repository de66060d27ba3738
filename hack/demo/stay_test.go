// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/test/harness/await"
)

// stand starts a shell in place of a process that serves a state directory, and notes its pid there. It ignores what asks
// it to end.
func stand(t *testing.T, state string) *exec.Cmd {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	cmd := exec.Command("/bin/sh", "-c", "trap '' TERM; : >"+ready+"; while :; do read line; done", "demo", "serve", "--state="+state)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Process.Kill()
		<-gone
	})
	err = await.For(t.Context(), "the shell to ignore SIGTERM", time.Minute, func(context.Context) error {
		_, err := os.Stat(ready)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Two demos have a process each, and none takes the other's for its own.
func TestTwoDemosAreToldApart(t *testing.T) {
	one := t.TempDir()
	two := t.TempDir()
	pid := stand(t, one).Process.Pid
	for state, want := range map[string]bool{one: true, two: false} {
		write(t, state, "pid", strconv.Itoa(pid))
		found, err := servingPID(state)
		if (err == nil && found == pid) != want {
			t.Errorf("of %s: process %d, error %v; want process %d: %t", state, found, err, pid, want)
		}
	}
}

// A process that does not end when it is asked to is killed.
func TestKill(t *testing.T) {
	state := t.TempDir()
	pid := stand(t, state).Process.Pid
	if err := kill(t.Context(), t.TempDir(), pid); err != nil || !serves(pid, state) {
		t.Errorf("that of another directory was killed (%v)", err)
	}
	if err := kill(t.Context(), state, pid); err != nil || serves(pid, state) {
		t.Errorf("it is still there (%v)", err)
	}
}

// Whatever a demo that died has left, down removes it; what is no demo's it leaves alone.
func TestDownRemovesWhatIsLeft(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing":                       nil,
		"a log":                         {logName: "started"},
		"a pid of no process":           {logName: "started", "pid": "1"},
		"a pid that is no number":       {logName: "started", "pid": "x", "ready": ""},
		"the files of a cluster beside": {logName: "started", "admin.kubeconfig": "", "pid": "2000000000"},
	} {
		state := filepath.Join(t.TempDir(), "state")
		if files != nil {
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for file, text := range files {
			write(t, state, file, text)
		}
		if err := down(t.Context(), flags{state: state}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(state); !os.IsNotExist(err) {
			t.Errorf("%s: the directory is still there (%v)", name, err)
		}
	}
	mine := t.TempDir()
	write(t, mine, "letter.txt", "")
	if err := down(t.Context(), flags{state: mine}); err == nil || !strings.Contains(err.Error(), "other things") {
		t.Errorf("a directory that is no demo's: error %v", err)
	}
}
