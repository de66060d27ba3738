// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

// kernelNode has the cgroups of a node in a real kernel: those of VM db on CPU 1, and of other pods on CPU 0.
type kernelNode struct {
	t     *testing.T
	mount string // what the agent sees
	base  string // of the controller
	root  string // of what the test makes
	made  []string
}

// need skips a test for want of something, unless nothing may be skipped.
func need(t *testing.T, ok bool, missing string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("COREPIN_REQUIRE_ALL") == "1":
		t.Fatalf("%s, and COREPIN_REQUIRE_ALL=1 does not allow to skip", missing)
	default:
		t.Skipf("SKIPPED: %s", missing)
	}
}

func newKernelNode(t *testing.T) *kernelNode {
	k := &kernelNode{t: t, mount: "/sys/fs/cgroup", base: "/sys/fs/cgroup/cpuset"}
	need(t, os.Geteuid() == 0, "cgroups are root's to make: run it as root")
	if _, err := os.Stat(filepath.Join(k.mount, "cgroup.controllers")); err == nil {
		k.base = k.mount
	}
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	need(t, err == nil && strings.HasPrefix(string(online), "0-"), "CPUs 0 and 1 are not online")
	k.root = filepath.Join(k.base, fmt.Sprintf("corepin-exclusive-%d", os.Getpid()))
	t.Cleanup(func() {
		for n := len(k.made) - 1; n >= 0; n-- {
			_ = os.Remove(k.made[n])
		}
	})
	need(t, k.make(k.root) == nil, "no cgroup with a cpuset can be made in "+k.base)
	return k
}

// make makes a cgroup that may use what its parent may.
func (k *kernelNode) make(dir string) error {
	parent := filepath.Dir(dir)
	if k.base == k.mount {
		if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+cpuset"), 0o644); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	k.made = append(k.made, dir)
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			continue // the root of v2 has none
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// confine writes the cpuset of a cgroup below the root, as a kubelet's runtime does.
func (k *kernelNode) confine(name, cpus string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.root, name, "cpuset.cpus"), []byte(cpus), 0o644); err != nil {
		k.t.Fatal(err)
	}
}

// run starts a process in a new cgroup with that cpuset. It ends with the test.
func (k *kernelNode) run(name, cpus string) {
	k.t.Helper()
	dir := k.root
	for part := range strings.SplitSeq(name, "/") {
		dir = filepath.Join(dir, part)
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		if err := k.make(dir); err != nil {
			k.t.Fatal(err)
		}
	}
	k.confine(name, cpus)
	command := exec.Command("sleep", "600")
	if err := command.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		_ = command.Process.Kill() // it runs for longer than the test
		_ = command.Wait()
	})
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(fmt.Sprint(command.Process.Pid)), 0o644); err != nil {
		k.t.Fatal(err)
	}
}

// A kernel's own cgroups, from the start of a VM to faults and their end; only the time is the bubble's.
func TestWithAKernel(t *testing.T) {
	k := newKernelNode(t)
	k.run("kubepods/podweb/web-c", "0-1")
	k.run("kubepods/podweb/web-sandbox", "0-1")
	play(t, func(b *bench) {
		b.options.Cgroups = cgroup.NewScanner(k.mount)
		b.add(pod("vms", "web", "c"), "")
		b.add(launcherPod("db"), "1")
		k.run("kubepods/poddb/db-compute", "1")
		says := func(what string, state State, others, reason string) {
			t.Helper()
			v, c := b.Of("db", cpuset.Of(1)), b.Condition()
			if v.State != state || v.Others != others || c.Reason != reason {
				t.Errorf("%s: state %d with %q, %s: %s; want state %d with %q, %s", what, v.State, v.Others, c.Reason, c.Message, state, others, reason)
			}
		}
		pass(fold)
		const web = "1 container of the shared pool (vms/web c)"
		says("a VM has come", Shared, web, ReasonNobodyElse)
		pass(5 * time.Second)
		k.confine("kubepods/podweb/web-c", "0")
		pass(again)
		says("the kubelet has reconciled", Alone, web, ReasonNobodyElse)
		pass(time.Hour)
		says("an hour later", Alone, web, ReasonNobodyElse)

		k.confine("kubepods/podweb/web-c", "0-1")
		began := time.Now()
		for b.Of("db", cpuset.Of(1)).State == Alone && time.Since(began) < 2*period {
			pass(again)
		}
		t.Logf("a rewritten cpuset was seen after %s", time.Since(began))
		says("a cpuset was rewritten", Shared, web, ReasonNobodyElse)
		pass(reconciles * 10 * time.Second)
		says("and stays so", Shared, web, v1alpha1.ReasonContainers)
		k.confine("kubepods/podweb/web-c", "0")
		pass(againLate)
		says("it is right again", Alone, web, ReasonNobodyElse)

		k.run("system.slice/loop.service", "0-1")
		pass(period)
		says("a service", Alone, web, ReasonHostServices)
		if c := b.Condition(); !strings.Contains(c.Message, "loop.service") {
			t.Errorf("the condition does not name the service: %s", c.Message)
		}
		b.mu.Lock()
		b.pods, b.grants = []*corev1.Pod{}, nil
		b.mu.Unlock()
		b.Trigger()
		pass(fold)
		if c := b.Condition(); c.Reason != ReasonNobodyElse {
			t.Errorf("without VMs: %s: %s", c.Reason, c.Message)
		}
	})
}
