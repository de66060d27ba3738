// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/await"
)

// runsVM is the mission: a shipped example, from kubectl apply to the pins in /proc.
func (w *world) runsVM(ctx context.Context, name string) {
	ginkgo.GinkgoHelper()
	example, err := manifests.FS.ReadFile("examples/v1alpha2/" + name + ".yaml")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	v := w.create(ctx, name, example)
	gomega.Expect(v.pod.Status.QOSClass).To(gomega.Equal(corev1.PodQOSGuaranteed))
	gomega.Expect(w.awaitSidecarShared(ctx, v)).To(gomega.Succeed())
	gomega.Expect(w.startGuest(ctx, v)).To(gomega.Succeed())
	gomega.Expect(w.awaitPinned(ctx, v)).To(gomega.Succeed())
	threads, err := v.node.GuestThreads(ctx, "vms_"+name)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.AddReportEntry(name, ginkgo.ReportEntryVisibilityAlways, describe("predicted = granted = "+v.granted.String()+" on "+v.node.Name(), threads))
}

// create makes a VM that runs, but for its guest, and is gone after the spec.
func (w *world) create(ctx context.Context, name string, yaml []byte) vm {
	ginkgo.GinkgoHelper()
	ginkgo.DeferCleanup(func(ctx context.Context) error { return w.remove(ctx, name) })
	v, err := w.grant(ctx, name, yaml, slices.Collect(maps.Keys(w.machines))...)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(w.awaitRunning(ctx, &v)).To(gomega.Succeed())
	return v
}

// isolatedVM asks for three CPUs: one for each vCPU, and one that the emulator and the IO thread share.
const isolatedVM = `{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vmi-isolated, namespace: vms}, spec: {
  schedulerName: corepin, terminationGracePeriodSeconds: 0, domain: {
    cpu: {cores: 2, dedicatedCpuPlacement: true, isolateEmulatorThread: true}, ioThreadsPolicy: shared,
    devices: {disks: [{name: root, disk: {bus: virtio}}]}, resources: {limits: {memory: 64Mi}}}}}`

// runsIsolatedVM holds emulator and IO thread to the one CPU that no vCPU has. The agent is held up while the
// guest starts, so that the threads can be seen as libvirt leaves them by itself.
func (w *world) runsIsolatedVM(ctx context.Context) {
	ginkgo.GinkgoHelper()
	v := w.create(ctx, "vmi-isolated", []byte(isolatedVM))
	gomega.Expect(v.granted.Len()).To(gomega.Equal(3))
	gomega.Expect(signalAgent(ctx, v.node, "STOP")).To(gomega.Succeed())
	err := w.startGuest(ctx, v)
	before, readErr := v.node.GuestThreads(ctx, "vms_vmi-isolated")
	gomega.Expect(errors.Join(err, readErr, signalAgent(ctx, v.node, "CONT"))).To(gomega.Succeed())
	ginkgo.AddReportEntry("before", ginkgo.ReportEntryVisibilityAlways, describe("granted "+v.granted.String()+" on "+v.node.Name(), before))
	gomega.Expect(unpinned(before, v.granted)).To(gomega.Succeed())
	err = await.Every(ctx, glance, "emulator and IO thread of vmi-isolated to have their CPU", limit, func(ctx context.Context) error {
		if err := w.pinned(ctx, v); err != nil {
			return err
		}
		threads, err := v.node.GuestThreads(ctx, "vms_vmi-isolated")
		if err != nil {
			return err
		}
		return isolated(threads, v.granted)
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	after, err := v.node.GuestThreads(ctx, "vms_vmi-isolated")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.AddReportEntry("after", ginkgo.ReportEntryVisibilityAlways, describe("pinned by the agent", after))
}

// refusesAtApply applies the examples that must be rejected.
func (w *world) refusesAtApply(ctx context.Context) {
	ginkgo.GinkgoHelper()
	files, err := fs.Glob(manifests.FS, "examples/rejected/*.yaml")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(files).NotTo(gomega.BeEmpty())
	for _, file := range files {
		example, err := manifests.FS.ReadFile(file)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(w.Apply(ctx, example)).To(gomega.MatchError(gomega.ContainSubstring("ValidatingAdmissionPolicy")), file)
	}
}
