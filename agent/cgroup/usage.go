// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Usage is what a container has used since it began.
type Usage struct {
	// CPU is its CPU time, and Throttled for how long its quota, or its pod's, kept it from running.
	CPU, Throttled time.Duration
	// Memory is where its memory is, in bytes by NUMA node: what a guest's memory can be, and no page cache.
	Memory map[int]int64
}

// Usage reads what a container has used. It is known on cgroup v2, where the container is there to be seen.
func (r *Reader) Usage(pod *corev1.Pod, container string) (u Usage, known bool, err error) {
	id := containerID(pod, container)
	if !plain(id) || !plain(string(pod.UID)) {
		return Usage{}, false, nil
	}
	dir, found := r.find(string(pod.UID), id)
	if !found {
		return Usage{}, false, nil
	}
	own, err := r.numbers(path.Join(dir, "cpu.stat"))
	micros, is := own["usage_usec"]
	if err != nil || !is {
		return Usage{}, false, err
	}
	above, err := r.numbers(path.Join(path.Dir(dir), "cpu.stat"))
	if err != nil {
		return Usage{}, false, err
	}
	u.CPU = time.Duration(micros) * time.Microsecond
	u.Throttled = time.Duration(own["throttled_usec"]+above["throttled_usec"]) * time.Microsecond
	u.Memory, err = r.memory(dir)
	return u, err == nil, err
}

// numbers reads a file of lines "name number". There are none where the file is not there.
func (r *Reader) numbers(file string) (map[string]int64, error) {
	text, err := fs.ReadFile(r.root, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	numbers := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if numbers[name], err = strconv.ParseInt(value, 10, 64); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return numbers, nil
}

// memory adds up where a container's memory is: anonymous and shared memory, and huge pages.
func (r *Reader) memory(dir string) (map[int]int64, error) {
	nodes := map[int]int64{}
	add := func(file string, of ...string) error {
		text, err := fs.ReadFile(r.root, file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for line := range strings.Lines(string(text)) {
			for _, name := range of {
				fields, is := strings.CutPrefix(line, name)
				if !is {
					continue
				}
				if err := addNodes(nodes, fields); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
			}
		}
		return nil
	}
	if err := add(path.Join(dir, "memory.numa_stat"), "anon ", "shmem "); err != nil {
		return nil, err
	}
	huge, err := fs.Glob(r.root, path.Join(dir, "hugetlb.*.numa_stat"))
	if err != nil {
		return nil, err
	}
	for _, file := range huge {
		if err := add(file, "total="); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// addNodes adds fields such as N0=4096.
func addNodes(nodes map[int]int64, fields string) error {
	for field := range strings.FieldsSeq(fields) {
		id, bytes, is := strings.Cut(strings.TrimPrefix(field, "N"), "=")
		if !is || !strings.HasPrefix(field, "N") {
			continue // the total
		}
		node, err := strconv.Atoi(id)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(bytes, 10, 64)
		if err != nil {
			return err
		}
		nodes[node] += n
	}
	return nil
}
