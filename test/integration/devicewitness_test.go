// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/testbed"
)

// deviceWitness asks kubelets for memory and devices, too.
type deviceWitness struct{ witness }

// predictedIsGranted creates a pod on a node where nothing is in flight. What its containers are granted must be what was
// predicted from the node's report. It says what that was.
func (w deviceWitness) predictedIsGranted(ctx context.Context, pod *corev1.Pod, node string) string {
	ginkgo.GinkgoHelper()
	predicted := w.predicted(w.currentNode(ctx, node), pod)
	create(ctx, w.bed, pod)
	eventuallyRunning(ctx, w.bed, []string{pod.Name}, node)
	running, err := w.bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, pod.Name, metav1.GetOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(w.grantedTo(ctx, running)).To(gomega.Equal(predicted), "%s on %s", pod.Name, node)
	return fmt.Sprintf("%-18s %s", pod.Name, strings.Join(predicted, ", "))
}

// currentNode is what a node's report says, once it has all pods that run there, each with all that it asks for. What pods hold
// that have gone is free: the kubelet takes it back when it admits the next one.
func (w deviceWitness) currentNode(ctx context.Context, node string) *admission.Node {
	ginkgo.GinkgoHelper()
	var report *v1alpha1.NodeCPU
	var gone []types.UID
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pods, err := podsOf(ctx, w.bed)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		report, err = w.bed.Report(ctx, node)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		var cpus, memory, devices []string
		for i := range pods {
			if pods[i].Spec.NodeName != node {
				continue
			}
			cpus = append(cpus, string(pods[i].UID))
			memory = append(memory, string(pods[i].UID))
			if _, asks := pods[i].Spec.Containers[0].Resources.Limits[vf]; asks {
				devices = append(devices, string(pods[i].UID))
			}
		}
		only := func(kind v1alpha1.NodeCPUStatus) []string { return holders(&v1alpha1.NodeCPU{Status: kind}) }
		status := &report.Status
		g.Expect(only(v1alpha1.NodeCPUStatus{Granted: status.Granted})).To(gomega.ContainElements(cpus))
		g.Expect(only(v1alpha1.NodeCPUStatus{MemoryManager: status.MemoryManager})).To(gomega.ContainElements(memory))
		g.Expect(only(v1alpha1.NodeCPUStatus{Devices: status.Devices})).To(gomega.ContainElements(devices))
		gone = nil
		for _, uid := range holders(report) {
			if !slices.Contains(cpus, uid) {
				gone = append(gone, types.UID(uid))
			}
		}
	}).WithTimeout(deadline).Should(gomega.Succeed())
	read := nodereport.Read(report)
	gomega.Expect(read.State).To(gomega.Equal(nodereport.Exact), read.Why)
	return read.Without(gone)
}

// predicted is what a pod's containers will hold, one text for each kind and NUMA node.
func (w deviceWitness) predicted(node *admission.Node, pod *corev1.Pod) (all []string) {
	ginkgo.GinkgoHelper()
	asked := admission.PodOf(pod)
	gomega.Expect(node.Inexact(asked)).To(gomega.BeEmpty())
	decision := admission.Admit(node, &asked)
	gomega.Expect(decision.Verdict).To(gomega.Equal(admission.Admitted), "%s: %s", pod.Name, decision)
	places := func(mask topologymanager.Mask) (ids []int) {
		for ; mask != 0; mask = mask.Rest() {
			ids = append(ids, node.Topology.NUMANodes()[mask.First()].ID)
		}
		return ids
	}
	for _, grant := range decision.Grants {
		all = append(all, fmt.Sprintf("%s CPUs %s", grant.Container, grant.CPUs))
	}
	for _, held := range decision.Held.Memory {
		all = append(all, memoryText(held.Container, held.Type, held.Bytes, places(held.NUMANodes)))
	}
	for _, held := range decision.Held.Devices {
		all = append(all, fmt.Sprintf("%s %d %s of NUMA %v", held.Container, held.Devices, held.Resource, places(held.NUMANodes)))
	}
	slices.Sort(all)
	return all
}

func memoryText(container, kind string, bytes uint64, numaNodes []int) string {
	return fmt.Sprintf("%s %d MiB %s of NUMA %v", container, bytes>>20, kind, numaNodes)
}

// grantedTo is what the kubelet has given to a pod's containers, in the words of predicted: from its state files, and of devices
// from its podresources socket.
func (w deviceWitness) grantedTo(ctx context.Context, pod *corev1.Pod) []string {
	ginkgo.GinkgoHelper()
	cpus, err := w.readCheckpoint(pod.Spec.NodeName)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	memory, err := w.readMemory(pod.Spec.NodeName)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	var all []string
	for container, set := range cpus.GetCPUAssignments()[string(pod.UID)] {
		all = append(all, fmt.Sprintf("%s CPUs %s", container, set))
	}
	for container, blocks := range memory.GetMemoryAssignments()[string(pod.UID)] {
		for _, block := range blocks {
			all = append(all, memoryText(container, string(block.Type), block.Size, block.NUMAAffinity))
		}
	}
	for place, number := range w.devicesOf(ctx, pod) {
		all = append(all, fmt.Sprintf("%s %d %s of NUMA [%d]", place.container, number, place.resource, place.numaNode))
	}
	slices.Sort(all)
	return all
}

// numaNodesOf are the NUMA nodes from which a pod's compute container has anything.
func (w deviceWitness) numaNodesOf(ctx context.Context, pod *corev1.Pod) map[int]bool {
	ginkgo.GinkgoHelper()
	numaNodes := map[int]bool{}
	for _, numa := range w.bed.Nodes[pod.Spec.NodeName].Topology.NUMANodes() {
		for _, cpu := range w.granted(pod).List() {
			if numa.CPUs.Has(cpu) {
				numaNodes[numa.ID] = true
			}
		}
	}
	memory, err := w.readMemory(pod.Spec.NodeName)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	blocks := memory.GetMemoryBlocks(string(pod.UID), "compute")
	gomega.Expect(blocks).NotTo(gomega.BeEmpty())
	for _, block := range blocks {
		for _, id := range block.NUMAAffinity {
			numaNodes[id] = true
		}
	}
	devices := w.devicesOf(ctx, pod)
	gomega.Expect(devices).NotTo(gomega.BeEmpty())
	for place := range devices {
		numaNodes[int(place.numaNode)] = true
	}
	return numaNodes
}

// readMemory lets the kubelet's own code read a copy of a node's memory_manager_state.
func (w deviceWitness) readMemory(node string) (state.Reader, error) {
	const file = "memory_manager_state"
	original, err := os.ReadFile(filepath.Join(w.bed.Nodes[node].Sim.KubeletRootDir(), file))
	if err != nil {
		return nil, err
	}
	dir := ginkgo.GinkgoT().TempDir()
	if err := os.WriteFile(filepath.Join(dir, file), original, 0o600); err != nil {
		return nil, err
	}
	return state.NewCheckpointState(klog.Background(), dir, file, "Static")
}

// place is where a container has devices.
type place struct {
	container, resource string
	numaNode            int64
}

// devicesOf asks a kubelet over its podresources socket how many devices a pod's containers hold, by NUMA node.
func (w deviceWitness) devicesOf(ctx context.Context, pod *corev1.Pod) map[place]int {
	ginkgo.GinkgoHelper()
	socket := filepath.Join(w.bed.Nodes[pod.Spec.NodeName].Sim.KubeletRootDir(), "pod-resources", "kubelet.sock")
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	defer connection.Close()
	answer, err := podresources.NewPodResourcesListerClient(connection).List(ctx, &podresources.ListPodResourcesRequest{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	held := map[place]int{}
	for _, resources := range answer.GetPodResources() {
		if resources.GetNamespace() != pod.Namespace || resources.GetName() != pod.Name {
			continue
		}
		for _, container := range resources.GetContainers() {
			for _, devices := range container.GetDevices() {
				for _, node := range devices.GetTopology().GetNodes() {
					held[place{container.GetName(), devices.GetResourceName(), node.GetID()}] += len(devices.GetDeviceIds())
				}
			}
		}
	}
	return held
}
