// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"maps"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	const dir = "kubepods/pod" + uid + "/" + id + "/"
	root := t.TempDir()
	write(t, root, map[string]string{dir + "cpuset.cpus.effective": "2-3\n"})
	if u, known, err := New(root).Usage(pod(), "compute"); known || err != nil {
		t.Errorf("without cpu.stat: %+v, %t, %v", u, known, err)
	}
	write(t, root, map[string]string{
		dir + "cpu.stat":                        "usage_usec 5000000\nuser_usec 4000000\nnr_throttled 3\nthrottled_usec 200\n",
		"kubepods/pod" + uid + "/cpu.stat":      "usage_usec 6000000\nthrottled_usec 40\n",
		dir + "memory.numa_stat":                "anon N0=4096 N1=8192\nfile N0=1 N1=1\nshmem N0=0 N1=100\nanon_thp N0=7 N1=7\n",
		dir + "hugetlb.2MB.numa_stat":           "total=4194304 N0=2097152 N1=2097152\nhugetlb N0=9 N1=9\n",
		dir + "hugetlb.1GB.rsvd.limit_in_bytes": "max\n",
	})
	u, known, err := New(root).Usage(pod(), "compute")
	if !known || err != nil || u.CPU != 5*time.Second || u.Throttled != 240*time.Microsecond {
		t.Errorf("usage %+v, %t, %v", u, known, err)
	}
	if want := map[int]int64{0: 4096 + 2097152, 1: 8192 + 100 + 2097152}; !maps.Equal(u.Memory, want) {
		t.Errorf("memory %v, want %v", u.Memory, want)
	}
	if _, known, err := New(root).Usage(pod(), "starting"); known || err != nil {
		t.Errorf("a container without an id: %t, %v", known, err)
	}
	write(t, root, map[string]string{dir + "memory.numa_stat": "anon N0=x\n"})
	if _, known, err := New(root).Usage(pod(), "compute"); known || err == nil {
		t.Errorf("garbage: %t, %v", known, err)
	}
}
