//go:build system

package system

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/machine"
)

// runsVM is the mission: a shipped example, from kubectl apply to the pins in /proc.
func (w *world) runsVM(ctx context.Context, name string) {
	ginkgo.GinkgoHelper()
	example, err := manifests.FS.ReadFile("examples/" + name + ".yaml")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	v := w.create(ctx, name, example)
	gomega.Expect(v.pod.Status.QOSClass).To(gomega.Equal(corev1.PodQOSGuaranteed))
	gomega.Expect(w.awaitSidecarShared(ctx, v)).To(gomega.Succeed())
	w.startGuest(ctx, v)
	gomega.Expect(w.awaitPinned(ctx, v)).To(gomega.Succeed())
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

// vm is a VM whose pod has been admitted.
type vm struct {
	name    string
	pod     *corev1.Pod
	node    *machine.Machine
	granted cpuset.Set
}

// create applies a VMI, and holds the CPUs that its compute container is granted against those that were
// predicted from the report that its node had before.
func (w *world) create(ctx context.Context, name string, yaml []byte) vm {
	ginkgo.GinkgoHelper()
	before := map[string]*v1alpha1.NodeCPU{}
	for node := range w.machines {
		gomega.Expect(w.awaitTrueReport(ctx, node)).To(gomega.Succeed())
		report, err := w.Report(ctx, node)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		before[node] = report
	}
	gomega.Expect(w.Apply(ctx, yaml)).To(gomega.Succeed())
	pod, err := w.awaitRunning(ctx, name)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	predicted, err := predict(before[pod.Spec.NodeName], pod)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	m := w.machines[pod.Spec.NodeName]
	state, err := readCheckpoint(ctx, m)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	granted, err := state.granted(string(pod.UID))
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(granted).To(gomega.HaveLen(1), "only compute gets CPUs of its own")
	gomega.Expect(granted["compute"].String()).To(gomega.Equal(predicted.String()), "granted by the kubelet, and predicted")
	say("%s: on %s, predicted %s, granted %s", name, m.Name(), predicted, granted["compute"])
	return vm{name: name, pod: pod, node: m, granted: granted["compute"]}
}

// predict is what the kubelet will grant to a pod, from its node's report.
func predict(report *v1alpha1.NodeCPU, pod *corev1.Pod) (cpuset.Set, error) {
	node, err := nodereport.Node(report)
	if err != nil {
		return cpuset.Set{}, err
	}
	asked := kubeletcpu.PodOf(pod)
	if why := node.Inexact(asked); why != "" {
		return cpuset.Set{}, fmt.Errorf("not predictable: %s", why)
	}
	decision := kubeletcpu.Admit(node, &asked)
	if decision.Verdict != kubeletcpu.Admitted {
		return cpuset.Set{}, fmt.Errorf("predicted: %s", decision)
	}
	return decision.Granted(), nil
}

// awaitRunning waits until the containers of a VMI's pod run.
func (w *world) awaitRunning(ctx context.Context, name string) (pod *corev1.Pod, err error) {
	err = await.Every(ctx, pause, "the pod of "+name+" to run", limit, func(ctx context.Context) error {
		if pod, err = w.PodOf(ctx, name); err != nil {
			return err
		}
		switch pod.Status.Phase {
		case corev1.PodRunning:
			return nil
		case corev1.PodFailed:
			return await.Stop(fmt.Errorf("pod %s failed: %s: %s", pod.Name, pod.Status.Reason, pod.Status.Message))
		}
		return fmt.Errorf("pod %s is %s: %v %v", pod.Name, pod.Status.Phase, pod.Status.Conditions, pod.Status.ContainerStatuses)
	})
	return pod, err
}

// startGuest is virt-handler's part: the guest of the VMI runs in its pod.
func (w *world) startGuest(ctx context.Context, v vm) {
	ginkgo.GinkgoHelper()
	spec, ok := w.GuestOf(v.pod)
	gomega.Expect(ok).To(gomega.BeTrue(), "pod %s is of no VMI", v.pod.Name)
	xml, err := guest.DomainXML(spec)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	err = await.Every(ctx, pause, "libvirt of "+v.name+" to run its guest", limit, func(ctx context.Context) error {
		return v.node.StartGuest(ctx, v.pod.UID, xml)
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
}

// awaitPinned waits until a VM is pinned.
func (w *world) awaitPinned(ctx context.Context, v vm) error {
	return await.Every(ctx, pause, "the vCPUs of "+v.name+" to be pinned", limit, func(ctx context.Context) error { return w.pinned(ctx, v) })
}

// pinned tells whether every vCPU thread may run on one CPU, a granted one and its own, and libvirt says
// the same.
func (w *world) pinned(ctx context.Context, v vm) error {
	spec, ok := w.GuestOf(v.pod)
	if !ok {
		return fmt.Errorf("pod %s is of no VMI", v.pod.Name)
	}
	pins, err := virshPins(ctx, v, spec.Name)
	if err != nil {
		return err
	}
	threads, err := v.node.GuestThreads(ctx, spec.Name)
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

// awaitSidecarShared waits until the processes of the hook sidecar run on the shared pool, and on nothing
// else.
func (w *world) awaitSidecarShared(ctx context.Context, v vm) error {
	return await.Every(ctx, pause, "the hook sidecar of "+v.name+" to be in the shared pool", limit, func(ctx context.Context) error {
		pod, err := w.PodOf(ctx, v.name)
		if err != nil {
			return err
		}
		state, err := readCheckpoint(ctx, v.node)
		if err != nil {
			return err
		}
		for _, container := range pod.Status.ContainerStatuses {
			if container.Name != "hook-sidecar-0" {
				continue
			}
			id := strings.TrimPrefix(container.ContainerID, "containerd://")
			output, err := v.node.Shell(ctx, fmt.Sprintf("sed -n 's/^Cpus_allowed_list:\\t//p' /proc/$(ctr --namespace k8s.io tasks list | awk '$1 == \"%s\" {print $2}')/status", id))
			if err != nil {
				return err
			}
			return equalCPUs("CPUs of the sidecar", strings.TrimSpace(output), state.DefaultCPUSet)
		}
		return fmt.Errorf("pod %s has no hook sidecar: %v", pod.Name, pod.Status.ContainerStatuses)
	})
}
