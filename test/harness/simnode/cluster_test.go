// SPDX-License-Identifier: Apache-2.0

package simnode_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster/clustertest"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/simnode"
)

const limit = 2 * time.Minute

// TestAgainstAPIServer is the life of a node with the identity of a kubelet: what the node authorizer and
// NodeRestriction forbid, it cannot do.
func TestAgainstAPIServer(t *testing.T) {
	requireLibvirt(t)
	c := clustertest.Start(t, "")
	kubeconfig, err := c.NodeKubeconfig("small")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	options := simnode.Options{
		Name: "small", Dir: t.TempDir(), Config: config,
		Topology: cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads"),
		Kubelet: simnode.KubeletSettings{
			CPUManagerPolicy: "static", CPUManagerPolicyOptions: map[string]string{"full-pcpus-only": "true"},
			TopologyManagerPolicy: "single-numa-node", ReservedSystemCPUs: "0,4",
		},
		Guests: guest.TestDriver{},
		SpecOf: func(pod *corev1.Pod) (guest.Spec, bool, error) {
			return guest.Spec{Name: "vms_" + pod.Name, VCPUs: 2}, true, nil
		},
	}
	node, end := run(t, options)
	w := &cluster{client: c.Client(), node: node}
	w.mustBeReady(t)

	w.bind(t, "vm", "2")
	w.await(t, "vm", w.phase("vm", corev1.PodRunning, ""))
	w.mustHold(t, `"vm":{"compute":"1,5"}`)
	w.mustAnswer(t, "vm")
	w.bind(t, "odd", "1")
	w.await(t, "odd", w.phase("odd", corev1.PodFailed, "SMTAlignmentError"))
	w.await(t, "the event of odd", w.event("odd", "SMT Alignment Error: requested 1 cpus not multiple cpus per core = 2"))

	// The machine is rebooted: another process over the same directory.
	end()
	w.bind(t, "late", "2")
	w.node, end = run(t, options)
	defer end()
	w.await(t, "late", w.phase("late", corev1.PodRunning, ""))
	w.mustHold(t, `"late":{"compute":"2,6"},"vm":{"compute":"1,5"}`)
	w.mustAnswer(t, "vm")

	if err := w.client.CoreV1().Pods("default").Delete(t.Context(), "vm", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "vm to go", func(ctx context.Context) error {
		if _, err := w.client.CoreV1().Pods("default").Get(ctx, "vm", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the pod is still there (%v)", err)
		}
		return nil
	})
	w.bind(t, "next", "4")
	w.mustHold(t, `"late":{"compute":"2,6"},"next":{"compute":"1,3,5,7"}`)
}

// requireLibvirt skips the test where no guest can run, or fails it where everything must be tested.
func requireLibvirt(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("libvirtd")
	if err == nil && os.Geteuid() == 0 {
		return
	}
	const missing = "missing: root and libvirtd (on Debian, apt-get install libvirt-daemon)"
	if os.Getenv("COREPIN_REQUIRE_ALL") == "1" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// run runs a node until end is called.
func run(t *testing.T, options simnode.Options) (node *simnode.Node, end func()) {
	t.Helper()
	node, err := simnode.New(options)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Run(t.Context()) }()
	stopped := false
	end = func() {
		if stopped {
			return
		}
		stopped = true
		if err := errors.Join(node.Stop(), <-ended); err != nil {
			t.Errorf("stopping the node: %v", err)
		}
	}
	t.Cleanup(end)
	return node, end
}

// cluster is what an administrator sees.
type cluster struct {
	client kubernetes.Interface
	node   *simnode.Node
}

func (w *cluster) await(t *testing.T, what string, probe func(context.Context) error) {
	t.Helper()
	if err := await.For(t.Context(), what, limit, probe); err != nil {
		t.Fatal(err)
	}
}

// mustBeReady waits until the node's controller, which sees Node and Lease, lets pods on it.
func (w *cluster) mustBeReady(t *testing.T) {
	t.Helper()
	w.await(t, "the node", func(ctx context.Context) error {
		node, err := w.client.CoreV1().Nodes().Get(ctx, "small", metav1.GetOptions{})
		if err == nil && (len(node.Spec.Taints) > 0 || node.Status.Allocatable.Cpu().Value() != 6) {
			err = fmt.Errorf("taints %v, allocatable %v", node.Spec.Taints, node.Status.Allocatable)
		}
		return err
	})
}

// bind creates a pod on the node, past any scheduler.
func (w *cluster) bind(t *testing.T, name, cpu string) {
	t.Helper()
	resources := func(cpu string) corev1.ResourceRequirements {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("64M")}
		return corev1.ResourceRequirements{Requests: list, Limits: list}
	}
	no := false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: "small", RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{
				{Name: "compute", Image: "none", Resources: resources(cpu)},
				{Name: "hook-sidecar-0", Image: "none", Resources: resources("200m")},
			},
			Volumes: []corev1.Volume{{Name: "libvirt-runtime", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
	w.await(t, "creating pod "+name, func(ctx context.Context) error { // the default service account may not be there yet
		_, err := w.client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
}

func (w *cluster) phase(name string, phase corev1.PodPhase, reason string) func(context.Context) error {
	return func(ctx context.Context) error {
		pod, err := w.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ready := len(pod.Status.ContainerStatuses) == 2 && pod.Status.ContainerStatuses[0].Ready
		if pod.Status.Phase != phase || pod.Status.Reason != reason || ready != (phase == corev1.PodRunning) {
			return fmt.Errorf("its status is %+v", pod.Status)
		}
		return nil
	}
}

func (w *cluster) event(name, message string) func(context.Context) error {
	return func(ctx context.Context) error {
		events, err := w.client.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.InvolvedObject.Name == name && event.Message == message {
				return nil
			}
		}
		return fmt.Errorf("there are %+v", events.Items)
	}
}

// mustHold waits for a checkpoint with these entries; pods are written by name.
func (w *cluster) mustHold(t *testing.T, entries string) {
	t.Helper()
	w.await(t, "the checkpoint", func(ctx context.Context) error {
		text, err := os.ReadFile(filepath.Join(w.node.KubeletRootDir(), "cpu_manager_state"))
		if err != nil {
			return err
		}
		pods, err := w.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		state := string(text)
		for _, pod := range pods.Items {
			state = strings.ReplaceAll(state, string(pod.UID), pod.Name)
		}
		for _, entry := range strings.SplitAfter(entries, "},") {
			if !strings.Contains(state, strings.TrimSuffix(entry, ",")) {
				return fmt.Errorf("it says %s, not %s", state, entry)
			}
		}
		return nil
	})
}

// mustAnswer connects to the guest's libvirt where the agent would.
func (w *cluster) mustAnswer(t *testing.T, name string) {
	t.Helper()
	pod, err := w.client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(filepath.Join(w.node.KubeletRootDir(), "pods", string(pod.UID), "volumes/kubernetes.io~empty-dir/libvirt-runtime"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	w.await(t, "libvirt of "+name, func(context.Context) error {
		conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/virtqemud-sock", dir.Fd()))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
