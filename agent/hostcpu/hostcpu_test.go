// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	testingclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// machine is a sysfs in the making.
type machine struct{ fstest.MapFS }

func newMachine(online string) machine {
	m := machine{fstest.MapFS{}}
	m.set("devices/system/cpu/online", online)
	return m
}

func (m machine) set(name, content string) {
	m.MapFS[name] = &fstest.MapFile{Data: []byte(content + "\n")}
}

// core adds the CPUs of a core, with a level 2 cache of its own and a level 3 cache shared by others; no
// level 3 where l3 is empty.
func (m machine) core(cpus string, socket, core, l3id int, l3 string) {
	for _, id := range cpusOf(cpus).List() {
		dir := fmt.Sprintf("devices/system/cpu/cpu%d", id)
		m.set(dir+"/topology/physical_package_id", fmt.Sprint(socket))
		m.set(dir+"/topology/core_id", fmt.Sprint(core))
		m.cache(id, 2, core, cpus)
		if l3 != "" {
			m.cache(id, 3, l3id, l3)
		}
	}
}

func (m machine) cache(cpu, level, id int, cpus string) {
	dir := fmt.Sprintf("devices/system/cpu/cpu%d/cache/index%d", cpu, level)
	m.set(dir+"/level", fmt.Sprint(level))
	m.set(dir+"/id", fmt.Sprint(id))
	m.set(dir+"/shared_cpu_list", cpus)
}

func (m machine) node(id int, cpus, distances string) {
	dir := fmt.Sprintf("devices/system/node/node%d", id)
	m.set(dir+"/cpulist", cpus)
	if distances != "" {
		m.set(dir+"/distance", distances)
	}
}

func cpusOf(list string) cpuset.Set {
	cpus, err := cpuset.Parse(list)
	if err != nil {
		panic(err)
	}
	return cpus
}

// machines are sysfs trees with what the kubelet makes of them.
func machines() map[string]struct {
	sysfs machine
	want  string
} {
	type row = struct {
		sysfs machine
		want  string
	}
	rows := map[string]row{}

	m := newMachine("0-3")
	m.core("0,2", 0, 0, 0, "0-3")
	m.core("1,3", 0, 1, 0, "0-3")
	m.node(0, "0-3", "10")
	rows["a cache for the whole NUMA node is the socket"] = row{m, "1 sockets x 1 numa x 2 cores x 2 threads"}

	m = newMachine("0-7")
	for i := range 4 {
		m.core(fmt.Sprintf("%d,%d", i, i+4), i/2, i%2, 7+i/2, cpusOf(fmt.Sprintf("%d-%d,%d-%d", i/2*2, i/2*2+1, i/2*2+4, i/2*2+5)).String())
	}
	m.node(0, "0-1,4-5", "10 21")
	m.node(1, "2-3,6-7", "21 10")
	rows["two sockets"] = row{m, "2 sockets x 1 numa x 2 cores x 2 threads"}

	m = newMachine("0-3")
	for i := range 4 {
		m.core(fmt.Sprint(i), 0, i, 10+i/2, fmt.Sprintf("%d-%d", i/2*2, i/2*2+1))
	}
	m.node(0, "0-3", "10")
	rows["several caches in a NUMA node are uncore caches"] = row{m, "s0 n0 u10: 0 1; s0 n0 u11: 2 3"}

	m = newMachine("0-3")
	for i := range 4 {
		m.core(fmt.Sprint(i), 0, i, 5, "0-3")
	}
	m.node(0, "0-1", "10 12")
	m.node(1, "2-3", "12 10")
	rows["one cache over several NUMA nodes is an uncore cache"] = row{m, "s0 n0 u5: 0 1; s0 n1 u5: 2 3"}

	m = newMachine("0-2")
	m.core("0,3", 0, 0, 0, "0-2")
	m.core("1-2", 0, 4, 0, "0-2")
	m.node(0, "0-3", "10")
	rows["an offline thread; cores not alike, so the cache is not the node's"] = row{m, "s0 n0 u0: 0 1-2"}

	m = newMachine("0-1")
	m.core("0", 3, 0, 0, "")
	m.core("1", 5, 0, 0, "")
	rows["no NUMA nodes: each socket is one"] = row{m, "s3 n3 u3: 0; s5 n5 u5: 1"}

	m = newMachine("0-1")
	m.core("0", 0, 0, 0, "")
	m.core("1", 0, 1, 0, "")
	m.node(0, "0-1", "10 17")
	m.node(1, "", "17 10")
	rows["a NUMA node without CPUs"] = row{m, "s0 n0 u0: 0 1; n1:"}

	m = newMachine("0-11")
	for i := range 12 {
		m.core(fmt.Sprint(i), 0, i%6, i/6, fmt.Sprintf("%d-%d", i/6*6, i/6*6+5))
	}
	m.node(0, "0-11", "10")
	rows["equal core ids in one socket are one core"] = row{m, "1 sockets x 1 numa x 6 cores x 2 threads"}

	m = newMachine("0-2")
	m.core("0", 0, 0, 0, "")
	m.core("1", 0, 1, 0, "")
	m.node(0, "0-2", "10")
	rows["a CPU without ids is left out"] = row{m, "1 sockets x 1 numa x 2 cores x 1 threads"}

	m = newMachine("0-3")
	for i := range 4 {
		m.core(fmt.Sprint(i), 0, i, 10+i/2, fmt.Sprintf("%d-%d", i/2*2, i/2*2+1))
		delete(m.MapFS, fmt.Sprintf("devices/system/cpu/cpu%d/cache/index2/id", i))
	}
	m.node(0, "0-3", "")
	rows["caches without an id are no caches"] = row{m, "1 sockets x 1 numa x 4 cores x 1 threads"}
	return rows
}

func TestRead(t *testing.T) {
	for name, tc := range machines() {
		t.Run(name, func(t *testing.T) {
			got, err := Read(tc.sysfs)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	good := func() machine {
		m := newMachine("0-1")
		m.core("0", 0, 0, 0, "0-1")
		m.core("1", 0, 1, 0, "0-1")
		m.node(0, "0-1", "10")
		return m
	}
	if _, err := Read(good()); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		spoil func(machine)
		want  string
	}{
		"no sysfs":          {func(m machine) { maps.DeleteFunc(m.MapFS, func(string, *fstest.MapFile) bool { return true }) }, "cpu/online"},
		"no list":           {func(m machine) { m.set("devices/system/cpu/online", "some") }, "cpu/online"},
		"no CPU":            {func(m machine) { m.set("devices/system/cpu/online", "") }, "at least one CPU"},
		"a socket of words": {func(m machine) { m.set("devices/system/cpu/cpu1/topology/physical_package_id", "left") }, "cpu1/topology/physical_package_id"},
		"a core of words":   {func(m machine) { m.set("devices/system/cpu/cpu1/topology/core_id", "") }, "cpu1/topology/core_id"},
		"a CPU in two nodes": {func(m machine) {
			m.node(0, "0-1", "")
			m.node(1, "1", "")
		}, "in two cores"},
		"a node without list": {func(m machine) { delete(m.MapFS, "devices/system/node/node0/cpulist") }, "node0/cpulist"},
		"distances of words":  {func(m machine) { m.node(0, "0-1", "near") }, "node0/distance"},
		"too many distances":  {func(m machine) { m.node(0, "0-1", "10 20") }, "2 distances"},
	} {
		t.Run(name, func(t *testing.T) {
			m := good()
			tc.spoil(m)
			if got, err := Read(m); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, error %v; want an error with %q", got, err, tc.want)
			}
		})
	}
}

func TestWatcherFollowsTheOnlineCPUs(t *testing.T) {
	dir := t.TempDir()
	m := machines()["two sockets"].sysfs
	// The kernel would shorten the caches' lists as well when CPUs go offline.
	maps.DeleteFunc(m.MapFS, func(name string, _ *fstest.MapFile) bool { return strings.Contains(name, "/cache/") })
	if err := os.CopyFS(dir, m); err != nil {
		t.Fatal(err)
	}
	online := filepath.Join(dir, "devices/system/cpu/online")
	w := NewWatcher(Options{SysfsDir: dir, Reread: time.Minute, Clock: testingclock.NewFakeClock(time.Unix(1000, 0))})
	changed := w.Subscribe()
	for _, step := range []struct {
		name, online, want string
		wantErr, wantRing  bool
	}{
		{"all online", "0-7", "2 sockets x 1 numa x 2 cores x 2 threads", false, true},
		{"nothing new", "0-7", "2 sockets x 1 numa x 2 cores x 2 threads", false, false},
		{"hardware threads off", "0-3", "2 sockets x 1 numa x 2 cores x 1 threads", false, true},
		{"not readable", "garbage", "2 sockets x 1 numa x 2 cores x 1 threads", true, true},
		{"still not readable", "garbage", "2 sockets x 1 numa x 2 cores x 1 threads", true, false},
		{"readable again", "0-3", "2 sockets x 1 numa x 2 cores x 1 threads", false, true},
	} {
		if err := os.WriteFile(online, []byte(step.online), 0o600); err != nil {
			t.Fatal(err)
		}
		w.Refresh(t.Context())
		ring := len(changed) > 0
		if ring {
			<-changed
		}
		if got := w.Topology().String(); got != step.want || ring != step.wantRing || (w.Reading().Err != nil) != step.wantErr {
			t.Errorf("%s: got %s, rung %t, error %v", step.name, got, ring, w.Reading().Err)
		}
	}
}

func TestTopologyOfThisMachine(t *testing.T) {
	topology, err := Read(os.DirFS("/sys"))
	if err != nil {
		t.Fatal(err)
	}
	if !topology.Equal(cadvisorTopology(t, realSysfs())) {
		t.Errorf("we read %s, the kubelet would read %s", topology, cadvisorTopology(t, realSysfs()))
	}
	if _, err := cputopology.Parse(topology.String()); err != nil {
		t.Error(err)
	}
}
