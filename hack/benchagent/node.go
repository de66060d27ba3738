// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	kubecpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// The node.
const (
	nodeName      = "bench"
	machine       = "2 sockets x 1 numa x 64 cores x 2 threads"
	cpus          = 256
	pods          = 250
	exclusivePods = 100 // with two CPUs each
	settle        = time.Minute
)

// node is a node with its agent, and with the kubelet's own state code as its kubelet.
type node struct {
	bed   *testbed.Testbed
	agent *testbed.Node
	state state.State
	// devices are the kubelet's; uids are the pods with CPUs and devices.
	devices *kubeletDevices
	uids    []types.UID
	vms     *launchers
	cores   []kubecpuset.CPUSet // of the launcher pods
	free    kubecpuset.CPUSet   // the shared pool while the pod of the rounds is not there
	mine    kubecpuset.CPUSet   // what that pod gets
}

func newNode(ctx context.Context, bed *testbed.Testbed, dir string) (*node, error) {
	config, err := clientcmd.BuildConfigFromFlags("", bed.AdminKubeconfig())
	if err != nil {
		return nil, err
	}
	sim, err := simnode.New(simnode.Options{ // makes the tree; no kubelet runs over it
		Name: nodeName, Dir: filepath.Join(dir, "nodes", nodeName), Topology: cputopology.MustParse(machine), Config: config,
		Kubelet: simnode.KubeletSettings{CPUManagerPolicy: "static", ReservedSystemCPUs: "0,128", TopologyManagerPolicy: "single-numa-node"},
	})
	if err != nil {
		return nil, err
	}
	n := &node{bed: bed}
	if n.state, err = state.NewCheckpointState(klog.Background(), sim.KubeletRootDir(), "cpu_manager_state", "static", nil); err != nil {
		return nil, fmt.Errorf("making the kubelet's state: %w", err)
	}
	if err := n.fill(ctx, dir); err != nil {
		return n, err
	}
	if n.devices, err = newKubeletDevices(ctx, sim.KubeletRootDir(), n.uids); err != nil {
		return n, err
	}
	if err := n.vms.start(ctx, bed, sim.KubeletRootDir(), n.cores); err != nil {
		return n, err
	}
	machine := testbed.Machine{Name: nodeName, GuestURI: n.vms.uri, CgroupDir: n.vms.cgroups}
	if n.agent, err = bed.AddAgent(ctx, machine, sim); err != nil {
		return n, err
	}
	return n, errors.Join(bed.AwaitReport(ctx, nodeName), n.vms.awaitPinned(ctx, bed))
}

// stop ends the guests.
func (n *node) stop() error {
	if n == nil || n.vms == nil || n.vms.server == nil {
		return nil
	}
	return n.vms.server.Stop(context.Background())
}

// fill makes the Node and its pods. The first are launcher pods.
func (n *node) fill(ctx context.Context, dir string) error {
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if _, err := n.bed.Client().CoreV1().Nodes().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the node: %w", err)
	}
	// A patch, since the controllers write the Node as well.
	status, err := amounts()
	if err != nil {
		return err
	}
	if _, err := n.bed.Client().CoreV1().Nodes().Patch(ctx, nodeName, types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("writing the node's status: %w", err)
	}
	n.vms, err = newLaunchers(ctx, n.bed, dir)
	if err != nil {
		return err
	}
	assignments := state.ContainerCPUAssignments{}
	shared := kubecpuset.New()
	for id := range cpus {
		shared = shared.Union(kubecpuset.New(id))
	}
	for i := range pods {
		uid, err := n.pod(ctx, i)
		if err != nil {
			return err
		}
		if i >= exclusivePods {
			if err := n.vms.cgroup(uid, fmt.Sprintf("%064x", i), shared.String()); err != nil {
				return err
			}
			continue
		}
		core := kubecpuset.New(i+1, i+1+cpus/2)
		assignments[string(uid)] = map[string]kubecpuset.CPUSet{"compute": core}
		shared = shared.Difference(core)
		n.uids = append(n.uids, uid)
		if i < guests {
			n.cores = append(n.cores, core)
		}
	}
	n.state.SetCPUAssignments(assignments)
	n.state.SetDefaultCPUSet(shared)
	n.free, n.mine = shared, kubecpuset.New(exclusivePods+1, exclusivePods+1+cpus/2)
	return nil
}

// pod makes one of the node's pods, or gives the launcher pod that is there.
func (n *node) pod(ctx context.Context, i int) (types.UID, error) {
	if i < guests {
		return n.vms.pods[i].UID, nil
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", i), Namespace: testbed.VMNamespace},
		Spec: corev1.PodSpec{
			NodeName: nodeName, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "compute", Image: "none.invalid/none"}},
		},
	}
	made, err := n.bed.Client().CoreV1().Pods(testbed.VMNamespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("making a pod: %w", err)
	}
	return made.UID, nil
}

// podUID is the pod that starts in the even rounds and ends in the odd ones.
const podUID = types.UID("00000000-0000-0000-0000-00000000beec")

// toggle writes what a kubelet writes when a pod is admitted or removed: the devices first, then twice the CPUs, in the same
// order.
func (n *node) toggle(round int) error {
	if round%2 == 0 {
		if err := n.devices.write(n.devices.entry(podUID, vfCount-4)); err != nil {
			return err
		}
		n.state.SetDefaultCPUSet(n.free.Difference(n.mine))
		n.state.SetCPUSet(string(podUID), "compute", n.mine)
		return nil
	}
	if err := n.devices.write(); err != nil {
		return err
	}
	n.state.Delete(string(podUID), "compute")
	n.state.SetDefaultCPUSet(n.free)
	return nil
}

func (n *node) watchReport(ctx context.Context) (watch.Interface, error) {
	w, err := n.bed.Dynamic().Resource(v1alpha1.Resource).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + nodeName})
	if err != nil {
		return nil, fmt.Errorf("watching the report: %w", err)
	}
	return w, nil
}

// awaitSeen waits until the report says what the round has written.
func (n *node) awaitSeen(ctx context.Context, w watch.Interface, round int) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("round %d was not reported within %s; the agent's log ends: %s", round, settle, n.agent.Agent.LogTail())
		case event, open := <-w.ResultChan():
			if !open {
				return fmt.Errorf("the watch of the report ended in round %d", round)
			}
			report, err := testbed.DecodeReport(event.Object)
			if err != nil {
				return err
			}
			granted, want := false, round%2 == 0
			for _, pod := range report.Status.Granted {
				granted = granted || pod.PodUID == podUID
			}
			if granted == want && holdsDevices(report) == want && report.Status.SharedCPUs == n.state.GetDefaultCPUSet().String() {
				return nil
			}
		}
	}
}

// awaitUnheard waits until the scheduler has written that it does not hear from the agent.
func (n *node) awaitUnheard(ctx context.Context) error {
	return await.For(ctx, "condition Seen of the report", settle, func(ctx context.Context) error {
		report, err := n.bed.Report(ctx, nodeName)
		if err != nil {
			return err
		}
		if !meta.IsStatusConditionFalse(report.Status.Conditions, v1alpha1.ConditionSeen) {
			return fmt.Errorf("the conditions are %v", report.Status.Conditions)
		}
		return nil
	})
}

// holdsDevices reports whether the report has devices of the pod of the rounds.
func holdsDevices(report *v1alpha1.NodeCPU) bool {
	for _, resource := range report.Status.Devices {
		for _, held := range resource.Held {
			if slices.Contains(held.PodUIDs, podUID) {
				return true
			}
		}
	}
	return false
}

// writes counts the requests that changed, or were to change, a report or a Node's labels, as the API
// server does. Nobody but the agent makes such ones.
func (n *node) writes(ctx context.Context) (int, error) {
	text, err := n.bed.Client().Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	total := 0.0
	for line := range strings.Lines(string(text)) {
		reports := strings.Contains(line, `resource="nodecpus"`) && !strings.Contains(line, `verb="GET"`) &&
			!strings.Contains(line, `verb="LIST"`) && !strings.Contains(line, `verb="WATCH"`)
		labels := strings.Contains(line, `resource="nodes"`) && strings.Contains(line, `verb="APPLY"`)
		if !strings.HasPrefix(line, "apiserver_request_total{") || !(reports || labels) {
			continue
		}
		var count float64
		if _, err := fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &count); err != nil {
			return 0, fmt.Errorf("reading the API server's metrics: %q: %w", line, err)
		}
		total += count
	}
	return int(total), nil
}
