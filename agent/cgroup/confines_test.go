// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"corepin.dev/corepin/pkg/cpuset"
)

// Somebody has set AllowedCPUs=0-7 on kubepods.slice. The kubelet, which looks at sysfs only, granted 8-11 to one pod and 6-9
// to another, and something rewrote the cpuset of a third.
func TestConfiner(t *testing.T) {
	const pods = "kubepods.slice/kubepods-pod3f1c7f0a_1111_4000_8000_000000000001.slice"
	for name, tc := range map[string]struct {
		own, effective, granted, want string
	}{
		"confined altogether": {"8-11", "0-7", "8-11", "kubepods.slice"},
		"confined in part":    {"6-9", "6-7", "6-9", "kubepods.slice"},
		"rewritten":           {"0-7", "0-7", "8-9", ""},
		"all is well":         {"2-5", "2-5", "2-5", ""},
	} {
		root := t.TempDir()
		for file, text := range map[string]string{
			"cpuset.cpus.effective": "0-15", "kubepods.slice/cpuset.cpus": "0-7", "kubepods.slice/cpuset.cpus.effective": "0-7",
			pods + "/cpuset.cpus": "", pods + "/cpuset.cpus.effective": "0-7",
			pods + "/cri-containerd-" + id + ".scope/cpuset.cpus":           tc.own,
			pods + "/cri-containerd-" + id + ".scope/cpuset.cpus.effective": tc.effective,
		} {
			full := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(full, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		granted, err := cpuset.Parse(tc.granted)
		if err != nil {
			t.Fatal(err)
		}
		if got := New(root).Confiner(pod(), "compute", granted); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// KubeVirt's child cgroup is found beside the processes, wherever the runtime has put them.
func TestHousekeeping(t *testing.T) {
	container := "kubepods/pod" + uid + "/" + id
	for name, tc := range map[string]struct {
		files      map[string]string
		cpus, want string
		fails      bool
	}{
		"none": {map[string]string{container + "/cpuset.cpus.effective": "2-5"}, "2-5", "", false},
		"in the container's": {map[string]string{
			container + "/cpuset.cpus.effective": "2-5", container + "/cgroup.procs": "0", container + "/housekeeping/cpuset.cpus.effective": "5",
		}, "2-5", "5", false},
		"in crun's child": {map[string]string{
			container + "/cpuset.cpus.effective": "0-15", container + "/container/cpuset.cpus.effective": "2-5", container + "/container/cgroup.procs": "0",
			container + "/container/housekeeping/cpuset.cpus.effective": "5",
		}, "2-5", "5", false},
		"cgroup v1": {map[string]string{
			"cpuset/" + container + "/cpuset.cpus": "2-5", "cpuset/" + container + "/cgroup.procs": "0", "cpuset/" + container + "/housekeeping/cpuset.cpus": "5",
		}, "2-5", "5", false},
		"garbage": {map[string]string{
			container + "/cpuset.cpus.effective": "2-5", container + "/cgroup.procs": "0", container + "/housekeeping/cpuset.cpus.effective": "five",
		}, "2-5", "", true},
	} {
		root := t.TempDir()
		for file, text := range tc.files {
			full := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(full, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r := New(root)
		cpus, _, err := r.CPUs(pod(), "compute")
		if err != nil || cpus.String() != tc.cpus {
			t.Errorf("%s: the container has %s, error %v; want %s", name, cpus, err, tc.cpus)
		}
		kept, err := r.Housekeeping(pod(), "compute")
		if (err != nil) != tc.fails || kept.String() != tc.want {
			t.Errorf("%s: housekeeping has %q, error %v; want %q", name, kept, err, tc.want)
		}
	}
}

// What pods can use is what the tightest cgroup above them was given, whatever a partition has taken of it.
func TestPods(t *testing.T) {
	for name, tc := range map[string]struct {
		files    map[string]string
		want, by string
	}{
		"confined":            {map[string]string{"kubepods.slice/cpuset.cpus": "0-7", "kubepods.slice/cpuset.cpus.effective": "0-7"}, "0-7", "kubepods.slice"},
		"a partition took 2":  {map[string]string{"kubepods.slice/cpuset.cpus": "0-15", "kubepods.slice/cpuset.cpus.effective": "0-1,3-15"}, "0-15", "kubepods.slice"},
		"nothing was written": {map[string]string{"kubepods.slice/cpuset.cpus": "", "kubepods.slice/cpuset.cpus.effective": "0-15"}, "", ""},
		"confined further up": {map[string]string{"a.slice/cpuset.cpus": "0-3", "a.slice/a-kubepods.slice/cpuset.cpus": "0-7", "a.slice/a-kubepods.slice/cpuset.cpus.effective": "0-3"}, "0-3", "a.slice"},
		"two kubelets":        {map[string]string{"a/kubepods/cpuset.cpus": "0-3", "b/kubepods/cpuset.cpus": "4-7"}, "", ""},
		"v1":                  {map[string]string{"memory/kubepods/tasks": "", "cpuset/kubepods/cpuset.cpus": "0-7"}, "0-7", "kubepods"},
	} {
		root := t.TempDir()
		write(t, root, tc.files)
		cpus, by, known := New(root).Pods()
		if cpus.String() != tc.want || by != tc.by || known != (tc.want != "") {
			t.Errorf("%s: %q by %q, %t; want %q by %q", name, cpus, by, known, tc.want, tc.by)
		}
	}
}
