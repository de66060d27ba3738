// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// NodeMemory is the memory of a NUMA node.
type NodeMemory struct {
	Total int64 // in bytes
	// HugePages has the huge pages by the kubelet's name of the resource, for example hugepages-1Gi.
	HugePages map[string]HugePages
}

// HugePages are the huge pages of one size on a NUMA node.
type HugePages struct {
	Size        int64 // of a page, in bytes
	Pages, Free int64 // numbers of pages
}

// Bytes is the size of all pages.
func (h HugePages) Bytes() int64 { return h.Pages * h.Size }

const kibi = 1024

// ReadMemory reads the memory of each NUMA node from sysfs, whose root is fsys, as the kubelet's memory manager sees it
// (GetNodesInfo in github.com/google/cadvisor v0.56.2 utils/sysinfo/sysinfo.go). It is empty on a kernel without NUMA.
func ReadMemory(fsys fs.FS) (map[int32]NodeMemory, error) {
	dirs, err := fs.Glob(fsys, path.Join(nodeDir, "node[0-9]*"))
	if err != nil {
		return nil, err
	}
	nodes := map[int32]NodeMemory{}
	for _, dir := range dirs {
		id, err := strconv.ParseInt(strings.TrimPrefix(path.Base(dir), "node"), 10, 32)
		if err != nil {
			continue
		}
		text, err := fs.ReadFile(fsys, path.Join(dir, "meminfo"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		total, err := memTotal(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s/meminfo: %w", dir, err)
		}
		pages, err := hugePages(fsys, dir)
		if err != nil {
			return nil, err
		}
		nodes[int32(id)] = NodeMemory{Total: total, HugePages: pages}
	}
	return nodes, nil
}

// memTotal reads the line "Node 0 MemTotal: 197644776 kB".
func memTotal(text string) (int64, error) {
	for line := range strings.Lines(text) {
		_, value, found := strings.Cut(line, "MemTotal:")
		if !found {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		return kilobytes * kibi, err
	}
	return 0, errors.New("it has no MemTotal")
}

// hugePages reads hugepages/hugepages-<size>kB/nr_hugepages and free_hugepages of a NUMA node.
func hugePages(fsys fs.FS, dir string) (map[string]HugePages, error) {
	sizes, err := fs.Glob(fsys, path.Join(dir, "hugepages", "hugepages-*kB"))
	if err != nil {
		return nil, err
	}
	pages := map[string]HugePages{}
	for _, size := range sizes {
		name := strings.TrimSuffix(strings.TrimPrefix(path.Base(size), "hugepages-"), "kB")
		kilobytes, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			continue
		}
		h := HugePages{Size: kilobytes * kibi}
		if h.Pages, err = readCount(fsys, path.Join(size, "nr_hugepages")); err != nil {
			return nil, err
		}
		if h.Free, err = readCount(fsys, path.Join(size, "free_hugepages")); err != nil {
			return nil, err
		}
		pages["hugepages-"+resource.NewQuantity(h.Size, resource.BinarySI).String()] = h
	}
	return pages, nil
}

func readCount(fsys fs.FS, name string) (int64, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return number, nil
}

// lowWater is the last read with the fewest free huge pages of all reads, oldest first. A count that jumps up and down
// then reads the same again and again, and what was taken a moment ago does not count as free.
func lowWater(reads []map[int32]NodeMemory) map[int32]NodeMemory {
	last := reads[len(reads)-1]
	lowest := make(map[int32]NodeMemory, len(last))
	for id, node := range last {
		pages := make(map[string]HugePages, len(node.HugePages))
		for name, h := range node.HugePages {
			for _, read := range reads {
				earlier, known := read[id].HugePages[name]
				if known {
					h.Free = min(h.Free, earlier.Free)
				}
			}
			pages[name] = h
		}
		lowest[id] = NodeMemory{Total: node.Total, HugePages: pages}
	}
	return lowest
}
