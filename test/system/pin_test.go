// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/machine"
)

// startGuest is virt-handler's part: the guest of the VMI runs in its pod.
func (w *world) startGuest(ctx context.Context, v vm) error {
	spec, ok := w.GuestOf(v.pod)
	if !ok {
		return fmt.Errorf("pod %s is of no VMI", v.pod.Name)
	}
	for _, container := range v.pod.Spec.Containers {
		pages := container.Resources.Limits[smallPage]
		if pages.Sign() > 0 {
			spec.PageKiB = smallKiB
			spec.MemoryMiB = int(pages.Value() >> 20)
		}
	}
	xml, err := guest.DomainXML(spec)
	if err != nil {
		return err
	}
	return await.Every(ctx, pause, "libvirt of "+v.name+" to run its guest", limit, func(ctx context.Context) error {
		return v.node.StartGuest(ctx, v.pod.UID, xml)
	})
}

// awaitPinned waits until a VM is pinned.
func (w *world) awaitPinned(ctx context.Context, v vm) error {
	return await.Every(ctx, glance, "the vCPUs of "+v.name+" to be pinned", limit, func(ctx context.Context) error { return w.pinned(ctx, v) })
}

// pinned reports whether every vCPU thread may run on one CPU, a granted one and its own, and libvirt says
// the same.
func (w *world) pinned(ctx context.Context, v vm) error {
	spec, ok := w.GuestOf(v.pod)
	if !ok {
		return fmt.Errorf("pod %s is of no VMI", v.pod.Name)
	}
	threads, err := v.node.GuestThreads(ctx, spec.Name)
	if err != nil {
		return err
	}
	pins, err := virshPins(ctx, v, spec.Name)
	if err != nil {
		return err
	}
	return checkPins(spec, v.granted, pins, threads)
}

// virshPins are the CPUs of each vCPU as libvirt has them.
func virshPins(ctx context.Context, v vm, domain string) (map[int]string, error) {
	output, err := v.node.Virsh(ctx, v.pod.UID, "", "vcpupin", domain)
	if err != nil {
		return nil, err
	}
	pins := map[int]string{}
	for _, line := range lines(output) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		if vcpu, err := strconv.Atoi(fields[0]); err == nil {
			pins[vcpu] = fields[1]
		}
	}
	return pins, nil
}

func checkPins(spec guest.Spec, granted cpuset.Set, pins map[int]string, threads []machine.Thread) error {
	var used cpuset.Set
	vcpus := 0
	for _, thread := range threads {
		allowed, err := cpuset.Parse(thread.CPUs)
		if err != nil {
			return err
		}
		if !allowed.SubsetOf(granted) {
			return fmt.Errorf("thread %+v may run on CPUs that are not granted (%s)", thread, granted)
		}
		number, isVCPU := strings.CutPrefix(thread.Name, "CPU ")
		if !isVCPU {
			continue
		}
		vcpus++
		vcpu, err := strconv.Atoi(strings.SplitN(number, "/", 2)[0])
		if err != nil {
			return err
		}
		if allowed.Len() != 1 || allowed.Overlaps(used) || pins[vcpu] != thread.CPUs {
			return fmt.Errorf("vCPU %d: /proc says %s, libvirt %q; other vCPUs have %s", vcpu, thread.CPUs, pins[vcpu], used)
		}
		used = used.Union(allowed)
	}
	if vcpus != spec.VCPUs {
		return fmt.Errorf("%d vCPU threads, want %d: %+v", vcpus, spec.VCPUs, threads)
	}
	return nil
}

// isolated reports whether the main thread, which is the emulator, and the IO thread run on the one CPU that
// the vCPUs leave of those granted. QEMU's helpers that ran before stay where they were: see agent/libvirt.
func isolated(threads []machine.Thread, granted cpuset.Set) error {
	var vcpus cpuset.Set
	others := map[string]string{}
	for _, thread := range threads {
		allowed, err := cpuset.Parse(thread.CPUs)
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(thread.Name, "CPU "):
			vcpus = vcpus.Union(allowed)
		case thread.Main:
			others["emulator"] = thread.CPUs
		case strings.HasPrefix(thread.Name, "IO iothread"):
			others["IO thread"] = thread.CPUs
		}
	}
	left := granted.Minus(vcpus).String()
	if want := map[string]string{"emulator": left, "IO thread": left}; !maps.Equal(others, want) {
		return fmt.Errorf("beside the vCPUs' %s: %v, want %v; threads %+v", vcpus, others, want, threads)
	}
	return nil
}

// unpinned reports whether all threads of a guest may run on all CPUs that are granted: nobody has pinned it.
func unpinned(threads []machine.Thread, granted cpuset.Set) error {
	var errs []error
	for _, thread := range threads {
		errs = append(errs, equalCPUs("CPUs of thread "+thread.Name, granted.String(), thread.CPUs))
	}
	return errors.Join(errs...)
}

// describe prints threads as a table.
func describe(title string, threads []machine.Thread) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n  %-28s %s\n", title, "thread", "Cpus_allowed_list")
	for _, thread := range threads {
		name := thread.Name
		if thread.Main {
			name += " (main)"
		}
		fmt.Fprintf(&text, "  %-28s %s\n", name, thread.CPUs)
	}
	return text.String()
}

// cgroupOf is the cgroup of a container of a Guaranteed pod, as seen from its machine.
func cgroupOf(pod *corev1.Pod, container string) (string, error) {
	for _, status := range pod.Status.ContainerStatuses {
		if id, ok := strings.CutPrefix(status.ContainerID, "containerd://"); ok && status.Name == container {
			return fmt.Sprintf("/sys/fs/cgroup/kubepods/pod%s/%s", pod.UID, id), nil
		}
	}
	return "", fmt.Errorf("container %s of pod %s does not run: %v", container, pod.Name, pod.Status.ContainerStatuses)
}

// allowedScript prints the CPUs that each process of cgroup $0 may use.
const allowedScript = `while read -r pid; do sed -n 's/^Cpus_allowed_list:\t//p' /proc/$pid/status; done <$0/cgroup.procs`

// awaitSidecarShared waits until the processes of the hook sidecar run on the shared pool, and on nothing
// else.
func (w *world) awaitSidecarShared(ctx context.Context, v vm) error {
	cgroup, err := cgroupOf(v.pod, "hook-sidecar-0")
	if err != nil {
		return err
	}
	return await.Every(ctx, glance, "the hook sidecar of "+v.name+" to be in the shared pool", limit, func(ctx context.Context) error {
		state, err := readCheckpoint(ctx, v.node)
		if err != nil {
			return err
		}
		output, err := v.node.Run(ctx, "sh", "-c", allowedScript, cgroup)
		if err != nil {
			return err
		}
		processes := lines(output)
		if len(processes) == 0 {
			return fmt.Errorf("no process in %s", cgroup)
		}
		for _, allowed := range processes {
			if err := equalCPUs("CPUs of the sidecar", state.DefaultCPUSet, allowed); err != nil {
				return err
			}
		}
		return nil
	})
}
