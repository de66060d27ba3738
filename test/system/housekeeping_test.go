// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/machine"
)

// pooledVM asks for four CPUs: one for each vCPU, one for the IO thread, and one for the emulator.
const pooledVM = `{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vmi-pooled, namespace: vms}, spec: {
  schedulerName: corepin, terminationGracePeriodSeconds: 0, domain: {
    cpu: {cores: 2, dedicatedCpuPlacement: true, isolateEmulatorThread: true}, ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 1},
    devices: {disks: [{name: root, disk: {bus: virtio}}]}, resources: {limits: {memory: 64Mi}}}}}`

// keepHouseScript is virt-handler's part for a VM that isolates its emulator (pkg/hypervisor/kvm/runtime.go and
// pkg/virt-handler/cgroup/cgroup_v2_manager.go, KubeVirt 1.9). In cgroup $0 of the container it makes a threaded child with
// CPUs $1, and moves each thread there that is no vCPU. It knows vCPUs by their names, which have KVM; here they are emulated, and have TCG.
const keepHouseScript = `cd "$0"
mkdir -p housekeeping
echo threaded >housekeeping/cgroup.type
echo +cpuset >cgroup.subtree_control
echo "$1" >housekeeping/cpuset.cpus
while read -r thread; do
	read -r name </proc/$thread/comm || continue
	case $name in "CPU "*/KVM | "CPU "*/TCG) ;; *) echo $thread >housekeeping/cgroup.threads || true ;; esac
done <<END
$(cat cgroup.threads)
END`

// endHouseScript undoes that: runc 1.1.5 cannot delete a container with a threaded child.
const endHouseScript = `cd "$0"
[ -d housekeeping ] || exit 0
while read -r thread; do
	echo $thread >cgroup.threads || true
done <<END
$(cat housekeeping/cgroup.threads)
END
rmdir housekeeping
echo -cpuset >cgroup.subtree_control`

// keepsHouse checks what the agent does about threads that KubeVirt's cgroup keeps on the emulator's CPU. The IO thread has a
// CPU of its own that it cannot reach. The agent says so in an event, and it is no drift. The vCPUs stay where they are.
func (w *world) keepsHouse(ctx context.Context) {
	ginkgo.GinkgoHelper()
	v := w.create(ctx, "vmi-pooled", []byte(pooledVM))
	gomega.Expect(w.startGuest(ctx, v)).To(gomega.Succeed())
	gomega.Expect(w.awaitPinned(ctx, v)).To(gomega.Succeed())
	var emulator, ioThread string
	err := await.Every(ctx, glance, "emulator and IO thread of vmi-pooled to have a CPU each", limit, func(ctx context.Context) (err error) {
		emulator, ioThread, err = w.besideVCPUs(ctx, v)
		if err == nil && (emulator == ioThread || strings.ContainsAny(emulator+ioThread, ",-")) {
			err = fmt.Errorf("the emulator runs on %s, the IO thread on %s", emulator, ioThread)
		}
		return err
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	cgroup, err := cgroupOf(v.pod, "compute")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.DeferCleanup(func(ctx context.Context) error { // before the VM is removed
		_, err := v.node.Run(ctx, "sh", "-ec", endHouseScript, cgroup)
		return err
	})
	_, err = v.node.Run(ctx, "sh", "-ec", keepHouseScript, cgroup, emulator)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())

	want := fmt.Sprintf("IO thread 1 is confined to CPU %s by KubeVirt's housekeeping cgroup, and belongs on CPU %s", emulator, ioThread)
	_, err = w.awaitEvent(ctx, v, nil, "Confined", want)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(w.pinned(ctx, v)).To(gomega.Succeed())
	_, confined, err := w.besideVCPUs(ctx, v)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(confined).To(gomega.Equal(emulator), "the kernel keeps the IO thread there")
	report, err := w.Report(ctx, v.node.Name())
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(report.Status.Conditions).To(gomega.ContainElement(gomega.And(gomega.HaveField("Type", "Drifted"), gomega.HaveField("Status", metav1.ConditionFalse))))
	threads, err := v.node.GuestThreads(ctx, "vms_vmi-pooled")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.AddReportEntry("vmi-pooled", ginkgo.ReportEntryVisibilityAlways, describe("in KubeVirt's housekeeping cgroup with CPU "+emulator, threads))
}

// besideVCPUs are the CPUs of the emulator and of the IO thread.
func (w *world) besideVCPUs(ctx context.Context, v vm) (emulator, ioThread string, err error) {
	threads, err := v.node.GuestThreads(ctx, "vms_"+v.name)
	if err != nil {
		return "", "", err
	}
	find := func(is func(machine.Thread) bool) string {
		for _, thread := range threads {
			if is(thread) {
				return thread.CPUs
			}
		}
		return ""
	}
	emulator = find(func(t machine.Thread) bool { return t.Main })
	ioThread = find(func(t machine.Thread) bool { return strings.HasPrefix(t.Name, "IO iothread") })
	if emulator == "" || ioThread == "" {
		return "", "", fmt.Errorf("no emulator or no IO thread among %+v", threads)
	}
	return emulator, ioThread, nil
}
