// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/vmi"
)

// v1CPUSets is where the cpuset controller of cgroup v1 is mounted, and unified where v2 is.
const (
	v1CPUSets = "/sys/fs/cgroup/cpuset"
	unified   = "/sys/fs/cgroup"
)

// containerCgroup is a real cgroup of a compute container, with KubeVirt's child in it.
type containerCgroup struct {
	root  string // what stands for the mount
	dir   string
	child string
	v1    bool
}

// newContainerCgroup makes one for the VM's container, and moves the process into it. It goes when the test ends.
func newContainerCgroup(t *testing.T, vm string, pid int, cpus cpuset.Set) *containerCgroup {
	t.Helper()
	require(t, os.Geteuid() == 0, "cgroups are root's to make")
	c := &containerCgroup{}
	_, err := os.Stat(filepath.Join(v1CPUSets, "cpuset.cpus"))
	c.v1 = err == nil
	mount := unified
	if c.v1 {
		mount = v1CPUSets
	}
	c.root = filepath.Join(mount, "corepin-test-"+strconv.Itoa(os.Getpid()))
	c.dir = filepath.Join(c.root, "kubepods", "pod"+string(podUID(vm)), containerID)
	c.child = filepath.Join(c.dir, "housekeeping")
	t.Cleanup(func() {
		_ = os.WriteFile(filepath.Join(mount, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644) // the guest still runs
		for dir := c.child; dir != mount; dir = filepath.Dir(dir) {
			_ = os.Remove(dir)
		}
	})
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := c.root; ; dir = filepath.Join(dir, "kubepods") {
		c.open(t, dir, cpus)
		if dir == filepath.Join(c.root, "kubepods") {
			break
		}
	}
	c.open(t, filepath.Dir(c.dir), cpus)
	c.open(t, c.dir, cpus)
	write(t, filepath.Join(c.dir, "cgroup.procs"), strconv.Itoa(pid))
	if err := os.Mkdir(c.child, 0o755); err != nil {
		t.Fatal(err)
	}
	if !c.v1 {
		write(t, filepath.Join(c.child, "cgroup.type"), "threaded")
		write(t, filepath.Join(c.dir, "cgroup.subtree_control"), "+cpuset")
	}
	return c
}

// open gives a cgroup its CPUs.
func (c *containerCgroup) open(t *testing.T, dir string, cpus cpuset.Set) {
	t.Helper()
	if c.v1 {
		write(t, filepath.Join(dir, "cpuset.mems"), "0")
	} else {
		write(t, filepath.Join(filepath.Dir(dir), "cgroup.subtree_control"), "+cpuset")
	}
	write(t, filepath.Join(dir, "cpuset.cpus"), cpus.String())
}

// keep lets the child have these CPUs, and moves a thread into it, as virt-handler does.
func (c *containerCgroup) keep(t *testing.T, thread int, cpus cpuset.Set) {
	t.Helper()
	file := "cgroup.threads"
	if c.v1 {
		file = "tasks"
		write(t, filepath.Join(c.child, "cpuset.mems"), "0")
	}
	write(t, filepath.Join(c.child, "cpuset.cpus"), cpus.String())
	write(t, filepath.Join(c.child, file), strconv.Itoa(thread))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// containerID is the runtime's id of the compute container.
const containerID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// TestHousekeepingCgroup moves threads of a real QEMU into a child cgroup, as virt-handler does for a VM that isolates its
// emulator. The kernel then refuses their pins. An IO thread that is caught is told once, and a vCPU by an event of its own.
func TestHousekeepingCgroup(t *testing.T) {
	l, xml, cpus := startQEMU(t)
	l.create(t, xml)
	first, second := cpuset.Of(cpus[0]), cpuset.Of(cpus[1])
	both := first.Union(second)
	c := newContainerCgroup(t, "db", l.guestPID(t, "vms_db"), both)
	pool, err := vmi.Decode([]byte("apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: db, namespace: vms}\n" +
		"spec: {domain: {cpu: {cores: 1, dedicatedCpuPlacement: true}, ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 1}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	settings := config.Pinning{Mode: config.PinningEnforce, Deadline: metav1.Duration{Duration: 10 * time.Second}, VerifyPeriod: metav1.Duration{Duration: 200 * time.Millisecond}}
	options, told := optionsOf(t, settings, l.kubelet, map[string]cpuset.Set{"db": both}, pool)
	withID := launcherPod("db", both.Len())
	withID.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "compute", ContainerID: "containerd://" + containerID}}
	reader := cgroup.New(c.root)
	options.CPUSet = func(*corev1.Pod, string) (cpuset.Set, bool, error) { return reader.CPUs(withID, "compute") }
	options.Housekeeping = func(*corev1.Pod, string) (cpuset.Set, error) { return reader.Housekeeping(withID, "compute") }
	controller := pinning.New(options)
	run(t, controller)
	on := func(want map[string]cpuset.Set) func() error {
		return func() error { return same(l.threads(t, "vms_db"), want) }
	}
	await(t, "the threads to be pinned", on(map[string]cpuset.Set{"CPU 0/TCG": first, "IO iothread1": second}))
	await(t, "the event", func() error { return told.has(pinning.EventPinned, "") })

	c.keep(t, l.threadID(t, "vms_db", "IO iothread1"), first)
	await(t, "the confined IO thread to be told", func() error {
		return told.has(pinning.EventConfined, fmt.Sprintf("IO thread 1 is confined to CPU %s by KubeVirt's housekeeping cgroup, and belongs on CPU %s", first, second))
	})
	<-time.After(10 * settings.VerifyPeriod.Duration)
	if events := told.list(); len(events) != 2 {
		t.Errorf("told %q, want the pins and the confined thread, once each", events)
	}
	if condition := controller.Condition(); condition == nil || condition.Status != metav1.ConditionFalse {
		t.Errorf("a confined IO thread is no drift: %+v", condition)
	}

	// The child moves to the IO thread's CPU, and catches the vCPU, as a hot-plugged or an emulated one.
	c.keep(t, l.threadID(t, "vms_db", "CPU 0/TCG"), second)
	await(t, "the caught vCPU to be told", func() error {
		return told.has(pinning.EventVCPUConfined, fmt.Sprintf("vCPU 0 is confined to CPU %s by KubeVirt's housekeeping cgroup, and belongs on CPU %s", second, first))
	})
	<-time.After(10 * settings.VerifyPeriod.Duration)
	if err := told.count(pinning.EventCannotPin, 0); err != nil {
		t.Error(err)
	}
	await(t, "condition Drifted to name it", func() error {
		if condition := controller.Condition(); condition.Status != metav1.ConditionTrue {
			return fmt.Errorf("%+v", condition)
		}
		return nil
	})
	t.Logf("told %q", told.list())
}
