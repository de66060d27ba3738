// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	uid = "3f1c7f0a-1111-4000-8000-000000000001"
	id  = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: uid},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "compute", ContainerID: "containerd://" + id}, {Name: "starting"},
		}},
	}
}

func TestCPUs(t *testing.T) {
	const systemdPod = "kubepods-pod3f1c7f0a_1111_4000_8000_000000000001.slice"
	for name, tc := range map[string]struct {
		file, text string
		want       string // "" for not known
		fails      bool
	}{
		"cgroupfs":             {"kubepods/pod" + uid + "/" + id + "/cpuset.cpus.effective", "2-3\n", "2-3", false},
		"systemd":              {"kubepods.slice/" + systemdPod + "/cri-containerd-" + id + ".scope/cpuset.cpus.effective", "4\n", "4", false},
		"burstable":            {"kubepods/burstable/pod" + uid + "/" + id + "/cpuset.cpus.effective", "0-1\n", "0-1", false},
		"below another parent": {"kubelet.slice/kubelet-kubepods.slice/kubelet-" + systemdPod + "/crio-" + id + ".scope/cpuset.cpus.effective", "1\n", "1", false},
		"cgroup v1":            {"cpuset/kubepods/pod" + uid + "/" + id + "/cpuset.cpus", "5,7\n", "5,7", false},
		"another pod":          {"kubepods/pod0/" + id + "/cpuset.cpus.effective", "2\n", "", false},
		"another container":    {"kubepods/pod" + uid + "/abc/cpuset.cpus.effective", "2\n", "", false},
		"empty":                {"kubepods/pod" + uid + "/" + id + "/cpuset.cpus.effective", "\n", "", false},
		"no cpuset controller": {"kubepods/pod" + uid + "/" + id + "/cpu.max", "max\n", "", false},
		"garbage":              {"kubepods/pod" + uid + "/" + id + "/cpuset.cpus.effective", "two\n", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			file := filepath.Join(root, tc.file)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(tc.text), 0o644); err != nil {
				t.Fatal(err)
			}
			cpus, known, err := New(root).CPUs(pod(), "compute")
			if (err != nil) != tc.fails || known != (tc.want != "") || cpus.String() != tc.want {
				t.Errorf("CPUs = %q, %t, %v; want %q", cpus, known, err, tc.want)
			}
			if _, known, err := New(root).CPUs(pod(), "starting"); known || err != nil {
				t.Errorf("a container without an id: known %t, error %v", known, err)
			}
		})
	}
	if _, known, err := New(filepath.Join(t.TempDir(), "missing")).CPUs(pod(), "compute"); known || err != nil {
		t.Errorf("without cgroups: known %t, error %v", known, err)
	}
}

// Cgroup v1 has the container once below each controller, and the cpuset is not the first of them.
func TestCPUsAmongTheControllersOfV1(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{"blkio/%/tasks": "", "cpu,cpuacct/%/cpu.shares": "2048\n", "cpuset/%/cpuset.cpus": "5,7\n", "memory/%/tasks": ""} {
		file = filepath.Join(root, strings.Replace(file, "%", "kubepods/pod"+uid+"/"+id, 1))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if cpus, known, err := New(root).CPUs(pod(), "compute"); cpus.String() != "5,7" || !known || err != nil {
		t.Errorf("CPUs = %q, %t, %v; want 5,7", cpus, known, err)
	}
}
