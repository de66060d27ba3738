// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// keeperScript reads names of directories until whoever writes them is gone, however it went. It then kills every process that has
// one of them in its environment, since its HOME or its cache is there: libvirtd, and QEMU, which is no child of anybody. Last it
// removes the directories. Their names are random, so that they are nobody else's.
const keeperScript = `dirs=$(cat)
[ -n "$dirs" ] || exit 0
for round in $(seq 100); do
	left=$(grep -laF -e "$dirs" /proc/[0-9]*/environ 2>/dev/null)
	[ -n "$left" ] || break
	for file in $left; do
		pid=${file#/proc/}
		kill -9 "${pid%/environ}"
	done
	sleep 0.1
done
echo "$dirs" | while read -r dir; do rm -rf -- "$dir"; done`

// keeper is a process that outlives this one for a moment, and ends what is left of its guests.
var keeper struct {
	once sync.Once
	mu   sync.Mutex
	pipe io.Writer
	err  error
}

// keep makes sure that a directory, and the processes whose home it is, end with this process, even if it is killed.
func keep(dir string) error {
	keeper.once.Do(startKeeper)
	if keeper.err != nil {
		return keeper.err
	}
	keeper.mu.Lock()
	defer keeper.mu.Unlock()
	_, err := fmt.Fprintln(keeper.pipe, dir)
	return err
}

func startKeeper() {
	reader, writer, err := os.Pipe()
	if err != nil {
		keeper.err = err
		return
	}
	defer reader.Close()
	cmd := exec.Command("/bin/sh", "-c", keeperScript)
	cmd.Stdin = reader
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what is sent to this process's group is not for it
	if err := cmd.Start(); err != nil {
		keeper.err = fmt.Errorf("starting the keeper of guests: %w", err)
		return
	}
	go func() { _ = cmd.Wait() }() // it ends after this process
	keeper.pipe = writer
}

var cache struct {
	once sync.Once
	dir  string
	err  error
}

// cacheDir is where every libvirtd of this process keeps what it found out about QEMU, which takes it seconds.
func cacheDir() (string, error) {
	cache.once.Do(func() {
		cache.dir, cache.err = os.MkdirTemp("", "guest-cache-")
		if cache.err == nil {
			cache.err = errors.Join(keep(cache.dir), os.Chown(cache.dir, User, User))
		}
	})
	return cache.dir, cache.err
}

// living are the processes that have a directory in their environment.
func living(dir string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environ, []byte(dir)) {
			continue // it has ended, or is another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// killAll kills the processes that have a directory in their environment, and returns when they are gone.
func killAll(dir string) error {
	for deadline := time.Now().Add(stopGrace); ; {
		pids, err := living(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of %s did not end within %s of being killed", pids, dir, stopGrace)
		}
		for _, pid := range pids {
			err := syscall.Kill(pid, syscall.SIGKILL)
			if err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing process %d of a guest: %w", pid, err)
			}
		}
		<-time.After(10 * time.Millisecond)
	}
}
