// Package cgroup reads which CPUs the kernel lets a container use: the cpuset of the container's cgroup.
//
// The kubelet tells a container's CPUs to the runtime, which writes them there. Until it has, and where
// something else writes it, the cpuset is not the grant, and pins outside of it are refused by the kernel.
// This package only reads; it needs the host's cgroup file system, which may be mounted read-only, and no
// privilege. It knows cgroup v2 and v1, and the names that the kubelet's cgroup drivers systemd and cgroupfs
// give (kubelet pkg/kubelet/cm/cgroup_manager_linux.go, v1.36.3), also below a parent of another name.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
)

// Reader reads the cgroups below one mount. It has no state and may be used by many goroutines.
type Reader struct{ root fs.FS }

// New returns a Reader of the cgroup file system that is mounted at dir.
func New(dir string) *Reader { return &Reader{os.DirFS(dir)} }

// files are where the CPUs of a cgroup stand: v2, then v1 in the order of preference.
var files = []string{"cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"}

// CPUs gives the CPUs that a running container of the pod may use. Known is false where the cgroup is not
// there to be seen, which is no error: the container may have just ended, or nothing is mounted.
func (r *Reader) CPUs(pod *corev1.Pod, container string) (cpus cpuset.Set, known bool, err error) {
	id := containerID(pod, container)
	if id == "" || pod.UID == "" {
		return cpuset.Set{}, false, nil
	}
	dirs, err := r.find(string(pod.UID), id)
	if err != nil {
		return cpuset.Set{}, false, err
	}
	for _, dir := range dirs {
		for _, file := range files {
			text, err := fs.ReadFile(r.root, path.Join(dir, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return cpuset.Set{}, false, fmt.Errorf("reading the cpuset of container %s: %w", container, err)
			}
			cpus, err := cpuset.Parse(strings.TrimSpace(string(text)))
			if err != nil {
				return cpuset.Set{}, false, fmt.Errorf("reading the cpuset of container %s in %s: %w", container, path.Join(dir, file), err)
			}
			return cpus, !cpus.IsEmpty(), nil
		}
	}
	return cpuset.Set{}, false, nil
}

// containerID is the runtime's name of the container, without the runtime's own.
func containerID(pod *corev1.Pod, container string) string {
	for i := range pod.Status.ContainerStatuses {
		if status := &pod.Status.ContainerStatuses[i]; status.Name == container {
			_, id, _ := strings.Cut(status.ContainerID, "://")
			return id
		}
	}
	return ""
}

// find gives the container's cgroup, none where there is none; on v1 it is there once below each controller. The
// patterns begin with where a Guaranteed pod's is, as those with CPUs of their own are: the further ones read
// many more directories.
func (r *Reader) find(podUID, id string) ([]string, error) {
	for _, above := range []string{"*kubepods*", "*kubepods*/*", "*/*kubepods*", "*/*kubepods*/*", "*/*/*kubepods*"} {
		for _, uid := range []string{podUID, strings.ReplaceAll(podUID, "-", "_")} { // cgroupfs and systemd
			found, err := fs.Glob(r.root, path.Join(above, "*pod"+quote(uid)+"*", "*"+quote(id)+"*"))
			if err != nil {
				return nil, fmt.Errorf("looking for the cgroup of container %s: %w", id, err)
			}
			if len(found) > 0 {
				return found, nil
			}
		}
	}
	return nil, nil
}

// quote takes their meaning from the characters that have one in a pattern; neither UIDs nor ids have any,
// but both come from outside.
func quote(text string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(text)
}
