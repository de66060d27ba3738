// SPDX-License-Identifier: Apache-2.0

// Package hostcpu reads the machine's CPU topology from sysfs, as the kubelet sees it.
//
// The kubelet takes its topology from cadvisor's machine info, and cadvisor has rules of its own. This package reads
// sysfs by the rules of these two (github.com/google/cadvisor v0.56.2 utils/sysinfo/sysinfo.go, and
// pkg/kubelet/cm/cpumanager/topology/topology.go, v1.36.3):
//
//   - Only online CPUs exist.
//   - A core is the CPUs of one NUMA node with the same physical_package_id and core_id; the kubelet then
//     names it by its lowest CPU. The lists of thread siblings are not consulted.
//   - A CPU without core_id or physical_package_id is left out.
//   - The uncore cache of a core is its first cache above level 2. A cache that serves exactly as many CPUs as
//     the NUMA node has belongs to the node, and the socket's id is used in its place. Caches that cannot be
//     read are ignored.
//   - On a kernel without NUMA nodes, each socket is one.
//   - NUMA nodes without CPUs exist.
//
// It reads sysfs itself rather than calling cadvisor, for three reasons. cadvisor's reader has the paths of
// this host built in, so only this host could be read. It reads memory, huge pages and distances of each NUMA node each
// time. And it comes in one version, while the kubelets to agree with have four. A test runs cadvisor's own code over
// every machine that Read is tested with. Package report compares what a kubelet grants with what was read here, and
// reports a mismatch.
//
// The package reads an fs.FS, the root of a sysfs, so that a directory tree, or a map in a test, can stand
// for a machine.
package hostcpu

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

const (
	cpuDir  = "devices/system/cpu"
	nodeDir = "devices/system/node"
)

// Read reads the topology from sysfs, whose root (/sys) is fsys.
func Read(fsys fs.FS) (*cputopology.Topology, error) {
	online, err := Online(fsys)
	if err != nil {
		return nil, err
	}
	cpus, err := readCPUs(fsys, online)
	if err != nil {
		return nil, err
	}
	nodes, err := readNUMANodes(fsys)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		nodes = socketsAsNUMANodes(cpus)
	}
	var cores []cputopology.Core
	for _, node := range nodes {
		cores = append(cores, coresOf(fsys, node, cpus)...)
	}
	topology, err := cputopology.New(cores, nodes...)
	if err != nil {
		return nil, fmt.Errorf("reading the CPU topology: %w", err)
	}
	return topology, nil
}

// Online reads which CPUs are online.
func Online(fsys fs.FS) (cpuset.Set, error) {
	return readCPUList(fsys, path.Join(cpuDir, "online"))
}

// cpu is a CPU by the ids that decide which core it belongs to.
type cpu struct{ id, socket, core int }

func readCPUs(fsys fs.FS, online cpuset.Set) ([]cpu, error) {
	var cpus []cpu
	for id := range online.All() {
		dir := path.Join(cpuDir, "cpu"+strconv.Itoa(id), "topology")
		core, err := readInt(fsys, path.Join(dir, "core_id"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		socket, err := readInt(fsys, path.Join(dir, "physical_package_id"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// A kernel that does not know the socket says -1, for every CPU.
		cpus = append(cpus, cpu{id: id, socket: max(socket, 0), core: core})
	}
	return cpus, nil
}

// readNUMANodes reads the NUMA nodes with all their CPUs, offline ones included.
func readNUMANodes(fsys fs.FS) ([]cputopology.NUMANode, error) {
	dirs, err := fs.Glob(fsys, path.Join(nodeDir, "node[0-9]*"))
	if err != nil {
		return nil, fmt.Errorf("listing NUMA nodes: %w", err)
	}
	var nodes []cputopology.NUMANode
	for _, dir := range dirs {
		id, err := strconv.Atoi(strings.TrimPrefix(path.Base(dir), "node"))
		if err != nil {
			continue
		}
		node := cputopology.NUMANode{ID: id}
		if node.CPUs, err = readCPUList(fsys, path.Join(dir, "cpulist")); err != nil {
			return nil, err
		}
		if node.Distances, err = readDistances(fsys, path.Join(dir, "distance")); err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	slices.SortFunc(nodes, func(a, b cputopology.NUMANode) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}

func socketsAsNUMANodes(cpus []cpu) []cputopology.NUMANode {
	sockets := map[int]cpuset.Set{}
	for _, c := range cpus {
		socket := sockets[c.socket]
		socket.Add(c.id)
		sockets[c.socket] = socket
	}
	var nodes []cputopology.NUMANode
	for _, id := range slices.Sorted(maps.Keys(sockets)) {
		nodes = append(nodes, cputopology.NUMANode{ID: id, CPUs: sockets[id]})
	}
	return nodes
}

// coresOf groups the CPUs of a NUMA node into cores.
func coresOf(fsys fs.FS, node cputopology.NUMANode, cpus []cpu) []cputopology.Core {
	type key struct{ socket, core int }
	var keys []key
	members := map[key]cpuset.Set{}
	online := 0
	for _, c := range cpus {
		if !node.CPUs.Has(c.id) {
			continue
		}
		k := key{c.socket, c.core}
		core, seen := members[k]
		if !seen {
			keys = append(keys, k)
		}
		core.Add(c.id)
		members[k] = core
		online++
	}
	var cores []cputopology.Core
	for _, k := range keys {
		cores = append(cores, cputopology.Core{CPUs: members[k], Socket: k.socket, NUMANode: node.ID, UncoreCache: k.socket})
	}
	setUncoreCaches(fsys, cores)
	return cores
}

// setUncoreCaches sets the uncore caches of the cores of one NUMA node where they have one. It stops at
// the first core whose caches cannot be read, as cadvisor does.
func setUncoreCaches(fsys fs.FS, cores []cputopology.Core) {
	for i, core := range cores {
		caches, err := readCaches(fsys, core.CPUs.First())
		if err != nil {
			return
		}
		// cadvisor's measure of the whole NUMA node: every core taken to be like this one.
		wholeNode := len(cores) * core.CPUs.Len()
		for _, cache := range caches {
			if cache.level > 2 && cache.cpus.Len() != wholeNode {
				cores[i].UncoreCache = cache.id
				break
			}
		}
	}
}

type cache struct {
	id, level int
	cpus      cpuset.Set
}

func readCaches(fsys fs.FS, cpu int) ([]cache, error) {
	dir := path.Join(cpuDir, "cpu"+strconv.Itoa(cpu), "cache")
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("listing caches: %w", err)
	}
	var caches []cache
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "index") {
			continue
		}
		var c cache
		index := path.Join(dir, entry.Name())
		if c.id, err = readInt(fsys, path.Join(index, "id")); err != nil {
			return nil, err
		}
		if c.level, err = readInt(fsys, path.Join(index, "level")); err != nil {
			return nil, err
		}
		if c.cpus, err = readCPUList(fsys, path.Join(index, "shared_cpu_list")); err != nil {
			return nil, err
		}
		caches = append(caches, c)
	}
	return caches, nil
}

// readDistances reads the distances of a NUMA node; nil where the kernel does not tell them.
func readDistances(fsys fs.FS, name string) ([]int, error) {
	data, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading NUMA distances: %w", err)
	}
	var distances []int
	for field := range strings.FieldsSeq(string(data)) {
		distance, err := strconv.ParseInt(field, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		distances = append(distances, int(distance))
	}
	return distances, nil
}

func readCPUList(fsys fs.FS, name string) (cpuset.Set, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return cpuset.Set{}, fmt.Errorf("reading a CPU list: %w", err)
	}
	cpus, err := cpuset.Parse(string(data))
	if err != nil {
		return cpuset.Set{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return cpus, nil
}

func readInt(fsys fs.FS, name string) (int, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return 0, fmt.Errorf("reading an id: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", name, err)
	}
	return int(n), nil
}
