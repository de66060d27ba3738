// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/machine"
	"corepin.dev/corepin/test/harness/testbed"
)

// limit is for anything that takes seconds on hardware: CPUs are emulated, and the host may be busy.
const limit = 5 * time.Minute

// pause is the time between two looks: most cost the machines' CPUs more than a moment.
const pause = 2 * time.Second

// Names of the machines.
const (
	numaMachine = "numa"
	flatMachine = "flat"
)

// world is the control plane, the schedulers, and the machines.
type world struct {
	*testbed.Testbed
	names    []string // of the machines
	appArmor bool     // the machines have it, and corepin is installed with its profiles
	dir      string
	machines map[string]*machine.Machine
	failed   bool // a spec has
	// failure is what the spec that failed last failed with, stoodStill what there is to say of the machines that
	// stood still meanwhile, by name.
	failure    string
	stoodStill map[string]error
}

// minors are those of the kubelets of the machine with NUMA nodes and of the other one: the environment's KUBELETS.
var minors = strings.Fields(cmp.Or(os.Getenv("KUBELETS"), "1.36 1.37"))

// kubelets are what the machines run at first.
var kubelets = map[string]machine.Settings{
	numaMachine: {Version: minors[0], Reserved: "0,1", TopologyPolicy: "single-numa-node", CPUOptions: options("full-pcpus-only")},
	flatMachine: {Version: minors[len(minors)-1], Reserved: "0"},
}

var shapes = map[string]machine.Shape{
	numaMachine: {NUMANodes: 2, Cores: 4, Threads: 2},
	flatMachine: {NUMANodes: 1, Cores: 6, Threads: 1},
}

// memoryMiB is the memory of each machine. In the end QEMU has taken all of it from the host.
var memoryMiB = map[string]int{numaMachine: 10240, flatMachine: 6144}

// start starts everything and returns when both kubelets are ready and reported.
func (w *world) start(ctx context.Context) {
	ginkgo.GinkgoHelper()
	if w.dir != "" {
		ginkgo.Fail("the start failed before: " + w.failure) // booting is tried again by itself
	}
	var err error
	w.dir, err = os.MkdirTemp("", "corepin-system-")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(os.Chmod(w.dir, 0o755)).To(gomega.Succeed())
	ginkgo.DeferCleanup(w.stop)
	shipped := "base"
	if w.appArmor {
		shipped = "overlays/apparmor"
	}
	w.Testbed, err = testbed.Start(ctx, testbed.Options{
		Dir: filepath.Join(w.dir, "host"), Bin: os.Getenv("COREPIN_BIN"), Log: ginkgo.GinkgoWriter, Manifests: shipped,
		// The agent is made into pods here, as on a cluster.
		Controllers: []string{"daemonset-controller"},
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(w.startStockScheduler(ctx)).To(gomega.Succeed())
	gomega.Expect(w.boot(ctx)).To(gomega.Succeed())
}

// boot starts the machines side by side.
func (w *world) boot(ctx context.Context) error {
	var group sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, name := range w.names {
		group.Go(func() {
			m, err := w.bootOne(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if m != nil {
				w.machines[name] = m
			}
			errs = append(errs, err)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (w *world) bootOne(ctx context.Context, name string) (*machine.Machine, error) {
	start := time.Now()
	m, err := machine.Start(ctx, machine.Options{
		Name: name, Dir: filepath.Join(w.dir, name), Parts: os.Getenv("COREPIN_MACHINE"),
		Shape: shapes[name], MemoryMiB: memoryMiB[name], GiBPages: giBPages, AppArmor: w.appArmor, APIServer: w.Address(),
	})
	if err != nil {
		return nil, err
	}
	say("%s: %s, after %s", name, m.Origin(), since(start))
	err = w.bring(ctx, m, start)
	if err != nil && ctx.Err() == nil {
		// An emulated machine may stand still; its console tells. See package machine.
		say("%s: begun again, since %v", name, err)
		err = w.renew(ctx, m)
	}
	return m, err
}

// renew puts a new machine in the place of one that stands still, and makes it a node again.
func (w *world) renew(ctx context.Context, m *machine.Machine) error {
	start := time.Now()
	if err := m.Renew(ctx); err != nil {
		return err
	}
	say("%s: %s, after %s", m.Name(), m.Origin(), since(start))
	return w.bring(ctx, m, start)
}

// bring makes a machine a node, and returns when its agent reports.
func (w *world) bring(ctx context.Context, m *machine.Machine, start time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	name := m.Name()
	kubeconfig, err := w.NodeKubeconfig(name)
	if err != nil {
		return err
	}
	if err := m.Join(ctx, kubeconfig); err != nil {
		return err
	}
	if err := m.Import(ctx, filepath.Join(os.Getenv("COREPIN_MACHINE"), "corepin-agent.tar")); err != nil {
		return err
	}
	say("%s: has the agent's image after %s", name, since(start))
	if w.appArmor {
		if err := loadProfiles(ctx, m); err != nil {
			return err
		}
	}
	if err := w.startKubelet(ctx, m, kubelets[name]); err != nil {
		return err
	}
	say("%s: kubelet %s is ready after %s", name, kubelets[name].Version, since(start))
	if err := w.awaitAgent(ctx, name); err != nil {
		return err
	}
	say("%s: reported by its agent after %s", name, since(start))
	return nil
}

// startKubelet starts a kubelet and waits until its node is ready for VMs.
func (w *world) startKubelet(ctx context.Context, m *machine.Machine, settings machine.Settings) error {
	start := time.Now()
	if err := m.StartKubelet(ctx, settings); err != nil {
		return err
	}
	if err := w.awaitReady(ctx, m.Name(), start); err != nil {
		return err
	}
	return w.schedulable(ctx, m.Name())
}

// awaitReady waits until the kubelet says that its node is ready, and has said so after a time: what an
// earlier kubelet said stays for a while.
func (w *world) awaitReady(ctx context.Context, name string, after time.Time) error {
	return await.Every(ctx, pause, "node "+name+" to be ready", limit, func(ctx context.Context) error {
		node, err := w.Client().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue &&
				!condition.LastHeartbeatTime.Time.Before(after.Truncate(time.Second)) {
				return nil
			}
		}
		return fmt.Errorf("conditions: %v", node.Status.Conditions)
	})
}

// schedulable is virt-handler's part: the node's labels, and the devices that launcher pods ask for. Their
// plugin would tell the kubelet of no NUMA node, so that writing them down changes nothing else.
func (w *world) schedulable(ctx context.Context, name string) error {
	nodes := w.Client().CoreV1().Nodes()
	label := `{"metadata":{"labels":{"kubevirt.io/schedulable":"true","machine-type.node.kubevirt.io/q35":"true"}}}`
	if _, err := nodes.Patch(ctx, name, types.StrategicMergePatchType, []byte(label), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("labelling node %s: %w", name, err)
	}
	// Kubelets that do not account for local storage tell of none.
	amounts := map[string]string{"ephemeral-storage": "50Gi"}
	for _, device := range []string{"kvm", "tun", "vhost-net"} {
		amounts["devices.kubevirt.io/"+device] = "110"
	}
	patch, err := yaml.Marshal(map[string]any{"status": map[string]any{"capacity": amounts, "allocatable": amounts}})
	if err != nil {
		return err
	}
	patch, err = yaml.YAMLToJSON(patch)
	if err != nil {
		return err
	}
	_, err = nodes.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// awaitAgent waits until the pod that the DaemonSet made for the node is ready and the report is there.
func (w *world) awaitAgent(ctx context.Context, name string) error {
	return await.Every(ctx, pause, "the agent on "+name+" to be ready and to report", limit, func(ctx context.Context) error {
		pod, err := w.agentPod(ctx, name)
		if err != nil {
			return err
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status != corev1.ConditionTrue {
				return fmt.Errorf("pod %s is %s and not ready: %s; containers %v", pod.Name, pod.Status.Phase, condition.Message, pod.Status.ContainerStatuses)
			}
		}
		report, err := w.Report(ctx, name)
		if err != nil {
			return err
		}
		if report.Status.CPUManager.Policy != "static" {
			return fmt.Errorf("NodeCPU %s: %+v", name, report.Status)
		}
		return nil
	})
}

// agentPod is the pod of the agent on a node.
func (w *world) agentPod(ctx context.Context, node string) (*corev1.Pod, error) {
	pods, err := w.Client().CoreV1().Pods(testbed.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=corepin-agent"})
	if err != nil {
		return nil, err
	}
	for i, pod := range pods.Items {
		if pod.Spec.NodeName == node && pod.DeletionTimestamp == nil {
			return &pods.Items[i], nil
		}
	}
	return nil, fmt.Errorf("no agent among %d pods is bound to node %s", len(pods.Items), node)
}

func say(format string, arguments ...any) {
	fmt.Fprintf(ginkgo.GinkgoWriter, format+"\n", arguments...)
}

func since(start time.Time) time.Duration { return time.Since(start).Round(time.Second) }
