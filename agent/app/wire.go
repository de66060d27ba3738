// SPDX-License-Identifier: Apache-2.0

package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/exclusive"
	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/label"
	"corepin.dev/corepin/agent/libvirt"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/agent/report"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/agent/taint"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/version"
)

// fieldManager is the agent's name at the API server.
const fieldManager = "corepin-agent"

// reread is the time between two reads of the host that nothing has asked for: the net under the
// notifications.
const reread = 10 * time.Second

// component is a part that runs until ctx ends.
type component interface {
	Run(ctx context.Context) error
}

// agent is the object graph.
type agent struct {
	informers *informers
	kubeVirt  *kubeVirt
	kubelet   *kubelet.Watcher
	host      *hostcpu.Watcher
	publisher *report.Publisher
	labeller  *label.Labeller
	taint     *taint.Remover
	exclusive *exclusive.Watcher
	pinner    *pinning.Controller
	server    *server

	events     record.EventBroadcaster
	eventsSink record.EventSink
}

func newAgent(ctx context.Context, c *config.AgentConfiguration, nodeName string, rc *rest.Config) (*agent, error) {
	clients, err := newClients(rc)
	if err != nil {
		return nil, err
	}
	informers := newInformers(c, nodeName, clients.core, clients.core, clients.dynamic)
	configz, err := configzOptions(c, nodeName, rc, informers.Node)
	if err != nil {
		return nil, err
	}
	version.RegisterMetrics()
	source.RegisterMetrics()
	a := &agent{
		informers: informers,
		kubeVirt:  newKubeVirt(clients.dynamic, clients.metadata),
		kubelet: kubelet.NewWatcher(kubelet.Options{
			RootDir: c.KubeletRootDir, ConfigFile: c.KubeletConfigFile, Configz: configz, Reread: reread, Clock: clock.RealClock{},
		}),
		host:       hostcpu.NewWatcher(hostcpu.Options{SysfsDir: c.SysfsDir, ProcDir: c.Pinning.ProcDir, Reread: reread, Clock: clock.RealClock{}}),
		events:     record.NewBroadcaster(record.WithContext(ctx)),
		eventsSink: &typedcorev1.EventSinkImpl{Interface: clients.core.Events("")},
	}
	recorder := a.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: fieldManager, Host: nodeName})
	a.publisher = report.New(report.Options{
		FieldManager: fieldManager, Client: clients.dynamic.Resource(v1alpha1.Resource), Node: a.informers.Node,
		Agent:   (&self{client: clients.dynamic}).Pod,
		Kubelet: a.kubelet.State, Host: a.host.Reading, Memory: a.host.Memory, Tuning: a.host.Tuning, Pods: a.informers.Pods, Recorder: recorder, Clock: clock.RealClock{},
		Labelled:   func() *metav1.Condition { return a.labeller.Condition() },
		Drifted:    func() *metav1.Condition { return a.pinner.Condition() },
		Pins:       func() map[types.UID]string { return a.pinner.Pins() },
		Waits:      func() map[types.UID]string { return a.pinner.Waits() },
		Exclusive:  func() *metav1.Condition { return a.exclusive.Condition() },
		SharedWith: func() map[types.UID]string { return a.exclusive.SharedWith() },
		PodCPUs:    func() exclusive.PodCPUs { return a.exclusive.PodCPUs() },

		ExactChanged: func() { a.taint.Trigger() },
	})
	a.taint = taint.New(taint.Options{
		Key: *c.StartupTaint, FieldManager: fieldManager, Nodes: clients.core.Nodes(), Node: a.informers.Node, Ready: a.publisher.Exact, Clock: clock.RealClock{},
	})
	a.labeller = label.New(label.Options{
		FieldManager: fieldManager, Nodes: clients.core.Nodes(), Node: a.informers.Node,
		Gate: a.gate(c.FeatureGates.CPUManagerDefault), Static: func() label.Answer { return label.Static(a.kubelet.State()) },
		OverrideKubeVirt: c.Labels.OverrideKubeVirt, Changed: a.publisher.Trigger, Recorder: recorder, Clock: clock.RealClock{},
	})
	cpusets := newCPUSets(ctx, c.Pinning.CgroupDir)
	a.exclusive = a.newExclusive(c.Pinning.CgroupDir, c.Pinning.ProcDir, cpusets)
	a.pinner = pinning.New(pinning.Options{
		Config: c.Pinning, NodeName: nodeName, KubeletRootDir: c.KubeletRootDir,
		Pods:     corelisters.NewPodLister(a.informers.pods.GetIndexer()),
		Granted:  a.granted,
		Topology: a.host.Topology, Recorder: recorder, Hypervisor: libvirt.New(c.Pinning),
		VMI: vmiReader{clients.vmis}.of, CPUSet: cpusets.CPUs, Housekeeping: cpusets.Housekeeping, Confiner: cpusets.Confiner, Node: a.nodeObject,
		Exclusive: a.exclusive.Of, Known: a.informers.pods.HasSynced, Changed: a.publisher.Trigger,
	})
	v := &vital{
		published: a.publisher.Published, behind: a.publisher.Behind, looked: a.kubelet.Looked, kubelet: a.kubelet.State,
		line: informers.line, clock: clock.RealClock{},
	}
	a.server = newServer(*c.Serving.Address, v.Check)
	return a, a.connect()
}

// granted are the exclusive CPUs of each container by pod, as last read.
func (a *agent) granted() (grants map[types.UID]map[string]cpuset.Set, current bool) {
	return a.kubelet.State().Granted()
}

// newExclusive gives the Watcher of the cgroups that are mounted at dir, and of the CPUs' times in procDir.
func (a *agent) newExclusive(dir, procDir string, cpusets *cpusets) *exclusive.Watcher {
	reconcilePeriod := func() time.Duration {
		running, _ := a.kubelet.State().Config()
		return cmp.Or(running.ReconcilePeriod, kubelet.DefaultReconcilePeriod)
	}
	return exclusive.New(exclusive.Options{
		Cgroups: cgroup.NewScanner(dir), PodCPUs: cpusets.Pods, Usage: cpusets.Usage, Times: hostcpu.TimesIn(procDir), Interrupts: hostcpu.InterruptsIn(procDir), Topology: a.host.Topology, Pods: a.informers.Pods, Granted: a.granted, ReconcilePeriod: reconcilePeriod,
		Changed: func() { a.pinner.Trigger(); a.publisher.Trigger() }, Clock: clock.RealClock{},
	})
}

// clients are the agent's clients of the API server.
type clients struct {
	core     *typedcorev1.CoreV1Client
	dynamic  dynamic.Interface
	metadata metadata.Interface
	// vmis has no limit of its own. Fifty guests that start at once are fifty questions at once, each with a deadline, and
	// the API server has its own limits.
	vmis dynamic.Interface
}

func newClients(rc *rest.Config) (*clients, error) {
	core, err := typedcorev1.NewForConfig(compact(rc))
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	all, err := dynamic.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	meta, err := metadata.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	unlimited := rest.CopyConfig(rc)
	unlimited.QPS = -1
	vmis, err := dynamic.NewForConfig(unlimited)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return &clients{core: core, dynamic: all, metadata: meta, vmis: vmis}, nil
}

// gate is the state of feature gate CPUManager, and where it is written.
func (a *agent) gate(otherwise bool) func() (label.Answer, string) {
	return func() (label.Answer, string) {
		configMap, known := a.informers.FeatureGates()
		object, knownToo := a.kubeVirt.Object()
		if !known || !knownToo {
			return label.Unknown, ""
		}
		return label.Gate(label.Gates{ConfigMap: configMap, KubeVirt: object, Default: otherwise})
	}
}

// compact is for Kubernetes' own types: protobuf takes a fraction of JSON's memory and time to read.
func compact(rc *rest.Config) *rest.Config {
	c := rest.CopyConfig(rc)
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return c
}

// connect makes each change at the API server trigger the loops that it concerns.
func (a *agent) connect() error {
	if err := onChange(a.informers.pods, a.pinner.Trigger); err != nil {
		return err
	}
	if err := onChange(a.informers.pods, a.exclusive.Trigger); err != nil {
		return err
	}
	if err := onArrival(a.informers.pods, a.publisher.Trigger); err != nil {
		return err
	}
	if err := onChange(a.informers.node, a.nodeChanged()); err != nil {
		return err
	}
	if err := onChange(a.informers.configMap, a.labeller.Trigger); err != nil {
		return err
	}
	return onVersion(a.informers.report, a.publisher.Observed)
}

// nodeChanged runs after every change of the Node. Another address or version means another kubelet, which is then
// asked again. Another number of devices is how a plugin shows that has gone without taking its socket along.
func (a *agent) nodeChanged() func() {
	last := ""
	devices := ""
	return func() {
		if node, err := a.informers.Node(); err == nil {
			now := fmt.Sprint(node.UID, node.Status.Addresses, node.Status.DaemonEndpoints, node.Status.NodeInfo.KubeletVersion, node.Status.NodeInfo.BootID)
			if now != last {
				last = now
				a.kubelet.Ask()
			}
			if amounts := deviceAmounts(node); amounts != devices {
				devices = amounts
				a.kubelet.AskDevices()
			}
		}
		a.publisher.Trigger()
		a.labeller.Trigger()
		a.taint.Trigger()
	}
}

// deviceAmounts are a Node's extended resources in one line.
func deviceAmounts(node *corev1.Node) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(node.Status.Capacity)) {
		if !strings.Contains(string(name), "/") {
			continue
		}
		capacity := node.Status.Capacity[name]
		allocatable := node.Status.Allocatable[name]
		fmt.Fprintf(&text, "%s %d %d ", name, capacity.Value(), allocatable.Value())
	}
	return text.String()
}
