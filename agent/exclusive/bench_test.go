// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2/ktesting"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

const (
	benchPods       = 500
	benchContainers = 3
	benchVMs        = 50
)

// realRoot makes a real cgroup to make others in, where this machine has the controller cpuset and lets us.
func realRoot(b *testing.B) (mount, root string) {
	mount = "/sys/fs/cgroup"
	for _, base := range []string{"cpuset", ""} {
		root = filepath.Join(mount, base, fmt.Sprintf("corepin-bench-%d", os.Getpid()))
		_, err := os.Stat(filepath.Join(mount, base, "cpuset.cpus"))
		if err == nil && os.Mkdir(root, 0o755) == nil {
			return mount, root
		}
	}
	b.Skip("SKIPPED: no cgroup with a cpuset can be made")
	return "", ""
}

// fileRoot makes a directory that looks like cgroup v2.
func fileRoot(b *testing.B) (mount, root string) {
	mount = b.TempDir()
	if err := os.WriteFile(mount+"/cgroup.controllers", nil, 0o644); err != nil {
		b.Fatal(err)
	}
	fill(b, mount)
	return mount, mount
}

// fill makes files say that every CPU may be used, and that somebody does.
func fill(b *testing.B, dir string) {
	err := errors.Join(os.WriteFile(dir+"/cpuset.cpus.effective", []byte("0-7\n"), 0o644), os.WriteFile(dir+"/cgroup.events", []byte("populated 1\n"), 0o644))
	if err != nil {
		b.Fatal(err)
	}
}

// grow makes the cgroups of 500 pods of three containers and a sandbox each, and of 60 services.
func grow(b *testing.B, root string, real bool) {
	made := []string{root}
	b.Cleanup(func() {
		for n := len(made) - 1; n >= 0 && real; n-- {
			_ = os.Remove(made[n])
		}
	})
	add := func(parts ...string) {
		dir := filepath.Join(append([]string{root}, parts...)...)
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if !real {
			fill(b, dir)
		}
		made = append(made, dir)
	}
	add("kubepods")
	for n := range benchPods {
		uid := "pod" + uidOfPod(n)
		add("kubepods", uid)
		for c := range benchContainers + 1 {
			add("kubepods", uid, fmt.Sprintf("%064x", n*10+c))
		}
	}
	add("system.slice")
	for n := range 60 {
		add("system.slice", fmt.Sprintf("s%d.service", n))
	}
}

func uidOfPod(n int) string { return fmt.Sprintf("3f1c7f0a-1111-4000-8000-%012d", n) }

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // it cannot fail for oneself
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkLook is the cost of a look on a node with 500 pods of three containers, 50 of them VMs. One look a minute may
// take 60 ms, to be 0.1 % of a core. The metric is CPU time, of the process and of the kernel for it. The real cgroups
// have no processes, so that nobody may run anywhere; in the files everybody may run everywhere.
func BenchmarkLook(b *testing.B) {
	b.Run("real cgroups", func(b *testing.B) {
		mount, root := realRoot(b)
		grow(b, root, true)
		benchmarkLook(b, mount)
	})
	b.Run("everybody everywhere", func(b *testing.B) {
		mount, root := fileRoot(b)
		grow(b, root, false)
		benchmarkLook(b, mount)
	})
}

func benchmarkLook(b *testing.B, mount string) {
	grants := Grants{}
	var pods []*corev1.Pod
	for n := range benchPods {
		p := pod("vms", fmt.Sprint(n), "a", "b", "c")
		if n < benchVMs {
			p = launcherPod(fmt.Sprint(n))
			grants[types.UID(uidOfPod(n))] = map[string]cpuset.Set{"compute": set(fmt.Sprint(n % 8))}
		}
		p.UID = types.UID(uidOfPod(n))
		for c := range p.Status.ContainerStatuses {
			p.Status.ContainerStatuses[c].ContainerID = fmt.Sprintf("containerd://%064x", n*10+c)
		}
		pods = append(pods, p)
	}
	reader := cgroup.New(mount)
	w := New(Options{
		Cgroups: cgroup.NewScanner(mount), PodCPUs: reader.Pods, Usage: reader.Usage, Times: hostcpu.TimesIn("/proc"), Topology: func() *cputopology.Topology { return nil }, Clock: clock.RealClock{}, Pods: func() []*corev1.Pod { return pods },
		Granted: func() (Grants, bool) { return grants, true }, ReconcilePeriod: func() time.Duration { return time.Second },
	})
	_, ctx := ktesting.NewTestContext(b)
	for name, last := range map[string]func(){"all": func() { w.looked = time.Time{} }, "one of each VM": func() {}} {
		b.Run(name, func(b *testing.B) {
			before := cpuTime()
			for b.Loop() {
				last()
				w.step(ctx)
			}
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N)/1000, "cpu-ms/look")
			if w.err != nil {
				b.Fatal(w.err)
			}
		})
	}
}
