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

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/pinning"
)

const (
	// scanEvery is the least time between two looks at all processes, however many guests are waited for.
	scanEvery = 250 * time.Millisecond
	// scanShare is the part of a CPU that looking at all processes may take, as a divisor: on a host with many
	// thousands of them the looks are further apart.
	scanShare = 100
)

// scanPause is the time between the ends of two looks at all processes, of which the last took so long.
func scanPause(took time.Duration) time.Duration { return max(scanEvery, scanShare*took) }

// dialProcess connects to the first of the sockets that a process of the pod sees in its own file system.
// The sockets are looked up as the process would, so that /var/run may be a link to /run, and no link leads out.
func (h *Hypervisor) dialProcess(ctx context.Context, pod types.UID) (net.Conn, uint32, error) {
	pids, err := h.processes.of(pod)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, err)
	}
	roots := map[string]bool{} // processes of one container see the same files
	var failed error = errors.New("no process of the pod is seen in " + h.processes.dir + "; the agent needs the host's")
	for _, pid := range pids {
		namespace, err := os.Readlink(filepath.Join(h.processes.dir, strconv.Itoa(pid), "ns/mnt"))
		if err != nil || roots[namespace] {
			failed = errors.Join(err, failed)
			continue
		}
		roots[namespace] = true
		conn, owner, err := dialIn(ctx, filepath.Join(h.processes.dir, strconv.Itoa(pid), "root"), h.sockets, asRoot)
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

// processes knows which processes belong to which pod, by their cgroups.
type processes struct {
	dir string

	mu    sync.Mutex
	next  time.Time // when to look again
	byPod map[types.UID][]int
}

func newProcesses(procDir string) *processes { return &processes{dir: procDir} }

// of gives the processes of a pod, ascending, as they were at the last look, which was as long ago as scanPause
// allows.
func (p *processes) of(pod types.UID) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if start := time.Now(); start.After(p.next) {
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

// podsOf are the pods in whose cgroup a process is: none or one, but for a cgroup that is made to look like
// several.
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
