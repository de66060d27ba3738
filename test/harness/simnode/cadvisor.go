// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/cadvisor/info/v1"
	"github.com/google/cadvisor/utils/sysfs"
	"github.com/google/cadvisor/utils/sysinfo"

	"corepin.dev/corepin/pkg/cpuset"
)

// machineInfo is what cadvisor tells the kubelet of the CPUs below a /sys, real or simulated. Read by
// cadvisor's own code, so that its choices are in it: which caches count as uncore, what a machine
// without NUMA nodes looks like.
func machineInfo(sysfsDir string) (*v1.MachineInfo, error) {
	nodes, cpus, err := sysinfo.GetNodesInfo(&rootedSysfs{SysFs: sysfs.NewRealSysFs(), system: filepath.Join(sysfsDir, "devices/system")})
	if err != nil {
		return nil, fmt.Errorf("reading the CPU topology in %s: %w", sysfsDir, err)
	}
	sockets := map[int]bool{}
	for _, node := range nodes {
		for _, core := range node.Cores {
			sockets[core.SocketID] = true
		}
	}
	return &v1.MachineInfo{NumCores: cpus, NumSockets: len(sockets), Topology: nodes}, nil
}

// rootedSysfs is cadvisor's view of /sys moved to another directory. cadvisor v0.56.2 has the path
// compiled in; of what sysinfo.GetNodesInfo calls, these are the methods that do not take a path, and one
// that is given an absolute one.
type rootedSysfs struct {
	sysfs.SysFs
	system string // <root>/devices/system
}

func (r *rootedSysfs) GetNodesPaths() ([]string, error) {
	return filepath.Glob(filepath.Join(r.system, "node/node*[0-9]"))
}

func (r *rootedSysfs) GetCPUsPaths(dir string) ([]string, error) {
	if dir == "/sys/devices/system/cpu" {
		dir = filepath.Join(r.system, "cpu")
	}
	return r.SysFs.GetCPUsPaths(dir)
}

func (r *rootedSysfs) GetCaches(cpu int) ([]os.FileInfo, error) {
	entries, err := os.ReadDir(r.cache(cpu, ""))
	if err != nil {
		return nil, err
	}
	infos := make([]os.FileInfo, len(entries))
	for i, entry := range entries {
		if infos[i], err = entry.Info(); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

func (r *rootedSysfs) GetCacheInfo(cpu int, name string) (sysfs.CacheInfo, error) {
	attribute := map[string]string{}
	for _, key := range []string{"id", "level", "size", "type", "shared_cpu_list"} {
		text, err := os.ReadFile(r.cache(cpu, name+"/"+key))
		if err != nil {
			return sysfs.CacheInfo{}, err
		}
		attribute[key] = strings.TrimSpace(string(text))
	}
	info := sysfs.CacheInfo{Type: attribute["type"]}
	shared, err := cpuset.Parse(attribute["shared_cpu_list"])
	if err != nil {
		return info, err
	}
	info.Cpus = shared.Len()
	if info.Id, err = strconv.Atoi(attribute["id"]); err != nil {
		return info, err
	}
	if info.Level, err = strconv.Atoi(attribute["level"]); err != nil {
		return info, err
	}
	kilobytes, err := strconv.ParseUint(strings.TrimSuffix(attribute["size"], "K"), 10, 54)
	info.Size = kilobytes * 1024
	return info, err
}

func (r *rootedSysfs) cache(cpu int, name string) string {
	return filepath.Join(r.system, fmt.Sprintf("cpu/cpu%d/cache", cpu), name)
}

// IsCPUOnline reads cpu/online. A kernel without CPU hotplug has no such file: every CPU is online.
func (r *rootedSysfs) IsCPUOnline(dir string) bool {
	text, err := os.ReadFile(filepath.Join(r.system, "cpu/online"))
	if os.IsNotExist(err) {
		return true
	}
	if err != nil {
		return false
	}
	online, err := cpuset.Parse(string(text))
	if err != nil {
		return false
	}
	id, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "cpu"))
	return err == nil && online.Has(id)
}
