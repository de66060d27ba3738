// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/cadvisor/utils/sysfs"
	"github.com/google/cadvisor/utils/sysinfo"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// TestKubeletSeesTheMachine goes the whole way: model, files, cadvisor, the kubelet's topology.
func TestKubeletSeesTheMachine(t *testing.T) {
	for _, text := range []string{
		"2 sockets x 1 numa x 8 cores x 2 threads",
		"1 sockets x 4 numa x 4 cores x 1 threads",
		"2 sockets x 4 numa x 2 cores x 2 threads",
		"1 sockets x 1 numa x 1 cores x 1 threads",
		"s0 n0 u0: 0,4 1,5; s0 n0 u1: 2,6 3,7",           // two caches in a NUMA node
		"s0 n0 u0: 0-1 2-3; s0 n0 u1: 4 5",               // hybrid cores
		"s0 n0 u0: 0,8 1,9; s0 n0 u1: 2,10; s1 n1 u2: 3", // asymmetric, CPUs missing
		"s0 n0 u0: 0 1; n1:",                             // a NUMA node without CPUs
	} {
		t.Run(text, func(t *testing.T) {
			machine := cputopology.MustParse(text)
			root := t.TempDir()
			if err := writeSysfs(root, machine, 16<<30, nil); err != nil {
				t.Fatal(err)
			}
			info, err := machineInfo(root)
			if err != nil {
				t.Fatal(err)
			}
			kubelet, err := topology.Discover(klog.Background(), info)
			if err != nil {
				t.Fatal(err)
			}
			if kubelet.NumCPUs != machine.CPUs().Len() || kubelet.NumCores != len(machine.Cores()) || kubelet.NumSockets != len(machine.Sockets()) {
				t.Errorf("the kubelet sees %d CPUs, %d cores, %d sockets of %s", kubelet.NumCPUs, kubelet.NumCores, kubelet.NumSockets, machine)
			}
			if len(info.Topology) != len(machine.NUMANodes()) {
				t.Errorf("the kubelet sees %d NUMA nodes of %s", len(info.Topology), machine)
			}
			for id := range machine.CPUs().All() {
				cpu, _ := machine.CPU(id)
				got := kubelet.CPUDetails[id]
				if got.CoreID != cpu.Core || got.NUMANodeID != cpu.NUMANode || got.SocketID != cpu.Socket {
					t.Errorf("the kubelet sees CPU %d at %+v; it is at %+v", id, got, cpu)
				}
			}
			if mem := info.Topology[0].Memory; mem != uint64(16<<30)/uint64(len(machine.NUMANodes())) {
				t.Errorf("NUMA node 0 has %d bytes of memory", mem)
			}
		})
	}
}

func TestUncoreCachesWithinANUMANode(t *testing.T) {
	root := t.TempDir()
	if err := writeSysfs(root, cputopology.MustParse("s0 n0 u0: 0,4 1,5; s0 n0 u7: 2,6 3,7"), 1<<30, nil); err != nil {
		t.Fatal(err)
	}
	info, err := machineInfo(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, core := range info.Topology[0].Cores {
		want := 7 * (core.Threads[0] / 2)
		if len(core.UncoreCaches) != 1 || core.UncoreCaches[0].Id != want || core.UncoreCaches[0].Size != 32<<20 {
			t.Errorf("core of CPU %d has uncore caches %+v; want id %d", core.Threads[0], core.UncoreCaches, want)
		}
	}
}

// TestRootedSysfsReadsThisMachine: moved to /sys, our rooted reader tells what cadvisor's own does.
func TestRootedSysfsReadsThisMachine(t *testing.T) {
	got, err := machineInfo("/sys")
	if err != nil {
		t.Fatal(err)
	}
	want, cpus, err := sysinfo.GetNodesInfo(sysfs.NewRealSysFs())
	if err != nil {
		t.Fatal(err)
	}
	if got.NumCores != cpus || len(got.Topology) != len(want) {
		t.Fatalf("%d CPUs in %d NUMA nodes; cadvisor itself finds %d in %d", got.NumCores, len(got.Topology), cpus, len(want))
	}
	for i := range want {
		if got.Topology[i].Id != want[i].Id || len(got.Topology[i].Cores) != len(want[i].Cores) {
			t.Errorf("NUMA node %d is %+v; cadvisor itself finds %+v", i, got.Topology[i], want[i])
		}
	}
}

func TestSysfsFormats(t *testing.T) {
	root := t.TempDir()
	if err := writeSysfs(root, cputopology.MustParse("2 sockets x 1 numa x 16 cores x 2 threads"), 2<<30, nil); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"cpu/online":                              "0-63",
		"cpu/cpu17/topology/core_id":              "1",
		"cpu/cpu17/topology/physical_package_id":  "1",
		"cpu/cpu17/topology/thread_siblings_list": "17,49",
		"cpu/cpu17/topology/core_cpus_list":       "17,49",
		"cpu/cpu17/cache/index3/shared_cpu_map":   "ffff0000,ffff0000",
		"cpu/cpu0/cache/index3/shared_cpu_list":   "0-15,32-47",
		"cpu/cpu0/cache/index3/level":             "3",
		"node/node1/cpulist":                      "16-31,48-63",
		"node/node1/distance":                     "20 10",
		"node/node1/cpu17/topology/core_id":       "1",
		"node/online":                             "0-1",
	} {
		got, err := os.ReadFile(filepath.Join(root, "devices/system", path))
		if err != nil || string(got) != want+"\n" {
			t.Errorf("%s holds %q; want %q (%v)", path, got, want, err)
		}
	}
	if got := cpuMask(cpuset.Set{}); got != "00000000" {
		t.Errorf("the mask of no CPU is %q", got)
	}
}
