// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
)

// write makes the files of a cgroup file system.
func write(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func podWith(uid, id string) *corev1.Pod {
	p := pod()
	p.UID = types.UID(uid)
	p.Status.ContainerStatuses[0].ContainerID = "runtime://" + id
	return p
}

// A container is taken for itself, whatever its id begins with, beside the monitor that CRI-O runs for it in the pod's
// cgroup (conmon_cgroup "pod"). The monitor has the reserved CPUs.
func TestNeighboursOfTheContainer(t *testing.T) {
	const slicePod = "kubepods.slice/kubepods-pod3f1c7f0a_1111_4000_8000_000000000001.slice/"
	for name, layout := range map[string]struct{ container, monitor string }{
		"CRI-O, systemd, crun":       {slicePod + "crio-%s.scope/container", slicePod + "crio-conmon-%s.scope"},
		"CRI-O, systemd, runc":       {slicePod + "crio-%s.scope", slicePod + "crio-conmon-%s.scope"},
		"CRI-O, cgroupfs":            {"kubepods/pod" + uid + "/crio-%s", "kubepods/pod" + uid + "/crio-conmon-%s"},
		"containerd, systemd":        {slicePod + "cri-containerd-%s.scope", slicePod + "a-%s.scope"},
		"containerd, systemd, crun":  {slicePod + "cri-containerd-%s.scope/container", slicePod + "a-%s.scope"},
		"containerd, cgroupfs":       {"kubepods/pod" + uid + "/%s", "kubepods/pod" + uid + "/0-%s"},
		"docker, systemd":            {slicePod + "docker-%s.scope", slicePod + "a-%s.scope"},
		"docker, cgroupfs":           {"kubepods/pod" + uid + "/%s", "kubepods/pod" + uid + "/%s-monitor"},
		"kind on v2":                 {"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod3f1c7f0a_1111_4000_8000_000000000001.slice/cri-containerd-%s.scope", "kubelet.slice/a-%s"},
		"kind on v1":                 {"cpuset/docker/9f86/kubelet/kubepods/pod" + uid + "/%s", "blkio/docker/9f86/kubelet/kubepods/pod" + uid + "/%s/x"},
		"a cgroupRoot two levels on": {"a/b/kubepods/pod" + uid + "/%s", "a/b/%s"},
	} {
		for _, digit := range "0123456789abcdef" {
			t.Run(fmt.Sprintf("%s, %c", name, digit), func(t *testing.T) {
				id := string(digit) + id[1:]
				root := t.TempDir()
				write(t, root, map[string]string{
					fmt.Sprintf(layout.container, id) + "/cpuset.cpus.effective": "2-5,34-37\n",
					fmt.Sprintf(layout.monitor, id) + "/cpuset.cpus.effective":   "0-1,32-33\n",
				})
				if scope, child := strings.CutSuffix(fmt.Sprintf(layout.container, id), "/container"); child {
					write(t, root, map[string]string{scope + "/cpuset.cpus.effective": "2-5,34-37\n"})
				}
				cpus, known, err := New(root).CPUs(podWith(uid, id), "compute")
				if cpus.String() != "2-5,34-37" || !known || err != nil {
					t.Errorf("CPUs = %q, %t, %v; want 2-5,34-37", cpus, known, err)
				}
			})
		}
	}
}

// With CRI-O's load balancing off the container is a partition: what counts is where its processes are.
func TestWhereTheProcessesAre(t *testing.T) {
	const scope = "kubepods.slice/kubepods-pod3f1c7f0a_1111_4000_8000_000000000001.slice/crio-" + id + ".scope/"
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"crun, isolated": {map[string]string{
			"cpuset.cpus.effective": "0-1,6-7", "cgroup.procs": "",
			"container/cpuset.cpus.effective": "2-5", "container/cgroup.procs": "4242\n",
			"container/housekeeping/cpuset.cpus.effective": "5",
		}, "2-5"},
		"crun, seen from another PID namespace": {map[string]string{
			"cpuset.cpus.effective": "0-1,6-7", "cgroup.procs": "",
			"container/cpuset.cpus.effective": "2-5", "container/cgroup.procs": "0\n0\n",
		}, "2-5"},
		"crun that was told another name": {map[string]string{
			"cpuset.cpus.effective": "0-1,6-7", "cgroup.procs": "",
			"inner/cpuset.cpus.effective": "2-5", "inner/cgroup.procs": "4242\n",
		}, "2-5"},
		"runc, isolated": {map[string]string{"cpuset.cpus.effective": "12-13", "cgroup.procs": "4244\n"}, "12-13"},
		"runc with KubeVirt's housekeeping": {map[string]string{
			"cpuset.cpus.effective": "2-5", "cgroup.procs": "4244\n", "housekeeping/cpuset.cpus.effective": "5",
		}, "2-5"},
		"nobody yet": {map[string]string{
			"cpuset.cpus.effective": "2-5", "cgroup.procs": "", "other/cpuset.cpus.effective": "9",
		}, "2-5"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			files := map[string]string{}
			for name, text := range tc.files {
				files[scope+name] = text
			}
			write(t, root, files)
			if cpus, known, err := New(root).CPUs(pod(), "compute"); cpus.String() != tc.want || !known || err != nil {
				t.Errorf("CPUs = %q, %t, %v; want %s", cpus, known, err, tc.want)
			}
		})
	}
}

// The kubelet's tree is searched for again, but not at each look.
func TestTheTreeIsFoundLater(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{"system.slice/a.service/cpuset.cpus.effective": "0-7"})
	r := New(root)
	now := clocktesting.NewFakePassiveClock(time.Now())
	r.clock = now
	look := func(what, want, missing string) {
		t.Helper()
		cpus, known, err := r.CPUs(pod(), "compute")
		if cpus.String() != want || known != (want != "") || err != nil {
			t.Errorf("%s: CPUs = %q, %t, %v; want %q", what, cpus, known, err, want)
		}
		if got := r.Missing(); (got == nil) != (missing == "") || got != nil && !strings.Contains(got.Error(), missing) {
			t.Errorf("%s: missing %v, want %q", what, got, missing)
		}
	}
	const none = "no cgroup named kubepods, kubepods.slice or <parents>-kubepods.slice"
	look("before", "", none)
	dir := "other.slice/other-kubepods.slice/other-kubepods-pod3f1c7f0a_1111_4000_8000_000000000001.slice/crio-" + id + ".scope"
	write(t, root, map[string]string{dir + "/cpuset.cpus.effective": "2-3"})
	look("at once", "", none)
	now.SetTime(now.Now().Add(searchPause))
	look("later", "2-3", "")
	write(t, root, map[string]string{dir + "/cpuset.cpus.effective": "4-5"})
	look("another cpuset", "4-5", "")
	if err := os.RemoveAll(filepath.Join(root, "other.slice")); err != nil {
		t.Fatal(err)
	}
	look("it has ended", "", "")
	now.SetTime(now.Now().Add(searchPause))
	look("the kubelet is gone", "", none)
}

func TestIDsThatAreNoNames(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{"kubepods/cpuset.cpus.effective": "0-7", "kubepods/pod" + uid + "/x/cpuset.cpus.effective": "0-7"})
	for _, id := range []string{"..", "../..", "*", "a/b", ""} {
		if cpus, known, err := New(root).CPUs(podWith(uid, id), "compute"); known || err != nil {
			t.Errorf("id %q: CPUs %s, error %v", id, cpus, err)
		}
	}
}

// BenchmarkCPUs is the cost of one look on a node with 250 pods of 2 containers.
func BenchmarkCPUs(b *testing.B) {
	root := b.TempDir()
	podUID := func(i int) string { return fmt.Sprintf("3f1c7f0a-1111-4000-8000-%012d", i) }
	files := map[string]string{}
	for i := range 250 {
		name := strings.ReplaceAll(podUID(i), "-", "_")
		dir := "kubepods.slice/kubepods-pod" + name + ".slice"
		if i%5 != 0 {
			dir = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + name + ".slice"
		}
		for c := range 2 {
			scope := fmt.Sprintf("%s/cri-containerd-%064x.scope/", dir, 10*i+c)
			files[scope+"cpuset.cpus.effective"] = "2-3\n"
			files[scope+"cgroup.procs"] = "1\n"
		}
	}
	for i := range 150 {
		files[fmt.Sprintf("system.slice/s%d.service/cpuset.cpus.effective", i)] = "0-7\n"
	}
	write(b, root, files)
	for name, id := range map[string]string{"found": fmt.Sprintf("%064x", 1000), "not found": fmt.Sprintf("%064x", 9999)} {
		b.Run(name, func(b *testing.B) {
			r := New(root)
			of := podWith(podUID(100), id)
			for b.Loop() {
				if _, known, err := r.CPUs(of, "compute"); known != (name == "found") || err != nil {
					b.Fatal(known, err)
				}
			}
		})
	}
}
