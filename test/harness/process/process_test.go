// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"corepin.dev/corepin/test/harness/await"
)

const limit = 20 * time.Second

// TestMain doubles as the parent of TestChildDiesWithItsParent: a process that starts a child, tells
// its pid and waits to be killed.
func TestMain(m *testing.M) {
	if file := os.Getenv("PROCESS_TEST_PARENT"); file != "" {
		p, err := Start(Command{Name: "child", Path: "/bin/sh", Args: []string{"-c", "exec sleep 600"}, Logs: filepath.Dir(file)})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(p.PID())+"\n"), 0o600); err != nil {
			os.Exit(1)
		}
		<-p.Exited()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func startShell(t *testing.T, script string, grace time.Duration) *Process {
	t.Helper()
	p, err := Start(Command{Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}, Logs: t.TempDir(), Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// awaitLog waits until the log has the text so often.
func awaitLog(t *testing.T, p *Process, text string, times int) {
	t.Helper()
	err := p.Await(t.Context(), "the log", limit, func(context.Context) error {
		if log := p.LogTail(); strings.Count(log, text) < times {
			return fmt.Errorf("log is %q", log)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func gone(pid int) error {
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("pid %d is still there", pid)
	}
	return nil
}

func TestStopLetsTheProcessEndByItself(t *testing.T) {
	p := startShell(t, `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done`, limit)
	awaitLog(t, p, "up", 1)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := gone(p.PID()); err != nil || p.Running() {
		t.Errorf("running %v: %v", p.Running(), err)
	}
	if !strings.Contains(p.LogTail(), "bye") {
		t.Errorf("log is %q, want the handler's line", p.LogTail())
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
}

func TestStopKillsWhatIgnoresItAndSaysSo(t *testing.T) {
	p := startShell(t, `trap '' TERM; echo up; while :; do sleep 0.05; done`, 100*time.Millisecond)
	awaitLog(t, p, "up", 1)
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "still there 100ms after SIGTERM") {
		t.Errorf("got %v, want that it was killed", err)
	}
	if err := gone(p.PID()); err != nil {
		t.Error(err)
	}
}

func TestKillAndRestartKeepTheLog(t *testing.T) {
	p := startShell(t, `echo life of $$; exec sleep 600`, limit)
	awaitLog(t, p, "life of", 1)
	first := p.PID()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, p, "life of", 2)
	if p.PID() == first || !p.Running() {
		t.Errorf("pid %d after %d, running %v", p.PID(), first, p.Running())
	}
}

func TestAwaitEndsEarlyWhenTheProcessExits(t *testing.T) {
	p := startShell(t, `echo the port is taken; exit 3`, limit)
	begin := time.Now()
	err := p.Await(t.Context(), "readiness", time.Hour, func(context.Context) error { return errors.New("not ready") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("got %v, want the exit status and the log", err)
	}
	if took := time.Since(begin); took > limit {
		t.Errorf("took %s", took)
	}
}

func TestStartTellsWhatIsMissing(t *testing.T) {
	_, err := Start(Command{Name: "nothing", Path: filepath.Join(t.TempDir(), "absent"), Logs: t.TempDir()})
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "starting nothing: ") {
		t.Errorf("got %v", err)
	}
}

func TestChildDiesWithItsParent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "PROCESS_TEST_PARENT="+file)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	err := await.For(t.Context(), "the child's pid", limit, func(context.Context) error {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		child, err = strconv.Atoi(strings.TrimSuffix(string(data), "\n"))
		return err
	})
	if killErr := parent.Process.Kill(); killErr != nil {
		t.Fatal(killErr)
	}
	if waitErr := parent.Wait(); waitErr == nil {
		t.Error("the killed parent ended well")
	}
	if err != nil {
		t.Fatal(err)
	}
	// The orphan is reaped by whoever adopted it, which may take its time: a zombie is dead too.
	err = await.For(t.Context(), "the child's end", limit, func(context.Context) error {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child)); err == nil && strings.Contains(string(stat), ") Z ") {
			return nil
		}
		return gone(child)
	})
	if err != nil {
		t.Error(err)
	}
}

// A process that ends by itself is started again; one that is killed or stopped is not.
func TestSupervised(t *testing.T) {
	ends := make(chan error, 10)
	p, err := Start(Command{Name: "sleep", Path: "sleep", Args: []string{"600"}, Logs: t.TempDir(), Again: func(err error) { ends <- err }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	first := p.PID()
	if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ends; err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("it is said to have ended by %v", err)
	}
	err = await.For(t.Context(), "another start", 10*time.Second, func(context.Context) error {
		if p.PID() == first || !p.Running() {
			return fmt.Errorf("pid %d", p.PID())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	second := p.PID()
	select {
	case err := <-ends:
		t.Errorf("a process that was killed on purpose is said to have ended by %v", err)
	case <-time.After(2 * restartPause):
	}
	if p.PID() != second || p.Running() {
		t.Error("a process that was killed on purpose runs again")
	}
}
