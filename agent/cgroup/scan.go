// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"

	"corepin.dev/corepin/pkg/cpuset"
)

// Group is a cgroup with processes in it, outside of the root.
type Group struct {
	// Path is from the mount of cgroup v2 or of v1's controller cpuset, for example system.slice/crond.service.
	Path string
	// CPUs are those that the kernel lets its processes use.
	CPUs cpuset.Set
	// PodUID is the pod's, and ContainerID the runtime's id of the container or of the pod's sandbox, without the
	// runtime's name. Both are "" outside of a kubelet's pods, and ContainerID for CRI-O's monitor too.
	PodUID, ContainerID string
}

// Scanner finds every cgroup whose processes may use certain CPUs. It may be used by one goroutine at a time.
//
// It keeps the directories that it knows: a look costs one stat for each of them, and one read for each that has
// processes. The number of links of a directory is that of its subdirectories and two. So where it is as before, and all
// that were known are still there, there are no others.
type Scanner struct {
	dir     string
	base    *group
	v1      bool
	file    string                // has a cgroup's CPUs
	visited int                   // directories in this look
	sets    map[string]cpuset.Set // by text
	buffer  []byte
}

// group is a directory that the Scanner knows.
type group struct {
	Group
	dir      string
	links    uint64
	inTree   bool
	children map[string]*group
}

// maxText is the longest list of CPUs that is read: that of the largest machine has less.
const maxText = 16 << 10

// NewScanner gives a Scanner of the cgroup file system that is mounted at dir.
func NewScanner(dir string) *Scanner {
	return &Scanner{dir: dir, sets: map[string]cpuset.Set{}, buffer: make([]byte, maxText)}
}

// Scan gives the cgroups with processes that may use any of these CPUs. Nothing mounted is an error that wraps
// fs.ErrNotExist. A cgroup that goes meanwhile is left out.
func (s *Scanner) Scan(of cpuset.Set) ([]Group, error) {
	if s.base == nil {
		if err := s.begin(); err != nil {
			return nil, err
		}
	}
	if len(s.sets) > maxDirs {
		clear(s.sets)
	}
	s.visited = 0
	var found []Group
	_, err := s.visit(s.base, s.base.CPUs, of, &found)
	if err != nil {
		s.base = nil
		return nil, fmt.Errorf("reading the cgroups in %s: %w", s.dir, err)
	}
	return found, nil
}

// Still reads again what CPUs a cgroup of an earlier Scan may use; an empty set where it or its processes are gone.
func (s *Scanner) Still(g Group) (cpuset.Set, error) {
	if s.base == nil {
		return cpuset.Set{}, nil
	}
	again := &group{Group: g, dir: path.Join(s.base.dir, g.Path)}
	populated, err := s.populated(again)
	if err != nil || !populated {
		return cpuset.Set{}, ignoreGone(err)
	}
	cpus, found, err := s.cpus(again)
	if err == nil && !found {
		return g.CPUs, nil // it has its parent's
	}
	return cpus, ignoreGone(err)
}

// begin finds the cgroup file system.
func (s *Scanner) begin() error {
	dir := s.dir
	s.v1 = false
	s.file = files[0]
	if _, err := os.Stat(path.Join(dir, "cgroup.controllers")); err != nil {
		entries, err := os.ReadDir(s.dir)
		if err != nil {
			return err
		}
		dir = ""
		for _, entry := range entries {
			if entry.IsDir() && tree(entry.Name()).cpusets() > 0 {
				dir = path.Join(s.dir, entry.Name())
			}
		}
		if dir == "" {
			return fmt.Errorf("neither cgroup v2 nor the controller cpuset of v1 is in %s", s.dir)
		}
		s.v1 = true
		s.file = files[1]
		if _, err := os.Stat(path.Join(dir, s.file)); err != nil {
			s.file = files[2]
		}
	}
	s.base = &group{dir: dir, children: map[string]*group{}}
	cpus, found, err := s.cpus(s.base)
	if err == nil && !found {
		err = fmt.Errorf("%s has no %s", dir, s.file)
	}
	if err != nil {
		s.base = nil
		return err
	}
	s.base.CPUs = cpus
	return nil
}

// visit looks at a cgroup and at those below it. inherited are the CPUs of the one above, which hold where the controller
// is not on here. gone reports whether the cgroup is not there any more.
func (s *Scanner) visit(g *group, inherited, of cpuset.Set, found *[]Group) (gone bool, err error) {
	s.visited++
	if s.visited > maxVisited {
		return false, fmt.Errorf("there are more than %d cgroups", maxVisited)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(g.dir, &stat); err != nil {
		return true, ignoreGone(err)
	}
	cpus, own, err := s.cpus(g)
	if err != nil {
		return true, ignoreGone(err)
	}
	g.CPUs = inherited
	if own {
		g.CPUs = cpus
	}
	if err := s.visitChildren(g, uint64(stat.Nlink), of, found); err != nil {
		return false, err
	}
	if g == s.base || !g.CPUs.Overlaps(of) {
		return false, nil
	}
	populated, err := s.populated(g)
	if err != nil {
		return false, ignoreGone(err) // the next look finds it gone
	}
	if populated {
		*found = append(*found, g.Group)
	}
	return false, nil
}

// leaf is the number of links of a directory without subdirectories.
const leaf = 2

// visitChildren looks at the cgroups below one. Its directory is read only where they may be others than before.
func (s *Scanner) visitChildren(g *group, links uint64, of cpuset.Set, found *[]Group) error {
	same := links == g.links && links >= leaf
	g.links = links
	for _, child := range g.children {
		gone, err := s.visit(child, g.CPUs, of, found)
		if err != nil {
			return err
		}
		if gone {
			delete(g.children, path.Base(child.dir))
			same = false
		}
	}
	if same || links == leaf && len(g.children) == 0 {
		return nil
	}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || g.children[entry.Name()] != nil {
			continue
		}
		child := g.child(entry.Name())
		gone, err := s.visit(child, g.CPUs, of, found)
		if err != nil {
			return err
		}
		if !gone {
			g.children[entry.Name()] = child
		}
	}
	return nil
}

// child is a cgroup below that was not known yet.
func (g *group) child(name string) *group {
	c := &group{
		Group: Group{Path: path.Join(g.Path, name), PodUID: g.PodUID, ContainerID: g.ContainerID}, dir: path.Join(g.dir, name),
		inTree: g.inTree || isTree(name), children: map[string]*group{},
	}
	switch {
	case !g.inTree:
	case g.PodUID == "":
		c.PodUID = podUID(name)
	case g.ContainerID == "":
		c.ContainerID = idOf(name)
	}
	return c
}

// podUID is the UID in the name of a pod's cgroup; "" for other names.
func podUID(name string) string {
	name, systemd := strings.CutSuffix(name, slice)
	if !systemd {
		uid, found := strings.CutPrefix(name, "pod")
		if !found {
			return ""
		}
		return uid
	}
	at := strings.LastIndex(name, "-pod")
	if at < 0 {
		return ""
	}
	return strings.ReplaceAll(name[at+len("-pod"):], "_", "-")
}

// idOf is the id in the name of a container's cgroup; "" for other names.
func idOf(name string) string {
	name = strings.TrimSuffix(name, ".scope")
	if strings.HasPrefix(name, "crio-conmon-") {
		return ""
	}
	for _, runtime := range []string{"cri-containerd-", "crio-", "docker-"} {
		id, found := strings.CutPrefix(name, runtime)
		if found {
			return id
		}
	}
	return name
}

// cpus are the CPUs of a cgroup; found is false where the controller is not on there.
func (s *Scanner) cpus(g *group) (cpus cpuset.Set, found bool, err error) {
	text, err := s.read(g, s.file)
	if errors.Is(err, syscall.ENOENT) {
		return cpuset.Set{}, false, nil
	}
	if err != nil {
		return cpuset.Set{}, false, err
	}
	if len(text) == len(s.buffer) {
		return cpuset.Set{}, false, fmt.Errorf("%s has %d bytes or more", path.Join(g.Path, s.file), maxText)
	}
	cpus, known := s.sets[string(text)]
	if !known {
		if cpus, err = cpuset.Parse(string(text)); err != nil {
			return cpuset.Set{}, false, fmt.Errorf("%s: %w", path.Join(g.Path, s.file), err)
		}
		s.sets[string(text)] = cpus
	}
	return cpus, true, nil
}

// populated reports whether processes are in the cgroup itself. In v2 they are in leaves, except where threads are
// distributed over a threaded subtree, or no controller is on.
func (s *Scanner) populated(g *group) (bool, error) {
	if !s.v1 && len(g.children) == 0 {
		text, err := s.read(g, "cgroup.events")
		return bytes.Contains(text, []byte("populated 1")), err
	}
	text, err := s.read(g, "cgroup.procs")
	if errors.Is(err, syscall.EOPNOTSUPP) {
		text, err = s.read(g, "cgroup.threads")
	}
	return len(bytes.TrimSpace(text)) > 0, err
}

// read gives the beginning of a file of the cgroup; it is valid until the next read. There are thousands of these, so it
// makes three system calls and no more.
func (s *Scanner) read(g *group, name string) ([]byte, error) {
	fd, err := syscall.Open(g.dir+"/"+name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	n, err := syscall.Read(fd, s.buffer)
	if err != nil {
		return nil, err
	}
	return s.buffer[:n], nil
}

// ignoreGone takes away the errors of a cgroup that has just gone. Reading a file of it that is still open says ENODEV.
func ignoreGone(err error) error {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}
