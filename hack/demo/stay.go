package main

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
	"time"

	"corepin.dev/corepin/test/harness/await"
)

// startLimit and stopLimit bound the wait for the process that serves.
const (
	startLimit = 10 * time.Minute
	stopLimit  = time.Minute
)

// up starts this program again in the background, shows what it prints, and returns when it is ready.
func up(ctx context.Context, f flags) error {
	state, err := filepath.Abs(f.state)
	if err != nil {
		return fmt.Errorf("finding the state directory: %w", err)
	}
	if pid, err := servingPID(state); err == nil {
		return fmt.Errorf("it is up already (pid %d); stop it with: make down", pid)
	}
	if err := os.RemoveAll(state); err != nil {
		return fmt.Errorf("clearing the state directory: %w", err)
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	log, err := os.Create(filepath.Join(state, "demo.log"))
	if err != nil {
		return fmt.Errorf("making the log: %w", err)
	}
	defer log.Close()
	server := exec.Command("/proc/self/exe", "serve", "--bin="+f.bin, "--state="+state, "--kvm="+strconv.FormatBool(f.kvm), "--output="+f.output)
	server.Stdout, server.Stderr = log, log
	server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := server.Start(); err != nil {
		return fmt.Errorf("starting the background process: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- server.Wait() }()
	return follow(ctx, state, log.Name(), exited)
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
	defer os.Remove(filepath.Join(f.state, "pid"))
	bed, err := tell(ctx, f, f.state)
	if bed == nil {
		return err
	}
	if err == nil {
		fmt.Fprintf(progress(f), "\nIt stays up. Use it with:\n  export KUBECONFIG=%s\n  %s/clusterd kubectl get nodecpus\nand stop it with: make down\n", bed.AdminKubeconfig(), f.bin)
		err = os.WriteFile(filepath.Join(f.state, "ready"), nil, 0o644)
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, bed.Stop())
}

// down ends the process that up started and waits for it.
func down(ctx context.Context, f flags) error {
	pid, err := servingPID(f.state)
	if err != nil {
		return fmt.Errorf("nothing is up: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping process %d: %w", pid, err)
	}
	err = await.For(ctx, fmt.Sprintf("process %d to end", pid), stopLimit, func(context.Context) error {
		if _, err := servingPID(f.state); err == nil {
			return fmt.Errorf("it is still there; its log is %s", filepath.Join(f.state, "demo.log"))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(f.state)
}

// servingPID is the process that serves from a state directory. A pid file alone proves nothing: the
// process must be this program, and not a later one with the same number.
func servingPID(state string) (int, error) {
	text, err := os.ReadFile(filepath.Join(state, "pid"))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", filepath.Join(state, "pid"), err)
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(command), "\x00serve\x00") {
		return 0, fmt.Errorf("process %d, which was up, has gone", pid)
	}
	return pid, nil
}
