// SPDX-License-Identifier: Apache-2.0

// Command orphans runs a command, kills it with SIGKILL in its middle, and counts what it leaves behind.
//
//	go run ./hack/orphans -after 20s -needs libvirtd -- bin/demo run
//
// Whatever the command starts is counted, also what has put itself into a session of its own: an orphan's parent becomes
// this process. It exits with 1 if anything is left, and if a process of the needed name did not run before the kill: then
// nothing was shown.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"corepin.dev/corepin/test/harness/await"
)

func main() {
	after := flag.Duration("after", 20*time.Second, "how long the command runs after the needed process is there")
	needs := flag.String("needs", "", "names of processes that must run before the kill, comma separated")
	patience := flag.Duration("patience", 30*time.Second, "how long what ends a moment after the command has for it, on a busy machine")
	flag.Parse()
	err := run(os.Stdout, *after, *patience, strings.FieldsFunc(*needs, func(r rune) bool { return r == ',' }), flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "orphans:", err)
		os.Exit(1)
	}
}

func run(out *os.File, after, patience time.Duration, needs, command []string) error {
	if len(command) == 0 {
		return errors.New("there is no command")
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of orphans: %w", err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	notYet := needed(cmd.Process.Pid, needs)
	if notYet == nil {
		<-time.After(after)
	}
	before, err := below(os.Getpid())
	killErr := cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if err := errors.Join(notYet, err, killErr); err != nil {
		return err
	}
	left, err := awaitNone(patience)
	fmt.Fprintf(out, "%s: killed with %d processes (%s); left: %d %s\n", filepath.Base(command[0]), len(before), names(before), len(left), names(left))
	return err
}

// needed waits until each of the processes runs below the command.
func needed(command int, needs []string) error {
	return await.For(context.Background(), "processes "+strings.Join(needs, ", "), 5*time.Minute, func(context.Context) error {
		if err := syscall.Kill(command, 0); err != nil {
			return await.Stop(fmt.Errorf("the command has ended: %w", err))
		}
		running, err := below(os.Getpid())
		if err != nil {
			return err
		}
		for _, name := range needs {
			if !slices.Contains(slices.Collect(maps.Values(running)), name) {
				return fmt.Errorf("no %s among %s", name, names(running))
			}
		}
		return nil
	})
}

// awaitNone returns what has not ended.
func awaitNone(patience time.Duration) (left map[int]string, err error) {
	err = await.For(context.Background(), "nothing to be left", patience, func(context.Context) error {
		if left, err = below(os.Getpid()); err != nil {
			return await.Stop(err)
		}
		if len(left) > 0 {
			return fmt.Errorf("%d processes: %v", len(left), left)
		}
		return nil
	})
	return left, err
}

// below are the processes that descend from one and have not ended, by id, with their names.
func below(root int) (map[int]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	parents, all := map[int]int{}, map[int]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state ppid …", and a name may have any character in it.
		name, rest := data[bytes.IndexByte(data, '(')+1:bytes.LastIndexByte(data, ')')], data[bytes.LastIndexByte(data, ')')+1:]
		fields := strings.Fields(string(rest))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		if parents[pid], err = strconv.Atoi(fields[1]); err != nil {
			return nil, err
		}
		if fields[0] != "Z" {
			all[pid] = string(name)
		}
	}
	maps.DeleteFunc(all, func(pid int, _ string) bool {
		for pid != root && pid != 0 {
			pid = parents[pid]
			if pid == root {
				return false
			}
		}
		return true
	})
	return all, nil
}

// names counts processes by their names.
func names(processes map[int]string) string {
	count := map[string]int{}
	for _, name := range processes {
		count[name]++
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		all = append(all, fmt.Sprintf("%d %s", count[name], name))
	}
	return strings.Join(all, ", ")
}
