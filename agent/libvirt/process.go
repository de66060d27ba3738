// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/pinning"
)

const (
	// scanEvery is the least time between two looks at all processes, however many guests are waited for.
	scanEvery = 250 * time.Millisecond
	// scanShare is the part of a CPU that looking at all processes may take, as a divisor. On a host with many
	// thousands of them the looks are further apart.
	scanShare = 100
)

// scanPause is the time between two looks at all processes, after one that took so long.
func scanPause(took time.Duration) time.Duration { return max(scanEvery, scanShare*took) }

// dialProcess connects to the first of the sockets that a process of the pod sees in its own file system.
// The sockets are looked up as the process would, so that /var/run may be a link to /run, and no link leads out.
// A process that sees the host's files, as a container's monitor does, would lead to the host's own libvirt.
func (h *Hypervisor) dialProcess(ctx context.Context, pod types.UID) (net.Conn, uint32, error) {
	host, err := h.processes.host(h.sockets)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, err)
	}
	pids, err := h.processes.of(pod)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, err)
	}
	roots := map[string]bool{host.namespace: true} // processes of one container see the same files
	failed := errors.New("no process of the pod with files of its own is seen in " + h.processes.dir + "; the agent needs the host's")
	for _, pid := range pids {
		namespace, err := os.Readlink(filepath.Join(h.processes.dir, strconv.Itoa(pid), "ns/mnt"))
		if err != nil || roots[namespace] {
			continue // or it has ended
		}
		roots[namespace] = true
		dir := filepath.Join(h.processes.dir, strconv.Itoa(pid))
		socket, err := h.lookups.within(ctx, dir, func() (*os.File, error) { return host.openElsewhere(dir, h.sockets) })
		conn, owner, err := dialFile(ctx, socket, err)
		if err != nil {
			failed = err
			continue
		}
		if !h.processes.belongs(pid, pod) { // it ended, and its number is another's
			conn.Close()
			continue
		}
		return conn, owner, nil
	}
	if errors.Is(failed, pinning.ErrUnreachable) {
		return nil, 0, failed
	}
	return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, failed)
}

// hostFiles is what of the host a launcher's process must not share.
type hostFiles struct {
	namespace string // of its mounts
	root      os.FileInfo
	sockets   []os.FileInfo
}

// host reads it off the host's first process.
func (p *processes) host(sockets []string) (hostFiles, error) {
	dir := filepath.Join(p.dir, "1")
	namespace, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
	if err != nil {
		return hostFiles{}, fmt.Errorf("telling the launcher's files from the host's: %w", err)
	}
	root, err := os.OpenFile(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return hostFiles{}, fmt.Errorf("telling the launcher's files from the host's: %w", err)
	}
	defer root.Close()
	host := hostFiles{namespace: namespace}
	if host.root, err = root.Stat(); err != nil {
		return hostFiles{}, err
	}
	for _, name := range sockets {
		socket, err := openIn(root, filepath.Join(dir, "mountinfo"), name)
		if err != nil {
			continue // the host has none
		}
		if info, err := socket.Stat(); err == nil {
			host.sockets = append(host.sockets, info)
		}
		socket.Close()
	}
	return host, nil
}

// openElsewhere opens the first of the sockets in the file system of a process, given by its directory in /proc. It
// refuses the host's file system, which may be the process's root, and the host's sockets, which may be mounted there.
func (h hostFiles) openElsewhere(dir string, sockets []string) (*os.File, error) {
	root, err := os.OpenFile(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat()
	if err != nil {
		return nil, err
	}
	if os.SameFile(info, h.root) {
		return nil, fmt.Errorf("refusing %s: it is the host's file system", root.Name())
	}
	socket, err := openFirst(sockets, func(name string) (*os.File, error) { return openIn(root, filepath.Join(dir, "mountinfo"), name) })
	if err != nil {
		return nil, err
	}
	if info, err = socket.Stat(); err != nil {
		socket.Close()
		return nil, err
	}
	for _, own := range h.sockets {
		if os.SameFile(info, own) {
			socket.Close()
			return nil, fmt.Errorf("refusing %s: it is the socket of the host's own libvirt", socket.Name())
		}
	}
	return socket, nil
}

// processes knows which processes belong to which pod, by their cgroups.
type processes struct {
	dir string

	mu    sync.Mutex
	next  time.Time // when to look again
	byPod map[types.UID][]int
}

func newProcesses(procDir string) *processes { return &processes{dir: procDir} }

// of gives the processes of a pod, ascending. The last look at all processes is as old as scanPause allows.
func (p *processes) of(pod types.UID) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	start := time.Now()
	if start.After(p.next) {
		entries, err := os.ReadDir(p.dir)
		if err != nil {
			return nil, fmt.Errorf("looking for the pod's processes: %w", err)
		}
		p.byPod = map[types.UID][]int{}
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil {
				continue
			}
			for uid := range p.podsOf(pid) {
				p.byPod[uid] = append(p.byPod[uid], pid)
			}
		}
		end := time.Now()
		p.next = end.Add(scanPause(end.Sub(start)))
	}
	return slices.Sorted(slices.Values(p.byPod[pod])), nil
}

func (p *processes) belongs(pid int, pod types.UID) bool { return p.podsOf(pid)[pod] }

// podNamed finds a pod's UID in the name of its cgroup, as the kubelet's cgroup drivers write it: systemd has
// underscores for hyphens (kubelet pkg/kubelet/cm/cgroup_manager_linux.go, v1.36.3).
var podNamed = regexp.MustCompile(`(?:^|[/-])pod([0-9a-zA-Z_-]+)(?:\.slice)?(?:/|$)`)

// podsOf are the pods in whose cgroup a process is: none or one, or several where a cgroup is made to look so.
func (p *processes) podsOf(pid int) map[types.UID]bool {
	text, err := os.ReadFile(filepath.Join(p.dir, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return nil // it has ended
	}
	pods := map[types.UID]bool{}
	for line := range strings.Lines(string(text)) {
		// Only the first is the kubelet's: what is below it, the pod may have made.
		if found := podNamed.FindStringSubmatch(strings.TrimSpace(line)); found != nil {
			pods[types.UID(strings.ReplaceAll(found[1], "_", "-"))] = true
		}
	}
	return pods
}
