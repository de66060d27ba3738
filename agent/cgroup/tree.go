// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// tree is a directory that has the cgroups of a kubelet's pods: kubepods of driver cgroupfs, and kubepods.slice or
// <parents>-kubepods.slice of driver systemd.
type tree string

const (
	kubepods = "kubepods"
	slice    = ".slice"
	// maxDepth is how deep the kubelet's tree may be: in kind on cgroup v1 it is in
	// cpuset/docker/<node>/kubelet/kubepods.
	maxDepth = 8
	// maxVisited bounds the directories that a search reads.
	maxVisited = 20000
)

// pods are the cgroups that a pod of that UID may have. The first is that of a Guaranteed pod, as those with CPUs of
// their own are.
func (t tree) pods(uid string) []string {
	parent, systemd := strings.CutSuffix(path.Base(string(t)), slice)
	if !systemd {
		name := "pod" + uid
		return []string{path.Join(string(t), name), path.Join(string(t), "burstable", name), path.Join(string(t), "besteffort", name)}
	}
	name := "-pod" + strings.ReplaceAll(uid, "-", "_") + slice // systemd takes a hyphen for the next level
	pods := []string{path.Join(string(t), parent+name)}
	for _, qos := range []string{"-burstable", "-besteffort"} {
		pods = append(pods, path.Join(string(t), parent+qos+slice, parent+qos+name))
	}
	return pods
}

// containerNames are the names of a container's cgroup: of containerd, CRI-O and docker, with driver systemd and with
// driver cgroupfs.
func containerNames(id string) []string {
	return []string{"cri-containerd-" + id + ".scope", "crio-" + id + ".scope", "docker-" + id + ".scope", id, "crio-" + id}
}

// search finds the trees of kubelets below root. It goes breadth first and not into trees. Where it finds none, it
// returns an error; no error and no tree is where nothing is mounted.
func search(root fs.FS) ([]tree, error) {
	var trees []tree
	visited := 0
	level := []string{"."}
	for depth := 0; depth < maxDepth && len(level) > 0 && visited < maxVisited; depth++ {
		var next []string
		for _, dir := range level {
			entries, err := fs.ReadDir(root, dir)
			if err != nil && dir == "." {
				if errors.Is(err, fs.ErrNotExist) {
					return nil, nil
				}
				return nil, err
			}
			visited++
			for _, entry := range entries { // of a directory that has just gone there are none
				name := path.Join(dir, entry.Name())
				switch {
				case !entry.IsDir():
				case isTree(entry.Name()):
					trees = append(trees, tree(name))
				default:
					next = append(next, name)
				}
			}
		}
		level = next
	}
	if len(trees) == 0 && visited > 1 {
		return nil, fmt.Errorf("no cgroup named kubepods, kubepods.slice or <parents>-kubepods.slice is in the first %d levels of pinning.cgroupDir (%d directories): the containers' cpusets are not compared with the grants", maxDepth, visited)
	}
	// On v1, the controller's own is asked first.
	slices.SortStableFunc(trees, func(a, b tree) int { return -cmp.Compare(a.cpusets(), b.cpusets()) })
	return trees, nil
}

func isTree(name string) bool {
	name, systemd := strings.CutSuffix(name, slice)
	return name == kubepods || systemd && strings.HasSuffix(name, "-"+kubepods)
}

// cpusets is 1 for a tree below the mount of v1's controller cpuset, else 0.
func (t tree) cpusets() int {
	mount, _, _ := strings.Cut(string(t), "/")
	if slices.Contains(strings.Split(mount, ","), "cpuset") {
		return 1
	}
	return 0
}
