// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
)

// node is a file system of cgroup v2 with driver systemd: two pods, services, and cgroups without processes.
func node(t testing.TB) string {
	root := t.TempDir()
	const podSlice = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod3f1c7f0a_1111_4000_8000_000000000001.slice/"
	populate(t, root, map[string]string{
		"": "0-7", "kubepods.slice": "0-7", "kubepods.slice/kubepods-burstable.slice": "0-7", strings.TrimSuffix(podSlice, "/"): "0-7",
		podSlice + "cri-containerd-aaaa.scope": "0-1", podSlice + "crio-bbbb.scope": "0-3",
		podSlice + "crio-conmon-bbbb.scope": "0-7", "system.slice": "0-7", "system.slice/crond.service": "0-7",
	})
	write(t, root, map[string]string{"cgroup.controllers": "cpuset cpu\n"})
	for _, dir := range []string{"kubepods.slice", "kubepods.slice/kubepods-burstable.slice", podSlice, "system.slice"} {
		write(t, root, map[string]string{dir + "/cgroup.procs": ""}) // processes are in leaves
	}
	return root
}

// populate makes cgroups with processes, by the CPUs that they may use.
func populate(t testing.TB, root string, cpus map[string]string) {
	for dir, text := range cpus {
		write(t, root, map[string]string{
			dir + "/cpuset.cpus.effective": text + "\n", dir + "/cgroup.events": "populated 1\nfrozen 0\n", dir + "/cgroup.procs": "0\n",
		})
	}
}

// found gives what a Scan finds as "path's base CPUs pod container".
func found(t testing.TB, s *Scanner, of string) []string {
	t.Helper()
	cpus, err := cpuset.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := s.Scan(cpus)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, g := range groups {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %.8s %s", filepath.Base(g.Path), g.CPUs, g.PodUID, g.ContainerID)))
	}
	slices.Sort(all)
	return all
}

func TestScan(t *testing.T) {
	root := node(t)
	s := NewScanner(root)
	expect := func(what, of string, want ...string) {
		t.Helper()
		slices.Sort(want)
		if got := found(t, s, of); !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", what, got, want)
		}
	}
	monitor, service, wide := "crio-conmon-bbbb.scope 0-7 3f1c7f0a", "crond.service 0-7", "crio-bbbb.scope 0-3 3f1c7f0a bbbb"
	expect("of a VM", "2-5", monitor, service, wide)
	expect("again", "2-5", monitor, service, wide)
	expect("of others", "6", monitor, service)
	populate(t, root, map[string]string{"system.slice/a.service": "2", "kubepods/besteffort/podf00/cccc": "2", "user.slice": "0-7"})
	expect("more have come", "2-5", monitor, service, wide, "a.service 2", "cccc 2 f00 cccc", "user.slice 0-7")
	if err := os.RemoveAll(filepath.Join(root, "system.slice/a.service")); err != nil {
		t.Fatal(err)
	}
	populate(t, root, map[string]string{"system.slice/b.service": "5"}) // as many as before
	write(t, root, map[string]string{"user.slice/cgroup.events": "populated 0\n"})
	expect("one in place of another", "2-5", monitor, service, wide, "b.service 5", "cccc 2 f00 cccc")
	write(t, root, map[string]string{"kubepods/besteffort/podf00/cccc/inner/cgroup.events": "populated 1\n"})
	write(t, root, map[string]string{"kubepods/besteffort/podf00/cccc/cgroup.procs": ""})
	expect("without a cpuset of its own", "2", monitor, service, wide, "inner 2 f00 cccc")
}

func TestStill(t *testing.T) {
	root := node(t)
	s := NewScanner(root)
	groups, err := s.Scan(cpuset.Of(2))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(groups, func(g Group) bool { return g.ContainerID == "bbbb" })
	still := func(want string) {
		t.Helper()
		if cpus, err := s.Still(groups[at]); cpus.String() != want || err != nil {
			t.Errorf("still %q, %v; want %q", cpus, err, want)
		}
	}
	still("0-3")
	write(t, root, map[string]string{groups[at].Path + "/cpuset.cpus.effective": "0-1\n"})
	still("0-1")
	write(t, root, map[string]string{groups[at].Path + "/cgroup.events": "populated 0\n"})
	still("")
	if err := os.RemoveAll(filepath.Join(root, groups[at].Path)); err != nil {
		t.Fatal(err)
	}
	still("")
}

// On v1 the processes are those of the controller's own tree, in inner cgroups too.
func TestScanOfV1(t *testing.T) {
	root := t.TempDir()
	for dir, text := range map[string]string{"": "0-7", "kubepods": "0-7", "kubepods/podf00": "0-7", "kubepods/podf00/dddd": "0-3"} {
		write(t, root, map[string]string{
			filepath.Join("cpu,cpuset", dir, "cpuset.effective_cpus"): text + "\n", filepath.Join("cpu,cpuset", dir, "cgroup.procs"): "",
			filepath.Join("memory", dir, "cgroup.procs"): "0\n",
		})
	}
	write(t, root, map[string]string{"cpu,cpuset/kubepods/podf00/dddd/cgroup.procs": "0\n"})
	if got := found(t, NewScanner(root), "2"); !slices.Equal(got, []string{"dddd 0-3 f00 dddd"}) {
		t.Errorf("found %q", got)
	}
}

func TestScanErrors(t *testing.T) {
	if _, err := NewScanner(filepath.Join(t.TempDir(), "missing")).Scan(cpuset.Of(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is mounted: %v", err)
	}
	empty := t.TempDir()
	if _, err := NewScanner(empty).Scan(cpuset.Of(1)); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no cgroups: %v", err)
	}
	root := node(t)
	s := NewScanner(root)
	write(t, root, map[string]string{"system.slice/crond.service/cpuset.cpus.effective": "two\n"})
	if _, err := s.Scan(cpuset.Of(1)); err == nil || !strings.Contains(err.Error(), "crond.service") {
		t.Errorf("garbage: %v", err)
	}
	write(t, root, map[string]string{"system.slice/crond.service/cpuset.cpus.effective": "1\n"})
	if got := found(t, s, "5"); !slices.Equal(got, []string{"crio-conmon-bbbb.scope 0-7 3f1c7f0a"}) {
		t.Errorf("after an error: found %q", got)
	}
}

// TestRealCgroups finds a real process, in the tree that this machine has: v1's or v2's.
func TestRealCgroups(t *testing.T) {
	mount := "/sys/fs/cgroup"
	if os.Geteuid() != 0 {
		skip(t, "cgroups are root's to make")
	}
	below := filepath.Join(mount, "cpuset")
	if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err == nil {
		below = mount
	}
	dir := filepath.Join(below, fmt.Sprintf("corepin-test-%d", os.Getpid()), "kubepods", "podf00", "eeee")
	process := startSleeper(t)
	t.Cleanup(func() { removeCgroups(dir, below) })
	if err := os.MkdirAll(dir, 0o755); err != nil {
		skip(t, err.Error())
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		for at := filepath.Join(below, strings.Split(strings.TrimPrefix(dir, below+"/"), "/")[0]); below != mount; {
			copyFile(t, filepath.Join(below, file), filepath.Join(at, file))
			if at == dir {
				break
			}
			at = filepath.Join(at, strings.Split(strings.TrimPrefix(dir, at+"/"), "/")[0])
		}
	}
	s := NewScanner(mount)
	has := func() bool {
		return slices.ContainsFunc(found(t, s, "0"), func(g string) bool { return strings.HasSuffix(g, "f00 eeee") })
	}
	if has() {
		t.Error("found before a process is in it")
	}
	write(t, dir, map[string]string{"cgroup.procs": fmt.Sprint(process.Pid)})
	if !has() {
		t.Error("not found")
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := process.Wait(); err != nil {
		t.Fatal(err)
	}
	if has() {
		t.Error("found after its process has ended")
	}
}
