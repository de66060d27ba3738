// SPDX-License-Identifier: Apache-2.0

// Package testbed runs all of corepin: a control plane, the shipped manifests, the two shipped binaries,
// simulated nodes with their guests, and a stand-in for KubeVirt's virt-controller. The demo and the
// integration suite use it.
//
// Every process has the identity and the rights that it has on a cluster. The scheduler and the agents
// act as the service accounts of the manifests, with the configuration of the manifests' ConfigMaps. Only
// directories, ports and the leader election's durations are replaced. Each simulated kubelet acts as its
// node, under NodeRestriction; the stand-in has a role of its own. The admin identity only sets up and
// looks.
//
// The Deployment and the DaemonSet are applied too, but nothing makes pods of them: there is no
// container runtime. Their processes are started here, and can be killed here.
package testbed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/virtcontroller"
)

// Names in the testbed.
const (
	SystemNamespace = "corepin-system"
	VMNamespace     = "vms"
	GateNamespace   = virtcontroller.Namespace
	GateConfigMap   = "kubevirt-config"
	GateKey         = "feature-gates"
)

// startDeadline is for one component to do its first work, on a machine that is busy with the others.
const startDeadline = 60 * time.Second

// Options says what the testbed is made of.
type Options struct {
	// Dir takes everything that is written. Guests run as another user: every directory above it must be
	// open to all (mode 0755).
	Dir string
	// Bin has the binaries clusterd, corepin-scheduler and corepin-agent.
	Bin string
	// Machines are the nodes.
	Machines []Machine
	// Controllers are controllers beside the ones that every test cluster gets; see test/harness/cluster.
	Controllers []string
	// Front is put before the API server; see test/harness/cluster. nil is nothing.
	Front func(server string) (string, error)
	// Verbosity is that of scheduler and agents in their logs; 0 is 4, so that a failure can be read up.
	Verbosity int
	// KubeVirt brings a real KubeVirt up in place of the stand-ins and their definitions, where it is not nil. It is called with
	// the control plane running, before anything of corepin is there.
	KubeVirt func(context.Context, *Testbed) error
	// ProbePeriod is the period and the timeout of the agents' readiness probes; 0 means what the manifests say.
	ProbePeriod time.Duration
	// AgentEnv is added to the environment that the manifests give the agents: NAME=value.
	AgentEnv []string
	// AgentRoute gives the kubeconfig that a node's agent uses in place of its own; nil leaves it. A test can put a
	// network between an agent and the API server.
	AgentRoute func(node, kubeconfig string) (string, error)
	// ControllerArgs are added to those of kube-controller-manager.
	ControllerArgs []string
	// APIServerArgs are added to those of kube-apiserver, and SchedulerFlags to those of every scheduler: for feature gates.
	APIServerArgs  []string
	SchedulerFlags []string
	// SchedulerArgs are added to the arguments of plugin DedicatedCPU in the shipped configuration.
	SchedulerArgs map[string]any
	// ShippedLease keeps the times of the leader election as they are shipped; see RunScheduler.
	ShippedLease bool
	// Manifests is the folder of manifests that is applied; empty is base.
	Manifests string
	// Release is what is installed; nil is this tree's manifests and the binaries in Bin. See Install.
	Release *Release
	// Bare leaves corepin out: the test installs it, and what it installs runs. See bare.go.
	Bare bool
	// Log gets a line for each start; nil discards them.
	Log io.Writer
}

// Testbed is a running testbed. Stop must be called.
type Testbed struct {
	*cluster.Cluster
	Scheduler *process.Process
	Nodes     map[string]*Node

	options   Options
	release   Release // that was installed last
	installed int     // how many were
	probes    probes
	inner     context.Context // ends with Stop
	cancel    context.CancelFunc
	group     sync.WaitGroup

	mu       sync.Mutex
	errs     []error // of what runs in this process
	restarts []string
}

// Start brings everything up and returns when the scheduler schedules, and every node is ready and has
// been reported by its agent.
func Start(ctx context.Context, options Options) (*Testbed, error) {
	if options.Log == nil {
		options.Log = io.Discard
	}
	options.Manifests = cmp.Or(options.Manifests, "base")
	if options.Bare {
		options.Controllers = append(slices.Clone(options.Controllers), workloadControllers...)
	}
	control, err := cluster.Start(ctx, cluster.Options{
		Dir:    filepath.Join(options.Dir, "cluster"),
		Binary: filepath.Join(options.Bin, "clusterd"),
		Log:    options.Log,

		Controllers:    options.Controllers,
		Front:          options.Front,
		ControllerArgs: options.ControllerArgs,
		APIServerArgs:  options.APIServerArgs,
	})
	if err != nil {
		return nil, err
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	release := Release{Bin: options.Bin, Manifests: manifests.FS}
	if options.Release != nil {
		release = *options.Release
	}
	t := &Testbed{Cluster: control, Nodes: map[string]*Node{}, options: options, release: release, inner: inner, cancel: cancel}
	if err := t.start(ctx, inner); err != nil {
		return nil, errors.Join(err, t.Stop())
	}
	return t, nil
}

func (t *Testbed) start(ctx, inner context.Context) error {
	if err := t.applyManifests(ctx, inner); err != nil {
		return err
	}
	if err := t.startVirtController(ctx, inner); err != nil {
		return err
	}
	scheduler := t.startScheduler
	reported := t.AwaitReported
	if t.options.Bare {
		scheduler = t.startStockScheduler
		reported = t.awaitReady
	}
	if err := scheduler(ctx); err != nil {
		return err
	}
	for _, machine := range t.options.Machines {
		if err := t.addNode(ctx, inner, machine); err != nil {
			return err
		}
	}
	for _, machine := range t.options.Machines {
		if err := reported(ctx, machine.Name); err != nil {
			return err
		}
	}
	return t.startVirtHandlers(ctx, inner)
}

func (t *Testbed) applyManifests(ctx, inner context.Context) error {
	kubevirt := t.options.KubeVirt
	if kubevirt == nil {
		kubevirt = func(ctx context.Context, t *Testbed) error { return t.applyStandIns(ctx, inner) }
	}
	if err := kubevirt(ctx, t); err != nil {
		return err
	}
	if err := t.Apply(ctx, fmt.Appendf(nil, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", VMNamespace)); err != nil {
		return err
	}
	if err := t.SetGates(ctx, "DataVolumes,CPUManager"); err != nil {
		return err
	}
	if t.options.Bare {
		return nil
	}
	return t.Install(ctx, t.release)
}

// SetGates writes the list of feature gates as a cluster's administrator would.
func (t *Testbed) SetGates(ctx context.Context, gates string) error {
	return t.Apply(ctx, fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {%s: %q}\n",
		GateConfigMap, GateNamespace, GateKey, gates))
}

// goRun runs a part of the testbed in this process until Stop.
func (t *Testbed) goRun(ctx context.Context, name string, run func(context.Context) error) {
	t.group.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.errs = append(t.errs, fmt.Errorf("running %s: %w", name, err))
		}
	})
}

// Err is what has gone wrong in the parts that run in this process, so far.
func (t *Testbed) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.errs...)
}

// AwaitReported waits until the node is ready and its agent's report says what it is.
func (t *Testbed) AwaitReported(ctx context.Context, name string) error {
	return await.For(ctx, "node "+name+" to be ready and reported", startDeadline, func(ctx context.Context) error {
		if err := t.Err(); err != nil {
			return await.Stop(err)
		}
		if agent := t.Nodes[name].Agent; !agent.Running() {
			return await.Stop(fmt.Errorf("the agent of %s has exited: %s", name, agent.LogTail()))
		}
		node, err := t.Client().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := ready(node); err != nil {
			return err
		}
		return t.reported(ctx, name)
	})
}

// AwaitReport is AwaitReported for a node that need not be ready.
func (t *Testbed) AwaitReport(ctx context.Context, name string) error {
	return await.For(ctx, "node "+name+" to be reported", startDeadline, func(ctx context.Context) error { return t.reported(ctx, name) })
}

func (t *Testbed) reported(ctx context.Context, name string) error {
	report, err := t.Report(ctx, name)
	if err != nil {
		return err
	}
	if report.Status.CPUManager.Policy == "" {
		return fmt.Errorf("NodeCPU %s names no CPU manager policy yet: %+v", name, report.Status.Conditions)
	}
	return nil
}

func ready(node *corev1.Node) error {
	for _, taint := range node.Spec.Taints {
		return fmt.Errorf("node %s has taint %s", node.Name, taint.Key)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not ready: %v", node.Name, node.Status.Conditions)
}

// ClientFor is a client with the identity of a kubeconfig.
func ClientFor(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	return kubernetes.NewForConfig(config)
}

// Stop ends everything, the guests included. It may be called more than once.
func (t *Testbed) Stop() error {
	var errs []error
	for _, node := range t.Nodes {
		if node.Agent != nil {
			errs = append(errs, node.Agent.Stop())
		}
	}
	t.cancel()
	t.group.Wait()
	for _, node := range t.Nodes {
		errs = append(errs, node.Sim.Stop())
	}
	return errors.Join(append(errs, t.Cluster.Stop(), t.Err())...)
}
