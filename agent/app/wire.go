package app

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/label"
	"corepin.dev/corepin/agent/libvirt"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/agent/report"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
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
	kubelet   *kubelet.Watcher
	host      *hostcpu.Watcher
	publisher *report.Publisher
	labeller  *label.Labeller
	pinner    *pinning.Controller
	server    *server

	events     record.EventBroadcaster
	eventsSink record.EventSink
}

func newAgent(ctx context.Context, c *config.AgentConfiguration, nodeName string, rc *rest.Config) (*agent, error) {
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	kubelet.RegisterMetrics()
	a := &agent{
		informers: newInformers(c, nodeName, client, dynamicClient),
		kubelet: kubelet.NewWatcher(kubelet.Options{
			RootDir: c.KubeletRootDir, ConfigFile: c.KubeletConfigFile, Reread: reread, Clock: clock.RealClock{},
		}),
		host:       hostcpu.NewWatcher(hostcpu.Options{SysfsDir: c.SysfsDir, Reread: reread, Clock: clock.RealClock{}}),
		events:     record.NewBroadcaster(record.WithContext(ctx)),
		eventsSink: &typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")},
	}
	recorder := a.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: fieldManager, Host: nodeName})
	a.publisher = report.New(report.Options{
		FieldManager: fieldManager, Client: dynamicClient.Resource(v1alpha1.Resource), Node: a.informers.Node,
		Kubelet: a.kubelet.State, Host: a.host.Reading, Recorder: recorder, Clock: clock.RealClock{},
	})
	a.labeller = label.New(label.Options{
		FieldManager: fieldManager, Nodes: client.CoreV1().Nodes(), Node: a.informers.Node,
		Gate: a.gate(c.FeatureGates.CPUManagerDefault), Static: func() label.Answer { return label.Static(a.kubelet.State()) },
		Recorder: recorder, Clock: clock.RealClock{},
	})
	a.pinner = pinning.New(pinning.Options{
		Config: c.Pinning, NodeName: nodeName, KubeletRootDir: c.KubeletRootDir,
		Pods:     corelisters.NewPodLister(a.informers.pods.GetIndexer()),
		Granted:  func() (map[types.UID]map[string]cpuset.Set, bool) { return a.kubelet.State().Granted() },
		Topology: a.host.Topology, Recorder: recorder, Hypervisor: libvirt.New(c.Pinning.LibvirtURI),
	})
	a.server = newServer(*c.Serving.Address, a.publisher.Published)
	return a, a.connect()
}

func (a *agent) gate(otherwise bool) func() label.Answer {
	return func() label.Answer {
		configMap, known := a.informers.FeatureGates()
		if !known {
			return label.Unknown
		}
		return label.Gate(configMap, otherwise)
	}
}

// connect makes each change at the API server trigger the loops that it concerns.
func (a *agent) connect() error {
	if err := onChange(a.informers.pods, a.pinner.Trigger); err != nil {
		return err
	}
	if err := onChange(a.informers.node, func() { a.publisher.Trigger(); a.labeller.Trigger() }); err != nil {
		return err
	}
	if err := onChange(a.informers.configMap, a.labeller.Trigger); err != nil {
		return err
	}
	return onVersion(a.informers.report, a.publisher.Observed)
}
