// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/utils/cpuset"

	"corepin.dev/corepin/test/harness/testbed"
)

// witness asks the outside, with none of the code that the story or corepin reads with.
type witness struct{ bed *testbed.Testbed }

// readCheckpoint lets the kubelet's own code read a node's cpu_manager_state. It works on a copy: that
// code may write.
func (w witness) readCheckpoint(node string) (state.Reader, error) {
	original, err := os.ReadFile(filepath.Join(w.bed.Nodes[node].Sim.KubeletRootDir(), "cpu_manager_state"))
	if err != nil {
		return nil, err
	}
	policy := regexp.MustCompile(`"policyName":"([a-z]+)"`).FindStringSubmatch(string(original))
	if policy == nil {
		return nil, fmt.Errorf("no policyName in %q", original)
	}
	dir := ginkgo.GinkgoT().TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cpu_manager_state"), original, 0o600); err != nil {
		return nil, err
	}
	return state.NewCheckpointState(klog.Background(), dir, "cpu_manager_state", policy[1], nil)
}

// tryGranted is what the kubelet of the pod's node has given the pod's compute container.
func (w witness) tryGranted(pod *corev1.Pod) (cpuset.CPUSet, error) {
	read, err := w.readCheckpoint(pod.Spec.NodeName)
	if err != nil {
		return cpuset.New(), err
	}
	cpus, found := read.GetCPUSet(string(pod.UID), "compute")
	if !found {
		return cpus, fmt.Errorf("the kubelet of %s has granted pod %s nothing", pod.Spec.NodeName, pod.Name)
	}
	return cpus, nil
}

func (w witness) granted(pod *corev1.Pod) cpuset.CPUSet {
	ginkgo.GinkgoHelper()
	cpus, err := w.tryGranted(pod)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return cpus
}

// noCPUTwice holds invariant 1 for every node: no CPU in two containers, none of them in the shared pool.
func (w witness) noCPUTwice() {
	ginkgo.GinkgoHelper()
	for node := range w.bed.Nodes {
		read, err := w.readCheckpoint(node)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		taken := read.GetDefaultCPUSet()
		for pod, containers := range read.GetCPUAssignments() {
			for container, cpus := range containers {
				both := taken.Intersection(cpus)
				gomega.Expect(both.IsEmpty()).To(gomega.BeTrue(), "node %s: CPUs %s of %s/%s are somebody else's too", node, both, pod, container)
				taken = taken.Union(cpus)
			}
		}
	}
}

// label is a node's label as kubectl shows it.
func (w witness) label(ctx context.Context, node string) string {
	ginkgo.GinkgoHelper()
	output, err := w.bed.Kubectl(ctx, "get", "node", node, "--output=jsonpath={.metadata.labels.cpumanager}/{.metadata.labels.kubevirt\\.io/cpumanager}")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return string(output)
}

// pod is the one launcher pod of a VM; two would be a doubled VM.
func (w witness) pod(ctx context.Context, vm string) *corev1.Pod {
	ginkgo.GinkgoHelper()
	pods, err := w.bed.Client().CoreV1().Pods("vms").List(ctx, metav1.ListOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	var found []corev1.Pod
	for _, pod := range pods.Items {
		if pod.Annotations["kubevirt.io/domain"] == vm {
			found = append(found, pod)
		}
	}
	gomega.Expect(found).To(gomega.HaveLen(1), "launcher pods of VM %s", vm)
	return &found[0]
}

// tryAffinity is where libvirt lets a VM's vCPUs run, from the XML of the live domain: vCPU to CPU list.
func (w witness) tryAffinity(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	node := w.bed.Nodes[pod.Spec.NodeName]
	link := filepath.Join(ginkgo.GinkgoT().TempDir(), "r")
	if err := os.Symlink(filepath.Join(node.Sim.KubeletRootDir(), "pods", string(pod.UID), "volumes", "kubernetes.io~empty-dir", "libvirt-runtime"), link); err != nil {
		return nil, err
	}
	driver := map[bool]string{true: "test+unix:///default", false: "qemu+unix:///session"}[node.GuestURI != ""]
	output, err := exec.CommandContext(ctx, "virsh", "--connect", driver+"?socket="+link+"/virtqemud-sock", "dumpxml", "vms_"+pod.Annotations["kubevirt.io/domain"]).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("virsh dumpxml: %w: %s", err, output)
	}
	pins := map[string]string{}
	for _, match := range regexp.MustCompile(`<vcpupin vcpu='(\d+)' cpuset='([^']+)'/>`).FindAllStringSubmatch(string(output), -1) {
		pins[match[1]] = match[2]
	}
	return pins, nil
}

func (w witness) affinity(ctx context.Context, pod *corev1.Pod) map[string]string {
	ginkgo.GinkgoHelper()
	pins, err := w.tryAffinity(ctx, pod)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return pins
}

// threads is where the kernel lets the vCPU threads of a QEMU guest run: vCPU to CPU list.
func (w witness) threads(vm string) map[string]string {
	ginkgo.GinkgoHelper()
	output, err := exec.Command("pgrep", "--full", "guest=vms_"+vm+",").Output()
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "no QEMU runs guest %s", vm)
	pid := strings.TrimSpace(string(output))
	tasks, err := os.ReadDir(filepath.Join("/proc", pid, "task"))
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	threads := map[string]string{}
	for _, task := range tasks {
		status, err := os.ReadFile(filepath.Join("/proc", pid, "task", task.Name(), "status"))
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		name := regexp.MustCompile(`(?m)^Name:\s+CPU (\d+)/`).FindStringSubmatch(string(status))
		if name == nil {
			continue
		}
		allowed := regexp.MustCompile(`(?m)^Cpus_allowed_list:\s+(\S+)$`).FindStringSubmatch(string(status))
		gomega.Expect(allowed).To(gomega.HaveLen(2), "%s", status)
		threads[name[1]] = allowed[1]
	}
	return threads
}

// pinnedWithin tells what keeps a map of vCPU to CPU list from being a pinning on the granted CPUs: n
// vCPUs, one CPU each, none twice.
func pinnedWithin(pins map[string]string, n int, granted cpuset.CPUSet) error {
	if len(pins) != n {
		return fmt.Errorf("%d of %d vCPUs are pinned: %v", len(pins), n, pins)
	}
	used := cpuset.New()
	for vcpu, list := range pins {
		cpus, err := cpuset.Parse(list)
		if err != nil {
			return err
		}
		if cpus.Size() != 1 || !cpus.IsSubsetOf(granted) || !cpus.Intersection(used).IsEmpty() {
			return fmt.Errorf("vCPU %s is on %s, granted are %s: %v", vcpu, list, granted, pins)
		}
		used = used.Union(cpus)
	}
	return nil
}
