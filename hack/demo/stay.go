// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/testbed"
)

// logName is, in the state directory, what the process in the background prints.
const logName = "demo.log"

// startLimit and stopLimit bound the wait for the process that serves. killLimit is for its children to end with it.
const (
	startLimit = 10 * time.Minute
	stopLimit  = time.Minute
	killLimit  = 10 * time.Second
)

// up starts this program again in the background, shows what it prints, and returns when it is ready.
func up(ctx context.Context, f flags) error {
	if err := complete(f.bin); err != nil {
		return err
	}
	if pid, err := servingPID(f.state); err == nil {
		return fmt.Errorf("%s is up already (pid %d); stop it with: make down", f.state, pid)
	}
	if err := clear(f.state); err != nil {
		return err
	}
	if err := os.MkdirAll(f.state, 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	log, err := os.Create(filepath.Join(f.state, logName))
	if err != nil {
		return fmt.Errorf("making the log: %w", err)
	}
	defer log.Close()
	server := exec.Command("/proc/self/exe", "serve", "--bin="+f.bin, "--state="+f.state, "--kvm="+strconv.FormatBool(f.kvm), "--output="+f.output)
	server.Stdout, server.Stderr = log, log
	server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := server.Start(); err != nil {
		return fmt.Errorf("starting the background process: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- server.Wait() }()
	err = follow(ctx, f.state, log.Name(), exited)
	if err == nil {
		return nil
	}
	stopErr := stop(context.WithoutCancel(ctx), f.state, server.Process.Pid)
	if ctx.Err() != nil && stopErr == nil {
		return errInterrupted
	}
	return errors.Join(err, stopErr)
}

// clear removes a state directory, and nothing that is not one.
func clear(state string) error {
	entries, err := os.ReadDir(state)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the state directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(state, logName)); err != nil && len(entries) > 0 {
		return fmt.Errorf("%s has other things in it than a demo's; choose another --state", state)
	}
	if err := os.RemoveAll(state); err != nil {
		return fmt.Errorf("removing the state directory: %w", err)
	}
	return nil
}

// follow copies the log to the terminal until the server is ready or has ended.
func follow(ctx context.Context, state, logFile string, exited <-chan error) error {
	log, err := os.Open(logFile)
	if err != nil {
		return fmt.Errorf("following the log: %w", err)
	}
	defer log.Close()
	err = await.For(ctx, "the demo to be up", startLimit, func(context.Context) error {
		if _, err := log.WriteTo(os.Stdout); err != nil {
			return await.Stop(err)
		}
		select {
		case err := <-exited:
			_, copyErr := log.WriteTo(os.Stdout)
			return await.Stop(errors.Join(errors.New("the background process has ended"), err, copyErr))
		default:
		}
		_, err := os.Stat(filepath.Join(state, "ready"))
		return err
	})
	if err != nil {
		return err
	}
	_, err = log.WriteTo(os.Stdout)
	return err
}

// serve tells the story and then stays until it is told to end.
func serve(ctx context.Context, f flags) error {
	if err := os.WriteFile(filepath.Join(f.state, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return fmt.Errorf("writing the pid: %w", err)
	}
	return perform(ctx, f, f.state, func(bed *testbed.Testbed) error {
		fmt.Fprintf(progress(f), "\nIt stays up. Use it with:\n  export KUBECONFIG=%s\n  %s/clusterd kubectl get nodecpus\nand stop it with: make down\n", bed.AdminKubeconfig(), f.bin)
		if err := os.WriteFile(filepath.Join(f.state, "ready"), nil, 0o644); err != nil {
			return fmt.Errorf("telling that it is ready: %w", err)
		}
		<-ctx.Done()
		return nil
	})
}

// down ends the process that up started, and removes the state directory whatever is in it. What did not end well is told
// with the end of its log, since the log goes too.
func down(ctx context.Context, f flags) error {
	pid, err := servingPID(f.state)
	if err != nil {
		fmt.Fprintf(progress(f), "Nothing is up: %v.\n", err)
		return clear(f.state)
	}
	if err := stop(ctx, f.state, pid); err != nil {
		fmt.Fprintf(progress(f), "It did not end well: %v.\nIts log ends:\n%s\n", err, tail(filepath.Join(f.state, logName)))
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err := kill(ctx, f.state, pid); err != nil {
		return err
	}
	if err := clear(f.state); err != nil {
		return err
	}
	fmt.Fprintln(progress(f), cleaned)
	return nil
}

// tailBytes are enough for the messages of an end.
const tailBytes = 2 << 10

// tail is the end of a file, and why it cannot be read where it cannot.
func tail(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-tailBytes):]))
}

// kill ends a process that has not ended when it was asked to. What it started ends with it.
func kill(ctx context.Context, state string, pid int) error {
	if !serves(pid, state) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing process %d: %w", pid, err)
	}
	return await.For(ctx, fmt.Sprintf("process %d to be gone", pid), killLimit, func(context.Context) error {
		if serves(pid, state) {
			return errors.New("it was killed, and is still there; end it by hand, and run make down again")
		}
		return nil
	})
}

// stop ends the process that serves from a state directory, and waits until it has cleaned up.
func stop(ctx context.Context, state string, pid int) error {
	if !serves(pid, state) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stopping process %d: %w", pid, err)
	}
	log := filepath.Join(state, logName)
	err := await.For(ctx, fmt.Sprintf("process %d to end", pid), stopLimit, func(context.Context) error {
		if serves(pid, state) {
			return fmt.Errorf("it is still there; its log is %s", log)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := os.Stat(log); err == nil {
		return fmt.Errorf("process %d has ended, but not well; its log is %s", pid, log)
	}
	return nil
}

// servingPID is the process that serves from a state directory. A pid file alone proves nothing: the
// process must be this program, and not a later one with the same number.
func servingPID(state string) (int, error) {
	text, err := os.ReadFile(filepath.Join(state, "pid"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("nothing was started from %s", state)
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", filepath.Join(state, "pid"), err)
	}
	if !serves(pid, state) {
		return 0, fmt.Errorf("process %d has gone", pid)
	}
	return pid, nil
}

// serves reports whether pid is this program, in the background, for a state directory: another demo has another one. A
// process that has ended has no command line.
func serves(pid int, state string) bool {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := strings.Split(string(command), "\x00")
	return err == nil && slices.Contains(words, "serve") && slices.Contains(words, "--state="+state)
}
