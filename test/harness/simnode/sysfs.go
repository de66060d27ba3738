// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// sysfsTree collects the files of a simulated /sys, and the first error.
type sysfsTree struct {
	root string
	err  error
}

// writeSysfs writes what Linux shows of a machine's CPUs, uncore caches and NUMA nodes below root: the
// attributes that readers of topology use, each in the kernel's own format. Memory, in bytes, is spread
// evenly over the NUMA nodes. hugePages are those of each of them, by resource name.
func writeSysfs(root string, machine *cputopology.Topology, memory int64, hugePages map[string]int64) error {
	tree := &sysfsTree{root: filepath.Join(root, "devices/system")}
	for _, list := range []string{"online", "present", "possible"} {
		tree.write("cpu/"+list, machine.CPUs().String())
	}
	tree.write("cpu/offline", "")
	sockets := map[int]cpuset.Set{}
	uncore := map[int]cpuset.Set{}
	for _, core := range machine.Cores() {
		sockets[core.Socket] = sockets[core.Socket].Union(core.CPUs)
		uncore[core.UncoreCache] = uncore[core.UncoreCache].Union(core.CPUs)
	}
	coresInSocket := map[int]int{}
	for _, core := range machine.Cores() {
		for id := range core.CPUs.All() {
			dir := fmt.Sprintf("cpu/cpu%d/", id)
			tree.cpu(dir+"topology/", core, coresInSocket[core.Socket], sockets[core.Socket])
			tree.uncoreCache(dir+"cache/index3/", core.UncoreCache, uncore[core.UncoreCache])
		}
		coresInSocket[core.Socket]++ // the kernel numbers cores within their socket
	}
	tree.numaNodes(machine, memory, hugePages)
	return tree.err
}

func (t *sysfsTree) cpu(dir string, core cputopology.Core, coreID int, socket cpuset.Set) {
	t.write(dir+"physical_package_id", strconv.Itoa(core.Socket))
	t.write(dir+"die_id", "0")
	t.write(dir+"core_id", strconv.Itoa(coreID))
	t.write(dir+"core_cpus_list", core.CPUs.String())
	t.write(dir+"thread_siblings_list", core.CPUs.String())
	t.write(dir+"package_cpus_list", socket.String())
}

// uncoreCache writes the cache of level 3, the only level that anybody places by.
func (t *sysfsTree) uncoreCache(dir string, id int, cpus cpuset.Set) {
	t.write(dir+"level", "3")
	t.write(dir+"type", "Unified")
	t.write(dir+"size", "32768K")
	t.write(dir+"id", strconv.Itoa(id))
	t.write(dir+"shared_cpu_list", cpus.String())
	t.write(dir+"shared_cpu_map", cpuMask(cpus))
}

func (t *sysfsTree) numaNodes(machine *cputopology.Topology, memory int64, hugePages map[string]int64) {
	var all, withCPU cpuset.Set
	nodes := machine.NUMANodes()
	kilobytes := memory / int64(len(nodes)) / 1024
	for i, node := range nodes {
		all.Add(node.ID)
		dir := fmt.Sprintf("node/node%d/", node.ID)
		t.write(dir+"cpulist", node.CPUs.String())
		t.write(dir+"distance", distances(nodes, i))
		t.write(dir+"meminfo", fmt.Sprintf("Node %d MemTotal:       %d kB\nNode %d MemFree:        %d kB",
			node.ID, kilobytes, node.ID, kilobytes))
		t.hugePages(dir, map[string]int64{"hugepages-2Mi": 0})
		t.hugePages(dir, hugePages)
		for id := range node.CPUs.All() {
			withCPU.Add(node.ID)
			t.link(fmt.Sprintf("%scpu%d", dir, id), fmt.Sprintf("../../cpu/cpu%d", id))
			t.link(fmt.Sprintf("cpu/cpu%d/node%d", id, node.ID), fmt.Sprintf("../../node/node%d", node.ID))
		}
	}
	t.write("node/online", all.String())
	t.write("node/possible", all.String())
	t.write("node/has_cpu", withCPU.String())
}

// hugePages writes pages of which none is taken.
func (t *sysfsTree) hugePages(dir string, pages map[string]int64) {
	for name, number := range pages {
		size := fmt.Sprintf("%shugepages/hugepages-%dkB/", dir, pageSize(name)/1024)
		t.write(size+"nr_hugepages", strconv.FormatInt(number, 10))
		t.write(size+"free_hugepages", strconv.FormatInt(number, 10))
	}
}

// distances are the machine's, or where it states none, Linux's usual 10 to itself and 20 to others.
func distances(nodes []cputopology.NUMANode, from int) string {
	fields := make([]string, len(nodes))
	for to := range nodes {
		distance := 20
		if to == from {
			distance = 10
		}
		if given := nodes[from].Distances; len(given) > to {
			distance = given[to]
		}
		fields[to] = strconv.Itoa(distance)
	}
	return strings.Join(fields, " ")
}

// cpuMask is the kernel's bitmap format: words of 32 bits in hexadecimal, the highest first.
func cpuMask(cpus cpuset.Set) string {
	var words []string
	for first := 0; first == 0 || cpus.Next(first) >= 0; first += 32 {
		word := uint32(0)
		for bit := range 32 {
			if cpus.Has(first + bit) {
				word |= 1 << bit
			}
		}
		words = append([]string{fmt.Sprintf("%08x", word)}, words...)
	}
	return strings.Join(words, ",")
}

func (t *sysfsTree) write(path, content string) {
	if t.err != nil {
		return
	}
	file := filepath.Join(t.root, path)
	t.err = cmp.Or(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content+"\n"), 0o644))
	if t.err != nil {
		t.err = fmt.Errorf("writing the simulated /sys: %w", t.err)
	}
}

// link makes or keeps a symbolic link; the tree of a node that is started again is there already.
func (t *sysfsTree) link(path, target string) {
	if t.err != nil {
		return
	}
	file := filepath.Join(t.root, path)
	if got, err := os.Readlink(file); err == nil && got == target {
		return
	}
	t.err = cmp.Or(os.MkdirAll(filepath.Dir(file), 0o755), os.Symlink(target, file))
	if t.err != nil {
		t.err = fmt.Errorf("linking in the simulated /sys: %w", t.err)
	}
}
