// SPDX-License-Identifier: Apache-2.0

// Package cgroup reads which CPUs the kernel lets a container use: the cpuset of the container's cgroup.
//
// The kubelet tells a container's CPUs to the runtime, which writes them there. Until it has, and where
// something else writes it, the cpuset is not the grant, and the kernel refuses pins outside of it.
// This package only reads. It needs the host's cgroup file system, which may be mounted read-only, and no
// privilege. It reads cgroup v2 and v1.
//
// A container is found by exact names, since its neighbours have similar ones: CRI-O runs the monitor of
// crio-<id>.scope in crio-conmon-<id>.scope, with another cpuset. The names are those of the kubelet's cgroup drivers
// systemd and cgroupfs (kubelet pkg/kubelet/cm/cgroup_manager_linux.go, v1.36.3) and of containerd, CRI-O and
// cri-dockerd; see tree.go. The kubelet's own tree may be anywhere (cgroupRoot, kind), and is searched for.
//
// Within the container's cgroup, what counts is where the container's processes are. crun puts them into a child
// named container. With CRI-O's load balancing off (annotation cpu-load-balancing.crio.io), that child is a partition
// of its own, and the cgroup above it has everybody else's CPUs.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/cpuset"
)

// Reader reads the cgroups below one mount. It may be used by many goroutines.
type Reader struct {
	root  fs.FS
	clock clock.PassiveClock

	mu       sync.Mutex
	trees    []tree    // of kubelets; one, or one for each controller of v1
	searched time.Time // when they were last searched for
	missing  error     // what the last search did not find
	dirs     map[string]string
}

const (
	// searchPause is the time between two searches for the kubelet's tree, which reads many directories.
	searchPause = 30 * time.Second
	// maxDirs bounds the directories that are kept by container id. Those of containers that ended are among them.
	maxDirs = 2000
)

// New returns a Reader of the cgroup file system that is mounted at dir.
func New(dir string) *Reader {
	return &Reader{root: os.DirFS(dir), clock: clock.RealClock{}, dirs: map[string]string{}}
}

// files have the CPUs of a cgroup: v2, then v1 in the order of preference.
var files = []string{"cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"}

// CPUs gives the CPUs that a running container of the pod may use. Known is false where the cgroup is not
// there to be seen, which is no error: the container may have just ended, or nothing is mounted.
func (r *Reader) CPUs(pod *corev1.Pod, container string) (cpus cpuset.Set, known bool, err error) {
	cpus, err = r.read(pod, container, "")
	return cpus, !cpus.IsEmpty(), err
}

// housekeeping is the child cgroup of a compute container into which KubeVirt's virt-handler moves every thread that is
// no vCPU, where the VM isolates its emulator (pkg/virt-handler/cgroup/util.go, KubeVirt 1.9).
const housekeeping = "housekeeping"

// Housekeeping gives the CPUs of the cgroup that KubeVirt keeps the container's other threads in; an empty set where
// there is none.
func (r *Reader) Housekeeping(pod *corev1.Pod, container string) (cpuset.Set, error) {
	return r.read(pod, container, housekeeping)
}

// Confiner names the nearest cgroup above the container's that lacks some of the CPUs, such as kubepods.slice with
// systemd's AllowedCPUs. It is "" where the container's own cgroup lacks them, or where none does.
func (r *Reader) Confiner(pod *corev1.Pod, container string, cpus cpuset.Set) string {
	id := containerID(pod, container)
	if !plain(id) || !plain(string(pod.UID)) {
		return ""
	}
	dir, found := r.find(string(pod.UID), id)
	if !found {
		return ""
	}
	own := r.inner(dir)
	if r.lacks(own, cpus) {
		return ""
	}
	for above := path.Dir(own); above != "."; above = path.Dir(above) {
		if r.lacks(above, cpus) {
			return path.Base(above)
		}
	}
	return ""
}

// Pods are the CPUs that the cgroups above all pods leave to them, and the one that leaves no more, such as kubepods.slice
// with systemd's AllowedCPUs. It is known where there is one kubelet. CPUs that an isolated partition has taken are not
// missing: what counts is what was written.
func (r *Reader) Pods() (cpus cpuset.Set, by string, known bool) {
	r.mu.Lock()
	if len(r.trees) == 0 {
		r.search()
	}
	var own []tree
	for _, t := range r.trees {
		if r.hasCPUSet(string(t)) {
			own = append(own, t)
		}
	}
	r.mu.Unlock()
	if len(own) != 1 {
		return cpuset.Set{}, "", false
	}
	for dir := string(own[0]); dir != "."; dir = path.Dir(dir) {
		given, is := r.given(dir)
		if is && (!known || !cpus.SubsetOf(given)) {
			cpus = given
			by = path.Base(dir)
			known = true
		}
	}
	return cpus, by, known
}

// configured has the CPUs that were written into a cgroup; it is empty where none were.
const configured = "cpuset.cpus"

// lacks reports whether a cgroup was given CPUs that some of these are not among.
func (r *Reader) lacks(dir string, cpus cpuset.Set) bool {
	given, is := r.given(dir)
	return is && !cpus.SubsetOf(given)
}

// given are the CPUs that were written into a cgroup; is is false where none were.
func (r *Reader) given(dir string) (cpus cpuset.Set, is bool) {
	text, err := fs.ReadFile(r.root, path.Join(dir, configured))
	if err != nil {
		return cpuset.Set{}, false
	}
	cpus, err = cpuset.Parse(string(text))
	return cpus, err == nil && !cpus.IsEmpty()
}

// read gives the CPUs of the cgroup of the container's processes, or of a child of it; an empty set where there is none.
func (r *Reader) read(pod *corev1.Pod, container, child string) (cpuset.Set, error) {
	id := containerID(pod, container)
	if !plain(id) || !plain(string(pod.UID)) {
		return cpuset.Set{}, nil
	}
	dir, found := r.find(string(pod.UID), id)
	if !found {
		return cpuset.Set{}, nil
	}
	file, text, err := r.cpuset(path.Join(r.inner(dir), child))
	if errors.Is(err, fs.ErrNotExist) {
		return cpuset.Set{}, nil // it has ended since
	}
	if err != nil {
		return cpuset.Set{}, fmt.Errorf("reading the cpuset of container %s: %w", container, err)
	}
	cpus, err := cpuset.Parse(text)
	if err != nil {
		return cpuset.Set{}, fmt.Errorf("reading the cpuset of container %s in %s: %w", container, file, err)
	}
	return cpus, nil
}

// plain reports whether a UID or an id is one that can be a part of a file's name. Both come from outside.
func plain(name string) bool {
	return name != "" && strings.Trim(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == ""
}

// containerID is the runtime's id of the container, without the runtime's name.
func containerID(pod *corev1.Pod, container string) string {
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		if status.Name == container {
			_, id, _ := strings.Cut(status.ContainerID, "://")
			return id
		}
	}
	return ""
}

// find gives the container's cgroup. It is kept by the container's id: a search costs much more than a look.
func (r *Reader) find(podUID, id string) (dir string, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if dir, found := r.dirs[id]; found && r.hasCPUSet(dir) {
		return dir, true
	}
	delete(r.dirs, id)
	if dir, found = r.among(podUID, id); !found && r.search() {
		dir, found = r.among(podUID, id)
	}
	if found {
		if len(r.dirs) >= maxDirs {
			clear(r.dirs)
		}
		r.dirs[id] = dir
	}
	return dir, found
}

// search looks for the kubelet's tree again, unless that was just done. It is called with the lock held.
func (r *Reader) search() (done bool) {
	if r.clock.Since(r.searched) < searchPause {
		return false
	}
	r.trees, r.missing = search(r.root)
	r.searched = r.clock.Now()
	source.Observe(source.Cgroup, r.missing)
	return true
}

// Missing says why the cpusets of containers are not read: no cgroup of a kubelet is below a mount that has cgroups. It
// is nil while the kubelet's cgroups are known, or nothing is mounted.
func (r *Reader) Missing() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.missing
}

// among looks for the container's cgroup in the trees. On v1 it is in one tree for each controller, and one of them
// has the cpuset.
func (r *Reader) among(podUID, id string) (dir string, found bool) {
	for _, t := range r.trees {
		for _, pod := range t.pods(podUID) {
			if _, err := fs.Stat(r.root, pod); err != nil {
				continue
			}
			for _, name := range containerNames(id) {
				if dir := path.Join(pod, name); r.hasCPUSet(dir) {
					return dir, true
				}
			}
		}
	}
	return "", false
}

func (r *Reader) hasCPUSet(dir string) bool {
	for _, file := range files {
		if _, err := fs.Stat(r.root, path.Join(dir, file)); err == nil {
			return true
		}
	}
	return false
}

// cpuset reads the CPUs of a cgroup, and names the file.
func (r *Reader) cpuset(dir string) (file, text string, err error) {
	for _, name := range files {
		file = path.Join(dir, name)
		data, err := fs.ReadFile(r.root, file)
		if err == nil {
			return file, strings.TrimSpace(string(data)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return file, "", err
		}
	}
	return "", "", fs.ErrNotExist
}

// crunChild is the child cgroup that crun makes for the container's processes, unless it is told otherwise (annotation
// run.oci.systemd.subgroup).
const crunChild = "container"

// inner gives the cgroup that the container's processes are in: the container's own, or the one child of it that has
// some. It is not the deepest: KubeVirt's child housekeeping is for the emulator's threads only.
func (r *Reader) inner(dir string) string {
	if r.populated(dir) {
		return dir
	}
	entries, err := fs.ReadDir(r.root, dir)
	if err != nil {
		return dir
	}
	inner := dir
	for _, entry := range entries {
		child := path.Join(dir, entry.Name())
		if !entry.IsDir() || !r.hasCPUSet(child) {
			continue
		}
		if r.populated(child) {
			return child
		}
		if entry.Name() == crunChild {
			inner = child
		}
	}
	return inner
}

// populated reports whether processes are in a cgroup itself. Those of another PID namespace are listed as 0.
func (r *Reader) populated(dir string) bool {
	data, err := fs.ReadFile(r.root, path.Join(dir, "cgroup.procs"))
	return err == nil && len(bytes.TrimSpace(data)) > 0
}
