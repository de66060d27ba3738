// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	info "github.com/google/cadvisor/info/v1"
	"github.com/google/cadvisor/utils/sysfs"
	"github.com/google/cadvisor/utils/sysinfo"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// The library that the kubelet itself reads the topology with is the judge of Read.
func TestReadAgreesWithCadvisor(t *testing.T) {
	for name, tc := range machines() {
		t.Run(name, func(t *testing.T) {
			got, err := Read(tc.sysfs)
			if err != nil {
				t.Fatal(err)
			}
			if want := cadvisorTopology(t, treeSysfs{sysfs: tc.sysfs.MapFS}); !got.Equal(want) {
				t.Errorf("we read          %s\nthe kubelet reads %s", got, want)
			}
		})
	}
}

func realSysfs() sysfs.SysFs { return sysfs.NewRealSysFs() }

// cadvisorTopology is what the kubelet makes of cadvisor's machine info (Discover in
// pkg/kubelet/cm/cpumanager/topology/topology.go, v1.36.3).
func cadvisorTopology(t *testing.T, from sysfs.SysFs) *cputopology.Topology {
	t.Helper()
	nodes, _, err := sysinfo.GetNodesInfo(from)
	if err != nil {
		t.Fatal(err)
	}
	var cores []cputopology.Core
	var numaNodes []cputopology.NUMANode
	for _, node := range nodes {
		numaNodes = append(numaNodes, cputopology.NUMANode{ID: node.Id, Distances: ints(node.Distances)})
		for _, core := range node.Cores {
			cores = append(cores, cputopology.Core{
				CPUs: cpuset.Of(core.Threads...), Socket: core.SocketID, NUMANode: node.Id, UncoreCache: uncoreCache(core),
			})
		}
	}
	topology, err := cputopology.New(cores, numaNodes...)
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

func uncoreCache(core info.Core) int {
	if len(core.UncoreCaches) == 0 {
		return core.SocketID
	}
	return core.UncoreCaches[0].Id
}

func ints(values []uint64) []int {
	var all []int
	for _, value := range values {
		all = append(all, int(value))
	}
	return all
}

// treeSysfs is cadvisor's view of a machine, as its real one but for the root. What the topology does not
// depend on is left to the embedded nil, which panics when it is asked.
type treeSysfs struct {
	sysfs.SysFs
	sysfs fstest.MapFS
}

func (s treeSysfs) GetNodesPaths() ([]string, error) {
	return fs.Glob(s.sysfs, path.Join(nodeDir, "node*[0-9]"))
}

// GetCPUsPaths lists the links that a real sysfs has for each CPU in the directory of its NUMA node.
func (s treeSysfs) GetCPUsPaths(dir string) ([]string, error) {
	if strings.HasSuffix(dir, cpuDir) {
		return fs.Glob(s.sysfs, path.Join(cpuDir, "cpu*[0-9]"))
	}
	var paths []string
	for _, id := range cpusOf(s.read(path.Join(dir, "cpulist"))).List() {
		paths = append(paths, path.Join(dir, "cpu"+strconv.Itoa(id)))
	}
	return paths, nil
}

func (s treeSysfs) read(name string) string {
	data, err := fs.ReadFile(s.sysfs, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (s treeSysfs) id(cpu, name string) (string, error) {
	data, err := fs.ReadFile(s.sysfs, path.Join(cpuDir, path.Base(cpu), "topology", name))
	return strings.TrimSpace(string(data)), err
}

func (s treeSysfs) GetCoreID(cpu string) (string, error) { return s.id(cpu, "core_id") }

func (s treeSysfs) GetCPUPhysicalPackageID(cpu string) (string, error) {
	return s.id(cpu, "physical_package_id")
}

func (s treeSysfs) IsCPUOnline(cpu string) bool {
	id, err := strconv.Atoi(strings.TrimPrefix(path.Base(cpu), "cpu"))
	return err == nil && cpusOf(s.read(path.Join(cpuDir, "online"))).Has(id)
}

func (s treeSysfs) GetDistances(node string) (string, error) {
	data, err := fs.ReadFile(s.sysfs, path.Join(node, "distance"))
	return strings.TrimSpace(string(data)), err
}

func (s treeSysfs) GetMemInfo(string) (string, error) { return "", fs.ErrNotExist }

func (s treeSysfs) GetHugePagesInfo(string) ([]os.FileInfo, error) { return nil, nil }

func (s treeSysfs) GetCaches(cpu int) ([]os.FileInfo, error) {
	entries, err := fs.ReadDir(s.sysfs, path.Join(cpuDir, "cpu"+strconv.Itoa(cpu), "cache"))
	var infos []os.FileInfo
	for _, entry := range entries {
		if file, err := entry.Info(); err == nil {
			infos = append(infos, file)
		}
	}
	return infos, err
}

func (s treeSysfs) GetCacheInfo(cpu int, name string) (sysfs.CacheInfo, error) {
	dir := path.Join(cpuDir, "cpu"+strconv.Itoa(cpu), "cache", name)
	id, err := strconv.Atoi(s.read(path.Join(dir, "id")))
	if err != nil {
		return sysfs.CacheInfo{}, err
	}
	level, err := strconv.Atoi(s.read(path.Join(dir, "level")))
	return sysfs.CacheInfo{Id: id, Level: level, Cpus: cpusOf(s.read(path.Join(dir, "shared_cpu_list"))).Len()}, err
}
