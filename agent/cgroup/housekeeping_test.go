package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

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
